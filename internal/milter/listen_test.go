package milter_test

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
)

func config(listen ...string) milter.Config {
	return milter.Config{Listen: listen, Begin: (&fake{}).begin, Logger: slog.New(slog.DiscardHandler)}
}

// TestSocketFaults: each names the address and what mends it, and all come at once.
func TestSocketFaults(t *testing.T) {
	t.Parallel()
	dir := short(t)
	write := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	live, err := net.Listen("unix", filepath.Join(dir, "live"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = live.Close() })
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	file := write("file")
	tests := map[string]struct{ listen, group, want string }{
		"a live socket":        {"unix:" + filepath.Join(dir, "live"), "", "want a socket that no other process serves (hint: "},
		"a file":               {"unix:" + file, "", "want a path at which there is nothing but a socket"},
		"a link":               {"unix:" + link, "", "want a path at which there is nothing but a socket"},
		"a directory":          {"unix:" + dir, "", "want a path at which there is nothing but a socket"},
		"no directory":         {"unix:" + dir + "/none/s", "", "want a socket in a directory that exists (hint: mkdir "},
		"a file for directory": {"unix:" + file + "/s", "", "want a socket in a directory (hint: "},
		"a relative path":      {"unix:s", "", "an absolute path"},
		"a long path":          {"unix:/" + strings.Repeat("x", 105), "", "want a path of at most 101 bytes"},
		"no such group":        {"unix:" + dir + "/s", "no-such-group", `want a socket_group that this host has (hint: there is no group "no-such-group"`},
		"a port that is taken": {"inet:" + taken.Addr().String(), "", "want an address at which no other process listens"},
		"an address elsewhere": {"inet:192.0.2.1:8891", "", "want an address of this host"},
		"no port":              {"inet:127.0.0.1", "", "want inet:HOST:PORT"},
		"OpenDKIM's way":       {"inet:8891@127.0.0.1", "", "hint: here a host comes first: inet:127.0.0.1:8891"},
		"a wrong family":       {"inet:[::1]:0", "", "inet:[::1]:0"},
		"no scheme":            {"127.0.0.1:8891", "", "want inet:HOST:PORT, inet6:"},
		"nothing":              {"", "", "want inet:HOST:PORT, inet6:"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(tt.listen)
			cfg.SocketGroup = tt.group
			s, err := milter.New(cfg)
			if err == nil {
				_ = s.Close()
				t.Fatal("it listens")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), strconv.Quote(tt.listen)) {
				t.Errorf("got %q, want %q", err, tt.want)
			}
		})
	}
	t.Run("all at once, and none stays open", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(dir, "good")
		_, err := milter.New(config("unix:"+path, "unix:"+file, "inet:8891"))
		if err == nil || strings.Count(err.Error(), "milter.listen") != 2 {
			t.Errorf("got %v", err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("a socket stays")
		}
	})
}

func TestConfigFaults(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*milter.Config){
		"no Begin":       func(c *milter.Config) { c.Begin = nil },
		"no Logger":      func(c *milter.Config) { c.Logger = nil },
		"negative cap":   func(c *milter.Config) { c.MaxConnections = -1 },
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

// TestSocketComesAndGoes: mode, group, and nothing left behind.
func TestSocketComesAndGoes(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0, 0o600, 0o666, 0o660} {
		dir := short(t)
		path := filepath.Join(dir, "s")
		cfg := config("unix:" + path)
		cfg.SocketMode = mode
		cfg.SocketGroup = strconv.Itoa(os.Getgid())
		if os.Getuid() == 0 {
			cfg.SocketGroup = "mail"
		}
		s, err := milter.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		want := mode
		if mode == 0 {
			want = 0o660
		}
		if info.Mode() != want|os.ModeSocket {
			t.Errorf("mode %v, want %v", info.Mode(), want)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Getuid() == 0 && st.Gid != 8 {
			t.Errorf("group %d", st.Gid)
		}
		if got := s.Addrs()[0]; got.Network() != "unix" || got.String() != path {
			t.Errorf("address %v", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// TestStaleSocketIsReplaced: a killed process leaves its socket, and maybe the
// directory it was being made in.
func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	dir := short(t)
	path := filepath.Join(dir, "s")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = stale.Close()
	if err := os.Mkdir(path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new/s", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := start(t, milter.Config{Listen: []string{"unix:" + path}})
	send(t, w.dial(t, client.Options{}), letter("1"))
}

// TestForeignSocketIsNotRemoved: somebody else may have taken over the path.
func TestForeignSocketIsNotRemoved(t *testing.T) {
	t.Parallel()
	dir := short(t)
	path := filepath.Join(dir, "s")
	s, err := milter.New(config("unix:" + path))
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	_ = s.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Error("the other one's socket was removed")
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
	w := start(t, milter.Config{Listen: listen})
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
