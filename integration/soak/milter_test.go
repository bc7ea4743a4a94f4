//go:build integration

package soak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"dkimd/internal/milter/client"
)

// answerTime is how long an answer may take: descriptors are short for some seconds,
// and the machine may be busy.
const answerTime = 60 * time.Second

// dialMilter connects as an MTA does.
func (w *world) dialMilter(ctx context.Context, r *rand.Rand) (*client.Session, client.MTA, error) {
	network, address := "unix", w.path("m")
	if r.IntN(4) == 0 {
		network, address = "tcp", w.tcp
	}
	mta := client.Postfix
	if r.IntN(2) == 0 {
		mta = client.Sendmail
	}
	s, err := client.Dial(ctx, network, address, client.Options{MTA: mta, Timeout: answerTime})
	return s, mta, err
}

// milterWorker is one MTA that sends mail, over one connection after the other, until
// ctx ends. What it has begun it ends.
func (w *world) milterWorker(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		s, mta, err := w.dialMilter(context.WithoutCancel(ctx), r)
		if err != nil {
			w.ledger.fault("connect: %v", err)
			pause(ctx, time.Second)
			continue
		}
		for range 1 + r.IntN(40) {
			if err := w.sendMilter(s, mta, w.anyKind(r), r); err != nil {
				w.ledger.fault("%v", err)
				_ = s.Close()
				break
			}
			if !pause(ctx, time.Duration(r.IntN(100))*time.Millisecond) {
				break
			}
		}
		if r.IntN(2) == 0 {
			_ = s.Quit()
		}
		_ = s.Close()
	}
}

// patientWorker is an MTA with little mail: its connection is idle most of the time, and
// must be there when it is wanted, however often the clock has been set meanwhile.
func (w *world) patientWorker(ctx context.Context, r *rand.Rand) {
	s, mta, err := w.dialMilter(context.WithoutCancel(ctx), r)
	if err != nil {
		w.ledger.fault("connect: %v", err)
		return
	}
	defer func() { _ = s.Close() }()
	for ctx.Err() == nil {
		pause(ctx, time.Duration(5000+r.IntN(25000))*time.Millisecond)
		if err := w.sendMilter(s, mta, w.anyKind(r), r); err != nil {
			w.ledger.fault("after a pause: %v", err)
			return
		}
	}
	_ = s.Quit()
}

// mail is the message as the milter client takes it.
func (m *message) mail() client.Mail {
	mail := client.Mail{
		Peer: client.Peer{Name: "client.test", Addr: m.kind.client, Port: 4321}, Helo: "client.test", Sender: m.sender,
		Recipients: []string{"reader@soak.test"}, QueueID: fmt.Sprintf("Q%d", m.number), Raw: m.raw,
	}
	if m.kind.login != "" {
		mail.AuthType, mail.AuthUser = "PLAIN", m.kind.login
	}
	return mail
}

// sendMilter sends one message and checks what comes of it.
func (w *world) sendMilter(s *client.Session, mta client.MTA, k *kind, r *rand.Rand) error {
	m := w.newMessage(k, r)
	w.begin(m)
	result, err := s.Send(context.Background(), m.mail())
	if err != nil {
		return fmt.Errorf("%s (%s), after %s: %w", m.sender, m.kind.name, time.Since(m.began), err)
	}
	answer := milterAnswer(result)
	w.answered(m, answer)
	if strings.Contains(answer, "signed=") {
		if err := w.checkSigned(r, m, client.Apply(mta, m.raw, result.Edits)); err != nil {
			w.ledger.fault("%s (%s): %v", m.sender, m.kind.name, err)
		}
	}
	return nil
}

// answered checks an answer and notes it.
func (w *world) answered(m *message, answer string) {
	fault, certain := w.judge(m, answer)
	w.ledger.answered(m, answer, fault, certain)
}

// anyKind chooses a kind of mail; silence takes so long that it comes less often.
func (w *world) anyKind(r *rand.Rand) *kind {
	for {
		k := &w.kinds[r.IntN(len(w.kinds))]
		if k.name != "silence" || r.IntN(10) == 0 {
			return k
		}
	}
}

func milterAnswer(result client.Result) string {
	verdict := map[client.Action]string{
		client.Continue: "accept", client.Accept: "accept", client.Reject: "reject", client.TempFail: "tempfail", client.Discard: "discard",
	}[result.Action]
	if result.Quarantine != "" && verdict == "accept" {
		verdict = "quarantine"
	}
	var added []addition
	for _, e := range result.Edits {
		if e.Kind != client.Insert && e.Kind != client.Add {
			return fmt.Sprintf("%s with %v", verdict, e)
		}
		added = append(added, addition{e.Name, strings.TrimSpace(e.Value)})
	}
	return answerText(verdict, result.Reply, added)
}

// pause waits, and reports false when ctx ends meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
