package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dkimd/internal/milter/client"
	"dkimd/internal/terminal"
)

// load sends the message many times.
func (p *probe) load(ctx context.Context, w io.Writer) error {
	var next atomic.Int64
	outcomes := make([]loaded, min(p.connections, p.messages))
	began := time.Now()
	var connections sync.WaitGroup
	for i := range outcomes {
		connections.Go(func() { outcomes[i] = p.connection(ctx, &next) })
	}
	connections.Wait()
	took := time.Since(began)

	all := loaded{answers: map[string]int{}}
	var faults []string
	for _, o := range outcomes {
		all.times = append(all.times, o.times...)
		if o.err != nil && !slices.Contains(faults, o.err.Error()) { // mostly all have the same
			faults = append(faults, o.err.Error())
			all.err = errors.Join(all.err, o.err)
		}
		all.refused = all.refused || o.refused
		for answer, n := range o.answers {
			all.answers[answer] += n
		}
	}
	if len(all.times) == 0 {
		return all.err
	}
	slices.Sort(all.times)
	at := func(part float64) time.Duration { return all.times[int(part*float64(len(all.times)-1))] }
	p.answer.Load = &loadAnswer{
		Messages: len(all.times), Connections: len(outcomes), Seconds: took.Seconds(),
		Median: at(0.5).Seconds(), P90: at(0.9).Seconds(), P99: at(0.99).Seconds(), Longest: at(1).Seconds(), Answers: all.answers,
	}
	fmt.Fprintf(w, "%s on %s in %s: %.0f a second\n", terminal.Plural(len(all.times), "message"), terminal.Plural(len(outcomes), "connection"),
		took.Round(time.Millisecond), float64(len(all.times))/took.Seconds())
	fmt.Fprintf(w, "time for each: median %s, 90%% within %s, 99%% within %s, longest %s\n",
		milliseconds(at(0.5)), milliseconds(at(0.9)), milliseconds(at(0.99)), milliseconds(at(1)))
	for _, answer := range slices.Sorted(maps.Keys(all.answers)) {
		fmt.Fprintf(w, "%6d  %s\n", all.answers[answer], answer)
	}
	if all.err != nil {
		return all.err
	}
	if all.refused {
		return errQuiet
	}
	return nil
}

// loaded is what came of one connection.
type loaded struct {
	times   []time.Duration
	answers map[string]int
	refused bool
	err     error
}

// connection sends the message as long as there are turns left.
func (p *probe) connection(ctx context.Context, next *atomic.Int64) loaded {
	o := loaded{answers: map[string]int{}}
	var s *client.Session
	for {
		n := next.Add(1) - 1
		if n >= int64(p.messages) {
			break
		}
		began := time.Now()
		if s == nil {
			if s, o.err = p.dial(ctx); o.err != nil {
				return o
			}
		}
		m := p.mail
		m.QueueID = queueID(int(n))
		r, err := s.Send(ctx, m)
		if err != nil {
			_ = s.Close()
			o.err = fmt.Errorf("message %d: %w", n+1, err)
			return o
		}
		o.times = append(o.times, time.Since(began))
		o.answers[answerText(r, true)]++
		o.refused = o.refused || !accepts(r)
	}
	if s != nil {
		o.err = s.Quit()
	}
	return o
}
