package milter_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/logtest"
	"dkimd/internal/message"
	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
	"dkimd/internal/pipeline"
	"dkimd/internal/smtpreply"
	"dkimd/policy"
)

// fake is a pipeline that writes down what it is told.
type fake struct {
	mu       sync.Mutex
	messages []*fakeMessage
	// outcome decides what each message comes to; nil: accept.
	outcome func(ctx context.Context, m *fakeMessage) pipeline.Outcome
	// panicAt names the step that panics.
	panicAt string
}

// fakeMessage is one message as the pipeline saw it.
type fakeMessage struct {
	f      *fake
	env    *message.Envelope
	fields []string
	eoh    int
	ctx    context.Context
	body   bytes.Buffer
	chunks int
	faults []error
	ended  string // "finish", or "abort: reason"
	ends   int
	queued string // the queue id known at the end
}

func (f *fake) begin(env *message.Envelope) milter.Message {
	f.panicIf("begin")
	m := &fakeMessage{f: f, env: env}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages = append(f.messages, m)
	return m
}

func (f *fake) panicIf(step string) {
	if strings.Contains(f.panicAt, step) {
		panic("injected: " + step)
	}
}

func (m *fakeMessage) Header(name, value string) {
	m.env.Held.Take(len(name) + len(value))
	m.f.panicIf("header")
	m.fields = append(m.fields, name+":"+value)
}

func (m *fakeMessage) EndOfHeader(ctx context.Context) {
	m.f.panicIf("eoh")
	m.eoh++
	m.ctx = ctx
}

func (m *fakeMessage) Body(p []byte) {
	m.f.panicIf("body")
	m.chunks++
	m.body.Write(p)
}

func (m *fakeMessage) Finish(ctx context.Context) pipeline.Outcome {
	if len(m.faults) > 0 {
		m.f.panicIf("again")
		m.end("finish")
		return pipeline.Outcome{Action: policy.TempFail, Reply: smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "fault"}}
	}
	m.f.panicIf("finish")
	outcome := pipeline.Outcome{Action: policy.Accept}
	if m.f.outcome != nil {
		outcome = m.f.outcome(ctx, m)
	}
	m.end("finish")
	return outcome
}

// Abort is a no-op after Finish, as in the pipeline.
func (m *fakeMessage) Abort(reason string) {
	if m.ended != "finish" {
		m.end("abort: " + reason)
	}
	m.f.panicIf("abort")
}

func (m *fakeMessage) Fault(err error) {
	m.faults = append(m.faults, err)
	m.f.panicIf("fault")
}

func (m *fakeMessage) end(how string) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	m.ends++
	if m.ended == "" {
		m.ended = how
		m.queued = m.env.QueueID
	}
}

// all are the messages so far. Each is quiet once its answer was read.
func (f *fake) all() []*fakeMessage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*fakeMessage(nil), f.messages...)
}

// world is a server with a fake pipeline behind it.
type world struct {
	*fake
	server *milter.Server
	logs   *logtest.Lines
	served chan error
	memory *message.Memory
}

// start starts a server, by default on a TCP port of its own. When the
// test ends, every message must have ended, and none may hold memory any more.
func start(t *testing.T, cfg milter.Config) *world {
	t.Helper()
	w := &world{fake: &fake{}, logs: &logtest.Lines{}, served: make(chan error, 1)}
	if cfg.Listen == nil {
		cfg.Listen = []string{"inet:127.0.0.1:0"}
	}
	cfg.Begin = w.begin
	cfg.Logger = w.logs.Logger()
	if cfg.Memory == nil {
		cfg.Memory = message.NewMemory(message.DefaultMemory)
	}
	w.memory = cfg.Memory
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 4096
	}
	var err error
	if w.server, err = milter.New(cfg); err != nil {
		t.Fatal(err)
	}
	go func() { w.served <- w.server.Serve() }()
	t.Cleanup(func() {
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
		for _, m := range w.all() {
			if m.ends == 0 {
				t.Errorf("a message never ended: %+v", m.env)
			}
		}
		if held := w.memory.Held(); held != 0 {
			t.Errorf("%d bytes are held in the end", held)
		}
	})
	return w
}

func (w *world) addr() net.Addr { return w.server.Addrs()[0] }

// dial opens a session of an MTA.
func (w *world) dial(t *testing.T, o client.Options) *client.Session {
	t.Helper()
	s, err := client.Dial(t.Context(), w.addr().Network(), w.addr().String(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// conn opens a connection without a word.
func (w *world) conn(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial(w.addr().Network(), w.addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// expect fails the test unless a log line holds the text, which it waits for.
func (w *world) expect(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() bool { return strings.Contains(w.logs.String(), text) },
		func() string { return fmt.Sprintf("no %q in the log:\n%s", text, w.logs) })
}

// ended waits until so many messages have ended, and returns them.
func (w *world) ended(t *testing.T, n int) []*fakeMessage {
	t.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		ended := 0
		for _, m := range w.messages {
			if m.ends > 0 {
				ended++
			}
		}
		return ended
	}
	eventually(t, func() bool { return count() == n }, func() string { return fmt.Sprintf("%d messages ended, want %d", count(), n) })
	return w.all()
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, ok func() bool, complaint func() string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(complaint())
		}
	}
}

// short is a directory whose name leaves room for a socket's path.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func socketIn(dir string) string { return "unix:" + filepath.Join(dir, "s") }

// descriptors counts what this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc/self/fd: ", err)
	}
	return len(entries)
}

// answerOf reads one packet and returns its code.
func answerOf(t *testing.T, conn net.Conn) byte {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		t.Fatalf("no answer: %v", err)
	}
	n := int64(head[0])<<24 | int64(head[1])<<16 | int64(head[2])<<8 | int64(head[3])
	if _, err := io.CopyN(io.Discard, conn, n-1); err != nil {
		t.Fatalf("half an answer: %v", err)
	}
	return head[4]
}
