package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/logtest"
	"dkimd/internal/resolver"
)

// TestTroubleWithDNSIsToldOnce, in the log and for as long as it lasts in /readyz, which stays ready.
func TestTroubleWithDNSIsToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		log := &logtest.Lines{}
		d := newDaemon(Options{Stderr: log})
		c := config.Default()
		c.Sign.Directory, c.Policy.Directory, c.DNS.Servers = "", "", []string{"127.0.0.1:1"}
		s, err := Build(c, nil, d.observers())
		if err != nil {
			t.Fatal(err)
		}
		if s.Resolver, err = resolver.New(resolver.Config{ResolvConf: path, Logger: d.log}); err != nil {
			t.Fatal(err)
		}
		d.current.Store(s)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); d.watchDNS(ctx) }()
		for range 3 {
			time.Sleep(20 * time.Second) //nolint:forbidigo // synctest: no time passes
			if h := d.health(); len(h.Faults) > 0 || len(h.Warnings) != 1 || !strings.Contains(h.Warnings[0], path+" names no name server") {
				t.Errorf("health: %+v", h)
			}
		}
		if err := os.WriteFile(path, []byte("nameserver 192.0.2.1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second) //nolint:forbidigo // synctest: no time passes
		if h := d.health(); len(h.Warnings) > 0 {
			t.Errorf("health: %+v", h)
		}
		cancel()
		<-ended
		s.Close()
		text := log.String()
		if strings.Count(text, `level=WARN msg="DNS is in trouble"`) != 1 || strings.Count(text, `msg="DNS is well again" servers=[192.0.2.1:53]`) != 1 {
			t.Errorf("log:\n%s", text)
		}
	})
}
