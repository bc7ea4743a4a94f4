package resolver

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServersAreReadInAnyForm(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"127.0.0.1":               "127.0.0.1:53",
		"127.0.0.1:5353":          "127.0.0.1:5353",
		"::1":                     "[::1]:53",
		"[::1]":                   "[::1]:53",
		"[::1]:5353":              "[::1]:5353",
		"2001:DB8:0:0:0:0:0:1":    "[2001:db8::1]:53",
		"::ffff:192.0.2.1":        "192.0.2.1:53",
		"[::ffff:192.0.2.1]:5353": "192.0.2.1:5353",
		"fe80::1%eth0":            "[fe80::1%eth0]:53",
		"[fe80::1%eth0]":          "[fe80::1%eth0]:53",
		"[fe80::1%eth0]:5353":     "[fe80::1%eth0]:5353",
		"":                        "",
		"localhost":               "",
		"ns.example.org:53":       "",
		"127.0.0.1:0":             "",
		"127.0.0.1:65536":         "",
		"127.0.0.1:":              "",
		"127.0.0.1:domain":        "",
		"127.0.0":                 "",
		"127.0.0.1 ":              "",
		"[127.0.0.1":              "",
		"udp://127.0.0.1":         "",
		"[]:53":                   "",
	} {
		got, ok := parseServer(text)
		if got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %t; want %q", text, got, ok, want)
		}
	}
}

func TestResolvConf(t *testing.T) {
	t.Parallel()
	local := []string{"127.0.0.1:53", "[::1]:53"}
	tests := map[string]struct {
		text string
		want []string
	}{
		"all servers, in order": {"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n", []string{"192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53", "192.0.2.4:53"}},
		"IPv6 and zone":         {"nameserver ::1\nnameserver fe80::1%eth0", []string{"[::1]:53", "[fe80::1%eth0]:53"}},
		"the same twice":        {"nameserver ::1\nnameserver 0:0::1\n", []string{"[::1]:53"}},
		"white space, CRLF":     {" \tnameserver\t192.0.2.1  # the first\r\n", []string{"192.0.2.1:53"}},
		"other lines":           {"# nameserver 192.0.2.9\n; nameserver 192.0.2.9\nsearch example.org\noptions ndots:5 timeout:1\nnameserver 192.0.2.1\nnameserver\nnameservers 192.0.2.9\n", []string{"192.0.2.1:53"}},
		"a line without IP":     {"nameserver ns.example.org\nnameserver 192.0.2.1\n", []string{"192.0.2.1:53"}},
		"empty":                 {"", local},
		"no nameserver":         {"search example.org\n", local},
		"only lines without IP": {"nameserver ns.example.org\n", nil},
		"too large":             {strings.Repeat("#\n", maxResolvConf), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := New(Config{ResolvConf: path})
			if test.want == nil {
				conf, ok := errors.AsType[*ResolvConfError](err)
				if !ok || !strings.HasPrefix(err.Error(), "servers: ") || !strings.HasPrefix(conf.Err.Error(), path+" has ") {
					t.Errorf("got %v; want a ResolvConfError that names the key and the file", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, r.Servers()); diff != "" {
				t.Errorf("servers (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("no such file", func(t *testing.T) {
		t.Parallel()
		r, err := New(Config{ResolvConf: filepath.Join(t.TempDir(), "none")})
		if err != nil || !cmp.Equal(r.Servers(), local) {
			t.Errorf("got %v; want the server on this host", err)
		}
	})
	t.Run("not a file", func(t *testing.T) {
		t.Parallel()
		if _, err := New(Config{ResolvConf: t.TempDir()}); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v; want an error", err)
		}
	})
}
