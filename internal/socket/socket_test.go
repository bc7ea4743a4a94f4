package socket_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dkimd/internal/socket"
)

// short is a directory whose name leaves room for a socket's path.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// listen opens sockets until the test ends.
func listen(t *testing.T, cfg socket.Config) []net.Listener {
	t.Helper()
	cfg.Name = "milter"
	listeners, err := socket.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, ln := range listeners {
		t.Cleanup(func() { _ = ln.Close() })
	}
	return listeners
}

// What the log calls a socket is what the operator called it.
func TestLocalIsTheConfiguredAddress(t *testing.T) {
	t.Parallel()
	path := filepath.Join(short(t), "dkimd.sock")
	for i, ln := range listen(t, socket.Config{Listen: []string{"unix:" + path, "inet:127.0.0.1:0"}}) {
		want := path
		if i > 0 {
			want = ln.Addr().String()
		}
		address, err := socket.ParseDial(want)
		if err != nil {
			t.Fatal(err)
		}
		client, err := address.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if got := socket.Local(conn); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
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
		"a relative path":      {"unix:s", "", "want unix:/PATH"},
		"a long path":          {"unix:/" + strings.Repeat("x", 105), "", "want a path of at most 101 bytes"},
		"no such group":        {"unix:" + dir + "/s", "no-such-group", `want a socket_group that this host has (hint: there is no group "no-such-group"`},
		"a port that is taken": {"inet:" + taken.Addr().String(), "", "want an address at which no other process listens"},
		"an address elsewhere": {"inet:192.0.2.1:8891", "", "want an address of this host"},
		"no port":              {"inet:127.0.0.1", "", "want inet:HOST:PORT"},
		"a wrong family":       {"inet:[::1]:0", "", "inet:[::1]:0"},
		"no scheme":            {"127.0.0.1:8891", "", "want inet:HOST:PORT, inet6:"},
		"nothing":              {"", "", "want inet:HOST:PORT, inet6:"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listeners, err := socket.Listen(socket.Config{Name: "milter", Listen: []string{tt.listen}, Group: tt.group})
			if err == nil {
				_ = listeners[0].Close()
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
		_, err := socket.Listen(socket.Config{Name: "milter", Listen: []string{"unix:" + path, "unix:" + file, "inet:8891"}})
		if err == nil || strings.Count(err.Error(), "milter.listen") != 2 {
			t.Errorf("got %v", err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("a socket stays")
		}
	})
}

// TestSocketComesAndGoes: mode, group, and nothing left behind.
func TestSocketComesAndGoes(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0, 0o600, 0o666, 0o660} {
		dir := short(t)
		path := filepath.Join(dir, "s")
		cfg := socket.Config{Listen: []string{"unix:" + path}, Mode: mode, Group: strconv.Itoa(os.Getgid())}
		if os.Getuid() == 0 {
			cfg.Group = "mail"
		}
		ln := listen(t, cfg)[0]
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
		if got := ln.Addr(); got.Network() != "unix" || got.String() != path {
			t.Errorf("address %v", got)
		}
		if err := ln.Close(); err != nil {
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
	listen(t, socket.Config{Listen: []string{"unix:" + path}})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// TestForeignSocketIsNotRemoved: somebody else may have taken over the path.
func TestForeignSocketIsNotRemoved(t *testing.T) {
	t.Parallel()
	dir := short(t)
	path := filepath.Join(dir, "s")
	ln := listen(t, socket.Config{Listen: []string{"unix:" + path}})[0]
	_ = os.Remove(path)
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	_ = ln.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Error("the other one's socket was removed")
	}
}
