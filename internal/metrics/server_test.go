package metrics_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
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

// Who holds connections open keeps others waiting, and no more of the process than that.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ask := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("unix", w.socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		return conn, bufio.NewReader(conn)
	}
	var held []net.Conn
	for range 64 {
		conn, answer := ask()
		if line, err := answer.ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
			t.Fatalf("%q %v", line, err)
		}
		held = append(held, conn)
	}
	conn, answer := ask()
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if line, err := answer.ReadString('\n'); err == nil {
		t.Errorf("the 65th connection is answered: %q", line)
	}
	_ = held[0].Close()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if line, err := answer.ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
		t.Errorf("when one is free: %q %v", line, err)
	}
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
