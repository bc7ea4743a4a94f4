package client

import "time"

// Step is one step of a message: an event, or all fields of its header, or all
// pieces of its body.
type Step struct {
	Name, Detail string
	// Sent is not set when it was agreed that the filter does not hear of it,
	// Answered not when it was agreed that it does not answer.
	Sent, Answered bool
	Result         Result
	Err            error
	Took           time.Duration
}

// step reports an event and tells who wants to hear of it.
func (s *Session) step(name, detail string, no, noReply uint32, report func() (Result, error)) (Result, error) {
	if s.o.Step == nil {
		return report()
	}
	began := time.Now()
	r, err := report()
	s.o.Step(Step{
		Name: name, Detail: detail, Sent: s.Protocol&no == 0, Answered: s.Protocol&(no|noReply) == 0,
		Result: r, Err: err, Took: time.Since(began),
	})
	return r, err
}
