package resolver_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/resolver"

	"github.com/google/go-cmp/cmp"
)

// TestResolvConfIsReadAgain when it changes, and what is cached stays.
func TestResolvConfIsReadAgain(t *testing.T) {
	t.Parallel()
	w, local := newWorld(t), []string{"127.0.0.1:53", "[::1]:53"}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	var log bytes.Buffer
	w.config = resolver.Config{ResolvConf: path, Timeout: enough, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	r := w.resolver()
	steps := []struct {
		what, text string // text "-": no file
		want       []string
		trouble    string
	}{
		{"absent at boot", "-", local, path + " names no name server; 127.0.0.1:53, [::1]:53 is asked"},
		{"empty", "", local, path + " names no name server; 127.0.0.1:53, [::1]:53 is asked"},
		{"it comes", "nameserver " + w.server.Addr() + "\n", []string{w.server.Addr()}, ""},
		{"another line", "# \nnameserver " + w.server.Addr() + "\n", []string{w.server.Addr()}, ""},
		{"another server", "nameserver 192.0.2.1\n", []string{"192.0.2.1:53"}, ""},
		{"cut off", "", []string{"192.0.2.1:53"}, path + " names no name server; 192.0.2.1:53 is asked"},
		{"names only", "nameserver ns.example\n", []string{"192.0.2.1:53"}, path + " has no nameserver line with an IP address; 192.0.2.1:53 is asked"},
		{"too large", strings.Repeat("#\n", 1<<20), []string{"192.0.2.1:53"}, "more than 1048576; 192.0.2.1:53 is asked"},
		{"gone", "-", []string{"192.0.2.1:53"}, path + " names no name server; 192.0.2.1:53 is asked"},
		{"back", "nameserver 192.0.2.1\nnameserver 192.0.2.2\n", []string{"192.0.2.1:53", "192.0.2.2:53"}, ""},
	}
	for _, step := range steps {
		_ = os.Remove(path)
		if step.text != "-" {
			if err := os.WriteFile(path, []byte(step.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			r.Attend(t.Context())
		}
		if diff := cmp.Diff(step.want, r.Servers()); diff != "" {
			t.Errorf("%s: servers (-want +got):\n%s", step.what, diff)
		}
		if got := strings.Join(r.Troubles(), "|"); (got == "") != (step.trouble == "") || !strings.HasSuffix(got, step.trouble) {
			t.Errorf("%s: troubles %q; want %q", step.what, got, step.trouble)
		}
		if step.what == "it comes" {
			if _, err := r.TXT(t.Context(), keyName); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err, ok := r.Cached(keyName); !ok || err != nil {
		t.Errorf("the cache is lost: %v", err)
	}
	if got := strings.Count(log.String(), "name servers changed"); got != 3 {
		t.Errorf("%d changes are logged; want 3:\n%s", got, log.String())
	}
	if got := strings.Count(log.String(), "nameserver line without an IP address"); got != 1 {
		t.Errorf("logged %d times; want once:\n%s", got, log.String())
	}
	// A reload reads it too, and keeps the cache and, where it names nobody, whom to ask.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next := w.config
	next.Previous = r
	reloaded := newResolver(t, next)
	if _, _, ok := reloaded.Cached(keyName); !ok || !slices.Equal(reloaded.Servers(), r.Servers()) || len(reloaded.Troubles()) != 1 {
		t.Errorf("after a reload: cached %t, servers %v, troubles %q", ok, reloaded.Servers(), reloaded.Troubles())
	}
}

// TestServersThatFailForAMinuteAreATrouble, and no longer when one answers. A domain
// that nobody answers for is none.
func TestServersThatFailForAMinuteAreATrouble(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lookup string
		down   bool
	}{"all servers": {keyName, true}, "one domain": {"s._domainkey.dead.example", false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var down atomic.Bool
				down.Store(test.down)
				network := newBubble(func(_ string, h heard) {
					if !down.Load() && !h.asks("dead") {
						h.reply(h.txt("key"))
					}
				})
				config := resolver.Config{Servers: []string{"192.0.2.1", "192.0.2.2"}, Dial: network.dial}
				r, err := resolver.New(config)
				if err != nil {
					t.Fatal(err)
				}
				attend := func(span time.Duration) {
					for end := time.Now().Add(span); time.Now().Before(end); {
						r.Attend(t.Context())
						time.Sleep(5 * time.Second) //nolint:forbidigo // synctest: no time passes
					}
				}
				if r.Attend(t.Context()); len(network.visited()) > 0 {
					t.Error("servers are asked for nothing")
				}
				if _, err := r.TXT(t.Context(), test.lookup); !errors.Is(err, resolver.ErrTimeout) {
					t.Errorf("got %v", err)
				}
				attend(40 * time.Second)
				if got := r.Troubles(); len(got) > 0 {
					t.Errorf("too early: %q", got)
				}
				// A reload does not begin anew.
				config.Previous = r
				if r, err = resolver.New(config); err != nil {
					t.Fatal(err)
				}
				attend(30 * time.Second)
				got := strings.Join(r.Troubles(), "|")
				if want := "DNS: no name server has answered since 2000-01-01T00:00:00Z: no answer in time from 192.0.2."; test.down != strings.HasPrefix(got, want) || !test.down && got != "" {
					t.Errorf("after 70 s: %q", got)
				}
				down.Store(false)
				attend(5 * time.Second)
				if got := r.Troubles(); len(got) > 0 {
					t.Errorf("a server answers: %q", got)
				}
				network.visited()
				if attend(time.Minute); len(network.visited()) > 0 {
					t.Error("servers that answer are asked for nothing")
				}
				closeFlight(t, r, network)
			})
		})
	}
}
