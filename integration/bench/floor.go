package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/milter"
	"dkimd/internal/pipeline"
	"dkimd/internal/socket"
)

const floorField = "X-Floor"

// serveFloor is the floor: go-milter in dkimd's own connection wrapper, a field
// added to each message and a line written to stdout.
func serveFloor(ctx context.Context, path string) error {
	s, err := milter.New(milter.Config{
		Config: socket.Config{Listen: []string{"unix:" + path}}, MaxConnections: 4096, Logger: slog.New(slog.DiscardHandler),
		Begin: func(env *message.Envelope) milter.Message { return &idle{env: env} },
	})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	return s.Serve()
}

// idle is a message with which nothing is done.
type idle struct {
	env   *message.Envelope
	bytes int
}

func (m *idle) Header(name, value string) { m.bytes += len(name) + len(value) + 3 }
func (*idle) EndOfHeader(context.Context) {}
func (m *idle) Body(p []byte)             { m.bytes += len(p) }
func (*idle) Abort(string)                {}
func (*idle) Fault(error)                 {}
func (m *idle) Finish(context.Context) pipeline.Outcome {
	fmt.Fprintf(os.Stdout, "%s id=%s client=%s sender=%s bytes=%d\n", time.Now().UTC().Format(time.RFC3339Nano), m.env.QueueID, m.env.Client, m.env.Sender, m.bytes)
	return pipeline.Outcome{Add: []pipeline.Addition{{Name: floorField, Value: " " + m.env.QueueID}}}
}

// crypt is what the bare cryptography of a row costs a message: signatures, and
// SHA-256 of all its bytes once. It is measured with the engine that dkimd has.
func (w *world) crypt(ctx context.Context, r row) (time.Duration, error) {
	signs, edSigns, verifies := r.Deed.signatures()
	digest := sha256.Sum256([]byte("x"))
	total := perCall(func() { sha256.Sum256(w.bytes[:r.Size]) })
	for name, n := range map[domain.Name]int{domain.Name(rsaDomain(0)): signs, edDomain: edSigns} {
		if n == 0 {
			continue
		}
		private, err := w.corpus.store.Lookup(message.Address{Domain: name})[0].Keys[0].Load(ctx)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * perCall(func() { _, err = private.Sign(ctx, digest) })
		if err != nil {
			return 0, err
		}
	}
	if verifies > 0 {
		total += time.Duration(verifies) * perCall(func() { _ = w.verifyRSA(digest[:]) })
	}
	return total, nil
}

// perCall is the CPU time of one call.
func perCall(f func()) time.Duration {
	f()
	began, n := ownCPU(), 0
	for ownCPU()-began < 20*time.Millisecond {
		for range 4 {
			f()
			n++
		}
	}
	return (ownCPU() - began) / time.Duration(n)
}
