package milter_test

import (
	"log/slog"
	"net"
	"testing"

	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
	"dkimd/internal/socket"
)

func config(listen ...string) milter.Config {
	return milter.Config{Config: socket.Config{Listen: listen}, MaxConnections: 1, Begin: (&fake{}).begin, Logger: slog.New(slog.DiscardHandler)}
}

func TestConfigFaults(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*milter.Config){
		"no Begin":       func(c *milter.Config) { c.Begin = nil },
		"no Logger":      func(c *milter.Config) { c.Logger = nil },
		"no connections": func(c *milter.Config) { c.MaxConnections = 0 },
		"nothing listed": func(c *milter.Config) { c.Listen = nil },
	} {
		cfg := config("inet:127.0.0.1:0")
		spoil(&cfg)
		if s, err := milter.New(cfg); err == nil {
			_ = s.Close()
			t.Errorf("%s: no fault", name)
		}
	}
}

// TestSeveralSockets serves all of them.
func TestSeveralSockets(t *testing.T) {
	t.Parallel()
	listen := []string{"inet:127.0.0.1:0", socketIn(short(t)), "inet:127.0.0.2:0"}
	if ln, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		_ = ln.Close()
		listen = append(listen, "inet6:[::1]:0")
	}
	w := start(t, milter.Config{Config: socket.Config{Listen: listen}})
	for _, addr := range w.server.Addrs() {
		s, err := client.Dial(t.Context(), addr.Network(), addr.String(), client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		send(t, s, letter("1"))
		if err := s.Quit(); err != nil {
			t.Error(err)
		}
	}
}
