package daemon_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/milter/client"
)

// series are the lines of a scrape without their values.
func (w *world) series() []string {
	w.t.Helper()
	_, text := w.get("/metrics")
	var names []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			line = line[:strings.LastIndexByte(line, ' ')]
		}
		names = append(names, line)
	}
	return names
}

// Whatever a stranger writes, /metrics has the series it had before any mail, and
// /readyz knows nothing of it.
func TestNoTextOfAMessageIsInMetrics(t *testing.T) {
	t.Parallel()
	w := monitored(t)
	w.start()
	before := w.series()
	texts := []string{
		"owned\ndkimd_panics_total 9", "owned\r\n\tdkimd_panics_total{owned=\"x\"} 9", "owned\"} 9\n# owned", "owned\x00", "owned\xff\\n",
		"owned\u2028", strings.Repeat("owned", 2000), "owned{owned=\"\"}", "owned",
	}
	for _, s := range texts {
		tag := strings.ReplaceAll(s, ";", "")
		signature := func(tags string) string {
			return "DKIM-Signature: " + tags + "; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=YQ==\r\n"
		}
		raw := strings.Join([]string{
			"From: " + s + " <x@other.example>\r\n",
			"From: x@" + s + "\r\n",
			signature("v=1; a=rsa-sha256; d=" + tag + ".example; s=s"),
			signature("v=1; a=rsa-sha256; d=other.example; s=" + tag),
			signature("v=1; a=rsa-sha256; d=other.example; s=s; i=" + tag + "@other.example"),
			signature("v=1; a=" + tag + "; d=other.example; s=s"),
			signature("v=" + tag + "; a=rsa-sha256; d=other.example; s=s"),
			signature(tag),
			"Authentication-Results: " + s + "; dkim=" + tag + "\r\n",
			"X-" + tag + ": " + s + "\r\n",
			"\r\n" + s,
		}, "")
		for _, host := range []string{"203.0.113.9", "127.0.0.1"} { // verified, signed
			m := client.Mail{
				Peer: client.Peer{Name: s, Addr: netip.MustParseAddr(host), Port: 4000}, Helo: s, Sender: s + "@example.org",
				Recipients: []string{s + "@example.net"}, Parameters: []string{s}, AuthType: s, AuthUser: "", QueueID: s, Raw: []byte(raw),
			}
			// What is no milter packet ends the connection, and that is fine too.
			_, _ = w.session().Send(t.Context(), m)
		}
	}
	w.out.Wait(t, 2*(len(texts)-1), `^{"time":.*owned`) // not of the one with NUL
	if after := w.series(); !slices.Equal(before, after) {
		t.Errorf("series came or went: %q", slices.DeleteFunc(after, func(s string) bool { return slices.Contains(before, s) }))
	}
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/owned%0adkimd_panics_total%209"} {
		if _, body := w.get(path); strings.Contains(strings.ToLower(body), "owned") {
			t.Errorf("%s says\n%s", path, body)
		}
	}
	w.ready(200, "ready\n")
}
