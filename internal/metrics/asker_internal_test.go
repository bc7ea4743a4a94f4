package metrics

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// What others may not read is given to this host alone, by a name that leads here and to nowhere else. Prometheus reads
// metrics from elsewhere by whatever name it has.
func TestWhoGetsWhat(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		at, host      string
		everywhere    bool
		page, metrics int
	}{
		"loopback":                         {"127.0.0.1", "127.0.0.1:9891", false, 200, 200},
		"loopback, IPv6":                   {"::1", "[::1]:9891", false, 200, 200},
		"IPv6 without a port":              {"::1", "[::1]", false, 200, 200},
		"localhost":                        {"127.0.0.1", "LOCALHOST:80", false, 200, 200},
		"our name":                         {"127.0.0.1", "mx.Example.org.:9891", false, 200, 200},
		"another name, as by DNS":          {"127.0.0.1", "evil.example:9891", false, 421, 421},
		"a name that begins as ours":       {"127.0.0.1", "mx.example.org.evil.example", false, 421, 421},
		"a name that begins as an address": {"127.0.0.1", "127.0.0.1.evil.example", false, 421, 421},
		"below localhost":                  {"127.0.0.1", "x.localhost.evil.example", false, 421, 421},
		"no host, a dot":                   {"127.0.0.1", ".", false, 421, 421},
		"no name":                          {"127.0.0.1", "", false, 200, 200},
		"a unix socket":                    {"", "status.example.net", false, 200, 200},
		"another address of the host":      {"192.0.2.1", "192.0.2.1", false, 403, 200},
		"the same, everywhere":             {"192.0.2.1", "192.0.2.1", true, 200, 200},
		"everywhere, by another name":      {"192.0.2.1", "mx1.monitoring", true, 421, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &ServerConfig{Hosts: []string{"mx.example.org", ""}, PageEverywhere: test.everywhere}
			var local net.Addr = &net.UnixAddr{Name: "/run/x", Net: "unix"}
			if test.at != "" {
				local = &net.TCPAddr{IP: net.ParseIP(test.at), Port: 9891}
			}
			r := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, local), http.MethodGet, "/", nil)
			r.Host = test.host
			secret := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") })
			for handler, want := range map[string]int{"page": test.page, "metrics": test.metrics} {
				guard := c.guarded
				if handler == "metrics" {
					guard = c.known
				}
				answer := httptest.NewRecorder()
				guard(secret).ServeHTTP(answer, r)
				if answer.Code != want || (want == http.StatusOK) != (answer.Body.String() == "secret") {
					t.Errorf("%s: %d, want %d: %s", handler, answer.Code, want, answer.Body)
				}
			}
		})
	}
}
