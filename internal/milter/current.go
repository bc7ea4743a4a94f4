package milter

import (
	"context"
	"errors"
	"fmt"

	"dkimd/internal/message"
	"dkimd/internal/pipeline"
)

// phase is how far a message has come.
type phase uint8

const (
	phaseEnvelope phase = iota
	phaseHeader
	phaseBody // the header has ended
)

var errNoMessage = errors.New("could not start handling the message")

// current is the message under way, from MAIL to its end or abort.
type current struct {
	env    *message.Envelope
	held   message.Held
	msg    Message // nil: it could not be started
	phase  phase
	ctx    context.Context // ends with the message
	cancel context.CancelCauseFunc
	// failed: the message knows of a fault of ours, and is only asked for its outcome.
	failed bool
	// unusable says why not even that is possible; the MTA gets a tempfail.
	unusable error
}

// begin starts a message.
func (s *session) begin() {
	s.abandon("the MTA began another message")
	s.macros.startMessage()
	env := &message.Envelope{
		Front:            message.Milter,
		Client:           s.client,
		Helo:             s.helo,
		Sender:           s.address,
		CannotQuarantine: !s.grant.canQuarantine(),
		CanReplaceFields: s.grant.canChange(),
		CannotRemove:     !s.grant.canChange(),
	}
	cur := &current{env: env, held: s.server.cfg.Memory.Hold()}
	env.Held = &cur.held
	cur.ctx, cur.cancel = context.WithCancelCause(s.ctx)
	s.current = cur
	s.complete(cur)
	if s.addressErr != nil {
		s.giveUp(s.addressErr)
	}
	s.protect("begin", func() { cur.msg = s.server.cfg.Begin(env) })
	if cur.msg == nil {
		cur.unusable = errNoMessage
	}
}

// complete fills in what macros have told since: Postfix has no queue id before
// the second recipient.
func (s *session) complete(cur *current) {
	set := func(field *string, id macro) {
		if *field == "" {
			*field = s.macros.lookup(id)
		}
	}
	set(&cur.env.QueueID, macroQueueID)
	if cur.phase == phaseBody {
		return
	}
	set(&cur.env.MTA, macroMTA)
	set(&cur.env.DaemonName, macroDaemonName)
	set(&cur.env.AuthType, macroAuthType)
	set(&cur.env.AuthUser, macroAuthUser)
	cur.env.Certificate = s.macros.certificate()
}

// recipient adds a recipient.
func (s *session) recipient() {
	switch cur := s.current; {
	case cur == nil:
		s.outOfOrder(errOutside)
	case cur.phase != phaseEnvelope:
		s.giveUp(errLateEnvelope)
	case s.addressErr != nil:
		s.giveUp(s.addressErr)
	default:
		cur.env.AddRecipient(s.address)
	}
}

// endOfHeader ends the header, also for an MTA that did not say so.
func (s *session) endOfHeader() {
	cur := s.current
	if cur == nil {
		s.outOfOrder(errOutside)
		return
	}
	if cur.phase == phaseBody {
		s.giveUp(errLateHeader)
		return
	}
	s.complete(cur)
	cur.phase = phaseBody
	s.call("end of header", func(m Message) { m.EndOfHeader(cur.ctx) })
}

// finish ends the message and returns what it came to. ok is false when there
// is no outcome: the mail has to be deferred.
func (s *session) finish() (outcome pipeline.Outcome, ok bool) {
	cur := s.current
	if cur == nil {
		s.outOfOrder(errOutside)
		return outcome, false
	}
	if cur.phase != phaseBody {
		s.endOfHeader()
	}
	s.complete(cur)
	defer s.releaseAdmission()
	// Nothing is written while watch may use the connection.
	if gone := s.wire.flush(); gone == nil && cur.unusable == nil {
		stop := s.wire.watch(finishTimeout, func(err error) {
			if !errors.Is(err, errSlow) {
				err = pipeline.GoneError{Cause: err}
			}
			cur.cancel(err)
		})
		outcome, ok = s.outcome(cur)
		stop()
	}
	switch {
	case cur.unusable != nil:
		s.abandon("the message cannot be judged: " + cur.unusable.Error())
		ok = false
	case s.wire.dead != nil:
		// The answer reaches nobody. Finish may have written its record already.
		s.abandon(s.wire.dead.Error())
		ok = false
	default:
		cur.cancel(nil)
		s.forget()
	}
	return outcome, ok
}

// outcome asks the message, and if that panics once more, as it knows of the fault then.
func (s *session) outcome(cur *current) (outcome pipeline.Outcome, ok bool) {
	for range 2 {
		if s.protect("end of message", func() { outcome = cur.msg.Finish(cur.ctx) }) {
			return outcome, true
		}
		if s.fault("end of message"); cur.unusable != nil {
			return outcome, false
		}
	}
	cur.unusable = errors.New("a panic while a fault was handled")
	return outcome, false
}

// call calls a method of the message. After a panic the message is told of the
// fault, and from then on only asked for its outcome.
func (s *session) call(step string, f func(Message)) {
	cur := s.current
	if cur.unusable == nil && !cur.failed && !s.protect(step, func() { f(cur.msg) }) {
		s.fault(step)
	}
}

func (s *session) fault(step string) {
	cur := s.current
	cur.failed = true
	if !s.protect("fault", func() { cur.msg.Fault(fmt.Errorf("panic in the front door at %s", step)) }) {
		cur.unusable = errors.New("a panic while a fault was handled")
	}
}

// protect runs f, and logs its panic.
func (s *session) protect(step string, f func()) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			s.logPanic(step, v)
			ok = false
		}
	}()
	f()
	return true
}

// giveUp gives the message up because of what the MTA sent. It is deferred at
// its end: only there every MTA waits for an answer.
func (s *session) giveUp(why error) {
	s.outOfOrder(why)
	if s.current.unusable == nil {
		s.current.unusable = why
	}
}

// abandon ends the message under way, if there is one, without an answer.
func (s *session) abandon(reason string) {
	cur := s.current
	if cur == nil {
		return
	}
	s.complete(cur)
	cur.cancel(errors.New(reason))
	if cur.msg != nil {
		s.protect("abort", func() { cur.msg.Abort(reason) })
	}
	s.forget()
}

// forget ends what is held of the message under way.
func (s *session) forget() {
	s.current.held.Release()
	s.current = nil
}
