package metrics_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkimd/internal/logtest"
	"dkimd/internal/metrics"
)

// world is metrics that are served on a unix socket.
type world struct {
	t      *testing.T
	state  func() metrics.State
	health func() metrics.Health
	page   http.Handler
	log    logtest.Lines
	client *http.Client
	socket string
	*metrics.Metrics
}

func newWorld(t *testing.T, with ...func(*world)) *world {
	t.Helper()
	w := &world{
		t:      t,
		state:  func() metrics.State { return metrics.State{Loaded: time.Unix(1, 5e8)} },
		health: func() metrics.Health { return metrics.Health{} },
	}
	for _, change := range with {
		change(w)
	}
	w.Metrics = metrics.New(metrics.Config{Version: "1.2.3", State: func() metrics.State { return w.state() }})
	dir, err := os.MkdirTemp("", "dk") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w.socket = filepath.Join(dir, "s")
	server, err := metrics.Listen(metrics.ServerConfig{
		Listen: []string{"unix:" + w.socket}, Metrics: w.Metrics, Page: w.page, Health: func() metrics.Health { return w.health() },
		Logger: slog.New(w.Log.Before(slog.NewTextHandler(&w.log, nil))),
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	w.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", w.socket)
		},
	}}
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// ask asks for a path.
func (w *world) ask(method, path string) (status int, body string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, "http://dkimd"+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := w.client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it is read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// scrape is every line of dkimd's own metrics, by name with labels.
func (w *world) scrape() map[string]string {
	w.t.Helper()
	status, text := w.ask(http.MethodGet, "/metrics")
	if status != http.StatusOK {
		w.t.Fatalf("status %d: %s", status, text)
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(line, "dkimd_") {
			values[name] = value
		}
	}
	return values
}

// changes are what has changed since a scrape.
func (w *world) changes(before map[string]string) map[string]string {
	w.t.Helper()
	changed := map[string]string{}
	for name, value := range w.scrape() {
		if before[name] != value && !strings.Contains(name, "_bucket{") {
			changed[name] = value
		}
	}
	return changed
}
