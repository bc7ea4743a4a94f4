//go:build integration

package soak_test

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"dkimd/internal/milter/client"
)

// departing is an MTA that leaves, in every way there is, until ctx ends.
func (w *world) departing(ctx context.Context, r *rand.Rand, done *tally) {
	ways := []func(context.Context, *rand.Rand){w.leaveMilter, w.leaveMilter, w.leaveHalfPacket, w.neverRead, w.leaveExim}
	for pause(ctx, time.Duration(50+r.IntN(300))*time.Millisecond) {
		ways[r.IntN(len(ways))](ctx, r)
		done.departures++
	}
}

// leaveMilter leaves after some step of a message. Once there is a header there is a record.
func (w *world) leaveMilter(_ context.Context, r *rand.Rand) {
	s, err := client.Dial(context.Background(), "unix", w.path("m"), client.Options{Timeout: answerTime})
	if err != nil {
		w.ledger.fault("connect, to leave: %v", err)
		return
	}
	defer func() { _ = s.Close() }()
	m := w.newMessage(w.anyKind(r), r)
	mail := m.mail()
	steps := []func() (client.Result, error){
		func() (client.Result, error) { return s.Connect(mail.Peer) },
		func() (client.Result, error) { return s.Helo(mail.Helo) },
		func() (client.Result, error) { return s.Mail(mail.Sender, nil) },
		func() (client.Result, error) { return s.Rcpt(mail.Recipients[0]) },
		s.Data,
		func() (client.Result, error) { return s.Header("From", " somebody@"+m.kind.domain) },
		s.EndOfHeader,
		func() (client.Result, error) { return s.Body(m.raw) },
		func() (client.Result, error) { s.Raw('E', nil); return client.Result{}, s.Flush() },
	}
	last := r.IntN(len(steps))
	for _, step := range steps[:last+1] {
		if _, err := step(); err != nil {
			w.ledger.fault("a message to be left: %v", err)
			break
		}
	}
	_ = s.Flush()
	if last >= 5 {
		w.ledger.gone(m, true)
	}
}

// leaveHalfPacket leaves in the middle of a packet, or waits there for a while.
func (w *world) leaveHalfPacket(ctx context.Context, r *rand.Rand) {
	s, err := client.Dial(context.Background(), "unix", w.path("m"), client.Options{Timeout: answerTime})
	if err != nil {
		w.ledger.fault("connect, to leave: %v", err)
		return
	}
	defer func() { _ = s.Close() }()
	packet := append(binary.BigEndian.AppendUint32(nil, uint32(r.IntN(1<<21))), "Lnot all of it"...)
	_, _ = s.Conn().Write(packet[:1+r.IntN(len(packet)-1)])
	pause(ctx, time.Duration(r.IntN(1000))*time.Millisecond)
}

// neverRead sends many messages and takes no answer, until dkimd takes no more of them.
func (w *world) neverRead(ctx context.Context, r *rand.Rand) {
	s, err := client.Dial(context.Background(), "unix", w.path("m"), client.Options{Timeout: answerTime})
	if err != nil {
		w.ledger.fault("connect, to leave: %v", err)
		return
	}
	defer func() { _ = s.Close() }()
	_ = s.Conn().SetWriteDeadline(time.Now().Add(time.Second))
	for range 1 + r.IntN(50) {
		m := w.newMessage(&w.kinds[r.IntN(len(w.kinds))], r)
		var b []byte
		for _, p := range []struct {
			code byte
			text string
		}{
			{'M', "<" + m.sender + ">\x00"},
			{'R', "<reader@soak.test>\x00"},
			{'T', ""},
			{'L', "From\x00 somebody@" + m.kind.domain + "\x00"},
			{'N', ""},
			{'E', ""},
		} {
			b = append(binary.BigEndian.AppendUint32(b, uint32(1+len(p.text))), p.code)
			b = append(b, p.text...)
		}
		_, err := s.Conn().Write(b)
		w.ledger.gone(m, false)
		if err != nil {
			return
		}
	}
	pause(ctx, time.Duration(r.IntN(500))*time.Millisecond)
}

// leaveExim leaves in the middle of a request, or of its answer.
func (w *world) leaveExim(ctx context.Context, r *rand.Rand) {
	m := w.newMessage(w.anyKind(r), r)
	request, _ := eximRequest(m, r.IntN(2) == 0)
	conn, err := net.Dial("unix", w.path("x"))
	if err != nil {
		w.ledger.fault("connect, to leave: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	if _, err := io.Copy(conn, strings.NewReader(request[:r.IntN(len(request)+1)])); err != nil {
		w.ledger.fault("a request to be left: %v", err)
	}
	pause(ctx, time.Duration(r.IntN(100))*time.Millisecond)
	w.ledger.gone(m, false)
}
