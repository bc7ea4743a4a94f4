package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/events/output"
	"dkimd/internal/logtest"
)

// configFile writes a dkimd.toml without keys and rules.
func configFile(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "dkimd.toml")
	text := fmt.Sprintf("[sign]\ndirectory = %q\n[policy]\ndirectory = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\n", dir, dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// attended is a daemon whose door is only a Shutdown, and whose configuration on
// disk is the file at path. It ends with the test.
func attended(t *testing.T, path string, log *logtest.Lines, shutdown func(context.Context) error) (signals chan os.Signal, ended chan error) {
	t.Helper()
	c := config.Default()
	c.Sign.Directory, c.Policy.Directory, c.DNS.Servers = "", "", []string{"127.0.0.1:1"}
	signals = make(chan os.Signal, 8)
	d := newDaemon(Options{Config: path, Named: true, Stderr: log, Signals: signals})
	d.started = c
	var err error
	if d.events, err = output.Open(output.Config{Logger: d.log}); err != nil {
		t.Fatal(err)
	}
	s, err := Build(c, nil, d.observers())
	if err != nil {
		t.Fatal(err)
	}
	d.enforce(s)
	served := make(chan error, 1)
	d.doors = doors{closing(func(ctx context.Context) error {
		defer func() { served <- nil }()
		return shutdown(ctx)
	})}
	ended = make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- d.attend(t.Context(), served)
	}()
	t.Cleanup(func() { <-done; d.end() })
	return signals, ended
}

// closing is a door that nobody comes through.
type closing func(ctx context.Context) error

func (closing) Serve() error                         { return nil }
func (c closing) Shutdown(ctx context.Context) error { return c(ctx) }

func TestReminderOfARefusedReload(t *testing.T) {
	t.Parallel()
	path := configFile(t)
	synctest.Test(t, func(t *testing.T) {
		log := new(logtest.Lines)
		signals, _ := attended(t, path, log, func(context.Context) error { return nil })
		const reminder = "the configuration on disk is broken: the previous one is still in force.*dkimd.toml:1: hostnam"
		expect := func(want int, after time.Duration) {
			t.Helper()
			time.Sleep(after) //nolint:forbidigo // in a bubble
			synctest.Wait()
			if n := log.Count(reminder); n != want {
				t.Errorf("%d reminders, want %d, in\n%s", n, want, log)
			}
		}
		expect(0, 5*time.Hour)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("hostnam = 1"), 0o600); err != nil {
			t.Fatal(err)
		}
		expect(0, 5*time.Hour) // nobody asked for it yet
		signals <- syscall.SIGHUP
		expect(0, time.Minute)
		expect(1, time.Hour)
		expect(3, 2*time.Hour)
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		signals <- syscall.SIGHUP
		expect(3, 5*time.Hour)
	})
}

// A stopping daemon waits 30 seconds for messages, and no longer.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	path := configFile(t)
	for name, test := range map[string]struct {
		takes time.Duration // the messages under way
		then  []os.Signal   // a second after the first
		want  time.Duration
		says  string
	}{
		"nothing under way":    {0, nil, 0, `level=INFO msg=stopped`},
		"a slow message":       {29 * time.Second, nil, 29 * time.Second, `level=INFO msg=stopped`},
		"a message that hangs": {time.Hour, nil, 30 * time.Second, `level=WARN msg="connections closed before their messages ended" error="context deadline exceeded"`},
		"a second signal":      {time.Hour, []os.Signal{syscall.SIGTERM}, time.Second, `level=WARN msg="connections closed before their messages ended" error="context canceled"`},
		"an interrupt":         {time.Hour, []os.Signal{syscall.SIGINT}, time.Second, `level=WARN msg="connections closed before their messages ended" error="context canceled"`},
		"a hangup":             {20 * time.Second, []os.Signal{syscall.SIGHUP, syscall.SIGHUP}, 20 * time.Second, `level=INFO msg=stopped`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := new(logtest.Lines)
				signals, ended := attended(t, path, log, func(ctx context.Context) error {
					select {
					case <-time.After(test.takes):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
				began := time.Now()
				signals <- syscall.SIGTERM
				time.Sleep(time.Second) //nolint:forbidigo // in a bubble
				for _, s := range test.then {
					signals <- s
				}
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != max(test.want, time.Second) {
					t.Errorf("it took %v, want %v", took, test.want)
				}
				if log.Count(test.says) != 1 || log.Count("reload") != 0 {
					t.Errorf("it said\n%s", log)
				}
			})
		})
	}
}
