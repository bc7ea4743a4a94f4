package exim_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/exim"
	"dkimd/internal/logtest"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/socket"
)

// fake is a pipeline that writes down what it is told.
type fake struct {
	mu       sync.Mutex
	messages []*fakeMessage
	outcome  func(ctx context.Context, m *fakeMessage) pipeline.Outcome // nil: accept
	panicAt  string
}

type fakeMessage struct {
	f      *fake
	env    *message.Envelope
	fields []string
	eoh    int
	body   bytes.Buffer
	unseen string
	ended  string // "finish", or "abort: reason"
}

func (f *fake) begin(env *message.Envelope) exim.Message {
	m := &fakeMessage{f: f, env: env}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages = append(f.messages, m)
	return m
}

// does sets what messages come to.
func (f *fake) does(outcome func(context.Context, *fakeMessage) pipeline.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outcome = outcome
}

// panics names the step that panics.
func (f *fake) panics(step string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panicAt = step
}

func (m *fakeMessage) panicIf(step string) {
	m.f.mu.Lock()
	at := m.f.panicAt
	m.f.mu.Unlock()
	if at == step {
		panic("injected: " + step)
	}
}

func (m *fakeMessage) Header(name, value string) {
	m.env.Held.Take(len(name) + len(value))
	m.panicIf("header")
	m.fields = append(m.fields, name+":"+value)
}
func (m *fakeMessage) EndOfHeader(context.Context) { m.panicIf("eoh"); m.eoh++ }
func (m *fakeMessage) Body(p []byte)               { m.panicIf("body"); m.body.Write(p) }
func (m *fakeMessage) BodyUnseen(why string)       { m.unseen = why }
func (m *fakeMessage) Abort(reason string)         { m.end("abort: " + reason) }

func (m *fakeMessage) Finish(ctx context.Context) pipeline.Outcome {
	m.panicIf("finish")
	m.end("finish")
	m.f.mu.Lock()
	outcome := m.f.outcome
	m.f.mu.Unlock()
	if outcome != nil {
		return outcome(ctx, m)
	}
	return pipeline.Outcome{}
}

func (m *fakeMessage) end(how string) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	if m.ended == "" {
		m.ended = how
	}
}

// world is a server with a fake pipeline behind it.
type world struct {
	*fake
	server *exim.Server
	socket string
	log    *logtest.Lines
	memory *message.Memory
}

func newWorld(t *testing.T, change func(*exim.Config)) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "x") // short: the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	w := &world{fake: &fake{}, socket: filepath.Join(dir, "s"), log: &logtest.Lines{}}
	cfg := exim.Config{
		Config: socket.Config{Listen: []string{"unix:" + w.socket}}, Begin: w.begin,
		Logger: w.log.Logger(), MaxConnections: 1024,
	}
	cfg.Memory = message.NewMemory(message.DefaultMemory)
	if change != nil {
		change(&cfg)
	}
	w.memory = cfg.Memory
	if w.server, err = exim.New(cfg); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- w.server.Serve() }()
	t.Cleanup(func() {
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if held := w.memory.Held(); held != 0 {
			t.Errorf("%d bytes are held in the end", held)
		}
		_ = os.RemoveAll(dir)
	})
	return w
}

func (w *world) dial(t *testing.T) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.UnixConn)
}

// ask sends a request in one piece and returns the whole answer.
func (w *world) ask(t *testing.T, request string, half bool) string {
	t.Helper()
	conn := w.dial(t)
	// A server that refuses does not read everything.
	_, _ = io.WriteString(conn, request)
	if half {
		_ = conn.CloseWrite()
	}
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// last is the message of a request that has been answered or refused.
func (w *world) last(t *testing.T) *fakeMessage {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		w.mu.Lock()
		if n := len(w.messages); n > 0 && w.messages[n-1].ended != "" {
			defer w.mu.Unlock()
			return w.messages[n-1]
		}
		w.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatal("no message has ended")
		}
		<-time.After(time.Millisecond)
	}
}

// logged waits for words in the server's log.
func (w *world) logged(t *testing.T, words string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(w.log.String(), words) {
		if time.Now().After(deadline) {
			t.Fatalf("not logged: %q; but:\n%s", words, w.log)
		}
		<-time.After(time.Millisecond)
	}
}
