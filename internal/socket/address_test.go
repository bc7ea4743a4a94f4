package socket_test

import (
	"strings"
	"testing"

	"dkimd/internal/fault"
	"dkimd/internal/socket"
)

// Each form in which people write an address is the same address to whoever listens and to whoever connects.
func TestFormsOfAnAddress(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ canonical, network, address string }{
		"unix:/run/x":                       {"unix:/run/x", "unix", "/run/x"},
		"local:/run/x":                      {"unix:/run/x", "unix", "/run/x"},
		"local:/run//y/../x":                {"unix:/run/x", "unix", "/run/x"},
		"inet:127.0.0.1:8891":               {"inet:127.0.0.1:8891", "tcp4", "127.0.0.1:8891"},
		"inet:8891@127.0.0.1":               {"inet:127.0.0.1:8891", "tcp4", "127.0.0.1:8891"},
		"inet:localhost:8891":               {"inet:localhost:8891", "tcp4", "localhost:8891"},
		"inet:8891@localhost":               {"inet:localhost:8891", "tcp4", "localhost:8891"},
		"inet:mail.example:0":               {"inet:mail.example:0", "tcp4", "mail.example:0"},
		"inet:Bücher.example:25":            {"inet:xn--bcher-kva.example:25", "tcp4", "xn--bcher-kva.example:25"},
		"inet:*:8891":                       {"inet::8891", "tcp4", ":8891"},
		"inet:8891@*":                       {"inet::8891", "tcp4", ":8891"},
		"inet:8891@":                        {"inet::8891", "tcp4", ":8891"},
		"inet::8891":                        {"inet::8891", "tcp4", ":8891"},
		"inet6:[::1]:8891":                  {"inet6:[::1]:8891", "tcp6", "[::1]:8891"},
		"inet6:8891@[::1]":                  {"inet6:[::1]:8891", "tcp6", "[::1]:8891"},
		"inet6:8891@::1":                    {"inet6:[::1]:8891", "tcp6", "[::1]:8891"},
		"inet6:[fe80::1%lo]:25":             {"inet6:[fe80::1%lo]:25", "tcp6", "[fe80::1%lo]:25"},
		"inet6:localhost:8891":              {"inet6:localhost:8891", "tcp6", "localhost:8891"},
		"unix:/" + strings.Repeat("x", 100): {"unix:/" + strings.Repeat("x", 100), "unix", "/" + strings.Repeat("x", 100)},
	}
	for s, want := range tests {
		for name, parse := range map[string]func(string) (socket.Address, error){"listen": socket.ParseListen, "dial": socket.ParseDial} {
			a, err := parse(s)
			if err != nil {
				t.Errorf("%s: %s: %v", name, s, err)
				continue
			}
			if a.String() != want.canonical || a.Network() != want.network || a.Address() != want.address {
				t.Errorf("%s: %s is %s, %s %s", name, s, a, a.Network(), a.Address())
			}
		}
	}
}

// A scheme may be left out by whoever connects. In dkimd.toml it may not; the fault says what to write.
func TestAddressWithoutScheme(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ canonical, network, address, hint string }{
		"/run/x":         {"unix:/run/x", "unix", "/run/x", `write "unix:/run/x"`},
		"127.0.0.1:8891": {"inet:127.0.0.1:8891", "tcp4", "127.0.0.1:8891", `write "inet:127.0.0.1:8891" for a TCP socket`},
		"[::1]:8891":     {"inet6:[::1]:8891", "tcp6", "[::1]:8891", `write "inet6:[::1]:8891" for a TCP socket`},
		"mail:8891":      {"mail:8891", "tcp", "mail:8891", `write "inet:mail:8891" for a TCP socket`},
		":8891":          {":8891", "tcp", ":8891", `write "inet::8891" for a TCP socket`},
	}
	for s, want := range tests {
		a, err := socket.ParseDial(s)
		if err != nil || a.String() != want.canonical || a.Network() != want.network || a.Address() != want.address {
			t.Errorf("%s is %s, %s %s, %v", s, a, a.Network(), a.Address(), err)
		}
		_, err = socket.ParseListen(s)
		if got := (fault.Fault{Want: "inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH", Hint: want.hint}); err != got { //nolint:errorlint // the whole of it
			t.Errorf("%s: got %v, want %v", s, err, got)
		}
	}
}

