package socket_test

import (
	"net"
	"path/filepath"
	"testing"

	"dkimd/internal/socket"
)

// What the log calls a socket is what the operator called it.
func TestLocalIsTheConfiguredAddress(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dkimd.sock")
	listeners, err := socket.Listen(socket.Config{Name: "milter", Listen: []string{"unix:" + path, "inet:127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, ln := range listeners {
		t.Cleanup(func() { _ = ln.Close() })
		want := path
		if i > 0 {
			want = ln.Addr().String()
		}
		client, err := net.Dial(ln.Addr().Network(), want)
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
