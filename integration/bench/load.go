package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dkimd/internal/milter/client"

	"github.com/emersion/go-msgauth/dkim"
)

const connections = 4

// sample is one round of one subject.
type sample struct {
	cpu       time.Duration // a message
	perSecond float64
	peak      int64
	waits     []time.Duration // of each message: from its first packet to the answer, with the connection where it is the first
}

// round sends the messages of a row to a daemon and measures what it costs. Every answer is checked.
func (w *world) round(ctx context.Context, s *server, subject string, r row) (sample, error) {
	mails, err := w.corpus.messages(ctx, r)
	if err != nil {
		return sample{}, err
	}
	n := r.messages()
	sessions := (n + r.PerConn - 1) / r.PerConn
	n = sessions * r.PerConn
	var (
		taken   atomic.Int64
		workers sync.WaitGroup
		mu      sync.Mutex
		faults  []error
		out     = sample{waits: make([]time.Duration, 0, n)}
	)
	s.forgetPeak()
	before, err := s.cpu()
	if err != nil {
		return out, err
	}
	began := time.Now()
	for range connections {
		workers.Go(func() {
			for {
				k := int(taken.Add(1)) - 1
				if k >= sessions {
					return
				}
				waits, err := w.session(ctx, s, subject, r, mails, k)
				mu.Lock()
				out.waits = append(out.waits, waits...)
				if err != nil {
					faults = append(faults, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	out.perSecond = float64(n) / time.Since(began).Seconds()
	pause(20 * time.Millisecond) // the last connections are being closed
	after, err := s.cpu()
	out.cpu = (after - before) / time.Duration(n)
	out.peak = s.peak()
	return out, errors.Join(append(faults, err)...)
}

// session is one connection with its messages.
func (w *world) session(ctx context.Context, s *server, subject string, r row, mails []client.Mail, k int) (waits []time.Duration, err error) {
	began := time.Now()
	mta, err := dial(ctx, s)
	if err != nil {
		return nil, err
	}
	for i := range r.PerConn {
		mail := mails[(k*r.PerConn+i)%len(mails)]
		answer, err := mta.send(ctx, mail)
		waits = append(waits, time.Since(began))
		began = time.Now()
		if err == nil {
			err = check(subject, r.Deed, answer)
		}
		if err == nil && r.Deed.signs() && subject != subjectFloor && k == 0 && i == 0 {
			err = w.verify(mail, answer)
		}
		if err != nil {
			mta.close()
			return waits, fmt.Errorf("%s: %w", subject, err)
		}
	}
	for _, milter := range mta {
		_ = milter.Quit() // a peer may close first
	}
	return waits, nil
}

// milters are connections to a daemon and those that are asked after it.
type milters []*client.Session

func dial(ctx context.Context, s *server) (mta milters, err error) {
	for ; s != nil; s = s.next {
		session, err := client.Dial(ctx, "unix", s.socket, client.Options{})
		if err != nil {
			mta.close()
			return nil, err
		}
		mta = append(mta, session)
	}
	return mta, nil
}

// send shows each a message as those before it have changed it.
func (mta milters) send(ctx context.Context, mail client.Mail) (answer client.Result, err error) {
	for _, milter := range mta {
		edits := answer.Edits
		if answer, err = milter.Send(ctx, mail); err != nil {
			return answer, err
		}
		mail.Raw = client.Apply(client.Postfix, mail.Raw, answer.Edits)
		answer.Edits = append(edits, answer.Edits...)
	}
	return answer, nil
}

func (mta milters) close() {
	for _, milter := range mta {
		_ = milter.Close()
	}
}

// check tells whether the daemon did its work: nobody wins by doing nothing.
func check(subject string, d deed, answer client.Result) error {
	signed, passed, floor, policies := 0, 0, false, ""
	for _, e := range answer.Edits {
		switch {
		case strings.EqualFold(e.Name, "DKIM-Signature"):
			signed++
		case strings.EqualFold(e.Name, "Authentication-Results"):
			passed += strings.Count(e.Value, "dkim=pass")
			policies += e.Value
		case e.Name == floorField:
			floor = true
		}
	}
	rsaSigns, edSigns, verifies := d.signatures()
	switch {
	case answer.Action != client.Continue && answer.Action != client.Accept:
		return fmt.Errorf("%s is answered with %s %s", d, answer.Action, answer.Reply)
	case subject == subjectFloor && floor:
	case subject == subjectFloor:
		return errors.New("the floor added nothing")
	case d == verifyPolicies && (!strings.Contains(policies, "spf=pass") || !strings.Contains(policies, "dmarc=pass")):
		return fmt.Errorf("%s does not pass SPF and DMARC: %+v", d, answer.Edits)
	case signed != rsaSigns+edSigns:
		return fmt.Errorf("%s made %d signatures", d, signed)
	case passed != verifies:
		return fmt.Errorf("%s passed %d signatures: %+v", d, passed, answer.Edits)
	}
	return nil
}

// verify has go-msgauth verify what was signed.
func (w *world) verify(mail client.Mail, answer client.Result) error {
	signed := client.Apply(client.Postfix, mail.Raw, answer.Edits)
	results, err := dkim.VerifyWithOptions(strings.NewReader(string(signed)), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) {
			if record, ok := w.corpus.zone[strings.TrimSuffix(name, ".")]; ok {
				return []string{record}, nil
			}
			return nil, errors.New("no such name")
		},
	})
	if err != nil {
		return err
	}
	for _, one := range results {
		if one.Err != nil {
			return fmt.Errorf("a signature does not verify: %w", one.Err)
		}
	}
	return nil
}

// measure runs the rounds of a row, all subjects in turn in each.
func (w *world) measure(ctx context.Context, r row, rounds int) (result, error) {
	samples := map[string][]sample{}
	var crypts []time.Duration
	for i := range rounds + 1 {
		c, err := w.crypt(ctx, r)
		if err != nil {
			return result{}, err
		}
		for _, subject := range subjects() {
			s := w.servers[subject][r.Deed]
			if s == nil {
				continue
			}
			one, err := w.round(ctx, s, subject, r)
			if err != nil {
				return result{}, err
			}
			if i > 0 { // the first one fills caches
				samples[subject] = append(samples[subject], one)
			}
		}
		if i > 0 {
			crypts = append(crypts, c)
		}
	}
	return summarise(r, samples, crypts), nil
}