func TestAddressFaults(t *testing.T) {
	t.Parallel()
	const anyForm = "inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH"
	long := func(n int) string { return "unix:/" + strings.Repeat("x", n-1) }
	tests := map[string]struct{ listen, dial string }{
		"":                      {anyForm, anyForm},
		"x":                     {anyForm, anyForm},
		"8891":                  {anyForm, anyForm},
		"tcp:8891":              {anyForm, anyForm},
		"tcp:127.0.0.1:8891":    {anyForm, anyForm},
		"http://127.0.0.1:8891": {anyForm, anyForm},
		"unix:":                 {"the path of a socket", "the path of a socket"},
		"unix:/run/":            {"the path of a socket", "the path of a socket"},
		"unix:/run/x\x00y":      {"the path of a socket", "the path of a socket"},
		"unix:x":                {"unix:/PATH", ""},
		long(101):               {"", ""},
		long(102):               {"a path of at most 101 bytes", ""},
		long(107):               {"a path of at most 101 bytes", ""},
		long(108):               {"a path of at most 101 bytes", "a path of at most 107 bytes"},
		"inet:8891":             {"inet:HOST:PORT", "inet:HOST:PORT"},
		"inet:127.0.0.1":        {"inet:HOST:PORT", "inet:HOST:PORT"},
		"inet:[::1]:8891":       {"inet:HOST:PORT", "inet:HOST:PORT"},
		"inet:300.0.0.1:8891":   {"inet:HOST:PORT", "inet:HOST:PORT"},
		"inet:a b:8891":         {"inet:HOST:PORT", "inet:HOST:PORT"},
		"inet:-a:8891":          {"inet:HOST:PORT", "inet:HOST:PORT"},
		"inet:a..b:8891":        {"inet:HOST:PORT", "inet:HOST:PORT"},
		"inet6:127.0.0.1:8891":  {"inet6:[HOST]:PORT", "inet6:[HOST]:PORT"},
		"inet6:::1:8891":        {"inet6:[HOST]:PORT", "inet6:[HOST]:PORT"},
		"inet:127.0.0.1:":       {"a port from 0 to 65535", "a port from 0 to 65535"},
		"inet:127.0.0.1:65536":  {"a port from 0 to 65535", "a port from 0 to 65535"},
		"inet:127.0.0.1:smtp":   {"a port from 0 to 65535", "a port from 0 to 65535"},
		"300.0.0.1:8891":        {"inet:HOST:PORT", "inet:HOST:PORT"},
	}
	for s, want := range tests {
		_, err := socket.ParseListen(s)
		wants(t, "listen "+s, err, want.listen)
		_, err = socket.ParseDial(s)
		wants(t, "dial "+s, err, want.dial)
	}
}

// wants checks what the fault of an address says is wanted; empty: there is none.
func wants(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && (err == nil || !strings.HasPrefix(err.Error(), "want "+want+" (hint: ") && err.Error() != "want "+want):
		t.Errorf("%s: got %v, want %s", what, err, want)
	}
}

// FuzzAddress: what an address prints as is read as the same address, and whoever
// may listen on it can connect to it.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"inet:8891@127.0.0.1", "inet6:[::1]:8891", "local:/run/x", "/run/x", "mail:8891", ":1", "unix:x", "inet:*:0", "loCAl:0", "TCP:1", "inet :0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		dial, err := socket.ParseDial(s)
		if err == nil {
			if again, err := socket.ParseDial(dial.String()); err != nil || again != dial {
				t.Errorf("%q is %#v, and %q is %#v, %v", s, dial, dial.String(), again, err)
			}
		}
		listen, failed := socket.ParseListen(s)
		if failed != nil {
			return
		}
		if err != nil || listen != dial {
			t.Errorf("%q: one listens on %#v and connects to %#v, %v", s, listen, dial, err)
		}
	})
}
