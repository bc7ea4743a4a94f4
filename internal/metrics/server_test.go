package metrics_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dkimd/internal/metrics"
)

func TestReadinessInWords(t *testing.T) {
	t.Parallel()
	many := make([]string, 25)
	for i := range many {
		many[i] = fmt.Sprint("line ", i+1)
	}
	listed := func(kind string) string {
		return kind + ": " + strings.Join(many[:20], "\n"+kind+": ") + "\n" + kind + ": and 5 more (hint: dkimd check)\n"
	}
	for name, test := range map[string]struct {
		health metrics.Health
		status int
		body   string
	}{
		"ready":    {metrics.Health{}, 200, "ready\n"},
		"warnings": {metrics.Health{Warnings: []string{"a", "b"}}, 200, "ready\nwarning: a\nwarning: b\n"},
		"faults":   {metrics.Health{Faults: []string{"a", "b"}, Warnings: []string{"c"}}, 503, "not ready\nfault: a\nfault: b\nwarning: c\n"},
		"many":     {metrics.Health{Faults: many, Warnings: many}, 503, "not ready\n" + listed("fault") + listed("warning")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.health = func() metrics.Health { return test.health }
			if status, body := w.ask("GET", "/readyz"); status != test.status || body != test.body {
				t.Errorf("%d %s", status, body)
			}
			if status, body := w.ask("GET", "/healthz"); status != 200 || body != "dkimd answers\n" {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}

// Nothing but the three paths is there: what other packages hang into the default mux is not.
func TestNothingElseIsServed(t *testing.T) {
	t.Parallel()
	http.HandleFunc("/of-another-package", func(http.ResponseWriter, *http.Request) {})
	w := newWorld(t)
	for request, want := range map[string]int{
		"GET /": 404, "GET /of-another-package": 404, "GET /debug/pprof/": 404, "GET /metrics/": 404,
		"POST /metrics": 405, "PUT /readyz": 405, "DELETE /healthz": 405, "HEAD /readyz": 200, "HEAD /metrics": 200,
	} {
		method, path, _ := strings.Cut(request, " ")
		if status, _ := w.ask(method, path); status != want {
			t.Errorf("%s: %d, want %d", request, status, want)
		}
	}
}

// The page is at / alone, and is only read.
func TestThePageIsOnlyRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
	})
	for request, want := range map[string]int{"GET /": 200, "HEAD /": 200, "POST /": 405, "DELETE /": 405, "OPTIONS /": 405, "GET /x": 404} {
		method, path, _ := strings.Cut(request, " ")
		if status, _ := w.ask(method, path); status != want {
			t.Errorf("%s: %d, want %d", request, status, want)
		}
	}
}

// A fault of ours in one answer is logged and counted; the next one is given.
func TestPanicsStayInTheirAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.health = func() metrics.Health { panic("injected") }
	if status, body := w.ask("GET", "/readyz"); status != 500 || strings.Contains(body, "injected") {
		t.Errorf("%d %s", status, body)
	}
	if got := w.scrape()["dkimd_panics_total"]; got != "1" || !strings.Contains(w.log.String(), "panic=injected stack=") {
		t.Errorf("%s panics, log %s", got, w.log.String())
	}
	good := w.state
	w.state = func() metrics.State { panic("in a scrape") }
	if status, body := w.ask("GET", "/metrics"); status != 500 {
		t.Errorf("%d %s", status, body)
	}
	if !strings.Contains(w.log.String(), "panic: in a scrape") {
		t.Errorf("log %s", w.log.String())
	}
	w.state = good
	w.scrape()
}

// peer is a connection to the metrics, byte by byte.
type peer struct {
	net.Conn
	t      *testing.T
	answer *bufio.Reader
}

func (w *world) dial() *peer {
	w.t.Helper()
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return &peer{conn, w.t, bufio.NewReader(conn)}
}

func (p *peer) ask(path string) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		p.t.Fatal(err)
	}
}

// answered reads a whole answer, and fails the test unless it comes soon.
func (p *peer) answered() {
	p.t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
	response, err := http.ReadResponse(p.answer, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		p.t.Fatalf("status %d, %v", response.StatusCode, err)
	}
}

// closed fails the test unless the server closes the connection without a word.
func (p *peer) closed() {
	p.t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
	if b, err := p.answer.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("read %q, %v", b, err)
	}
}

// Who holds connections open keeps nobody waiting: the one idle for longest is closed for a new one, and none
// that is being answered.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asked, release := make(chan struct{}), make(chan struct{})
	w.health = func() metrics.Health {
		close(asked)
		<-release
		return metrics.Health{}
	}
	slow := w.dial()
	slow.ask("/readyz")
	<-asked
	var held []*peer
	for range 255 {
		p := w.dial()
		p.ask("/healthz")
		p.answered()
		held = append(held, p)
	}
	for _, p := range held { // none is closed yet
		p.ask("/healthz")
		p.answered()
	}
	p := w.dial()
	p.ask("/healthz")
	p.answered()
	held[0].closed()
	held[1].ask("/healthz")
	held[1].answered()
	close(release)
	slow.answered()
}

// All that is wrong with the sockets is said at once, and none stays open.
func TestListenNamesEachFault(t *testing.T) {
	t.Parallel()
	_, err := metrics.Listen(metrics.ServerConfig{
		Listen: []string{"inet:127.0.0.1:0", "unix:/absent/x", "inet:192.0.2.1:9891"}, Metrics: benchmarked(), Logger: slog.New(slog.DiscardHandler),
	})
	for _, want := range []string{`metrics.listen[2]: got "unix:/absent/x"; want a socket in a directory that exists`, `metrics.listen[3]: got "inet:192.0.2.1:9891"; want an address of this host`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %s", err, want)
		}
	}
}

// Four scrapes at once are answered, the fifth is told to come again.
func TestScrapesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	under, release := make(chan struct{}, 4), make(chan struct{})
	var running atomic.Int32
	w.state = func() metrics.State {
		if running.Add(1) <= 4 {
			under <- struct{}{}
			<-release
		}
		return metrics.State{}
	}
	var scrapes sync.WaitGroup
	for range 4 {
		scrapes.Go(func() {
			if status, _ := w.ask(http.MethodGet, "/metrics"); status != http.StatusOK {
				t.Errorf("one of four: status %d", status)
			}
		})
	}
	for range 4 {
		select {
		case <-under:
		case <-time.After(10 * time.Second):
			t.Error("four scrapes do not run at once")
		}
	}
	if status, _ := w.ask(http.MethodGet, "/metrics"); status != http.StatusServiceUnavailable {
		t.Errorf("the fifth: status %d", status)
	}
	close(release)
	scrapes.Wait()
}
