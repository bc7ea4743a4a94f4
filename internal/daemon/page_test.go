package daemon_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The page shows what goes through a daemon, and one message in full.
func TestStatusPageOfADaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.key("example.org", "k2")
	w.write("keys/broken.example/k.pem", "no key")
	w.write("rules/watch.example.toml", "[[rule]]\nname = \"watched\"\nresult = [\"none\"]\naction = \"reject\"\n[[rule]]\nname = \"idle\"\naction = \"discard\"\nresult = [\"fail\"]\n")
	w.write("rules/watch.example.test.toml", "[[case]]\naction = \"reject\"\n[[case]]\naction = \"accept\"\n")
	w.monitor("")
	w.start()
	w.err.Wait(t, 1, `msg="keys checked"`)
	w.send("joe@example.org", "OURS")
	w.send("x@watch.example", "WATCHED")
	w.send("y@reject.example", "REFUSED")
	w.send("z@example.net", "OTHER")
	page := func(path string, parts ...string) {
		t.Helper()
		status, body := w.get(path)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		for _, part := range parts {
			if !strings.Contains(body, part) {
				t.Errorf("%s: %q is not in\n%s", path, part, body)
			}
		}
	}
	page("/", "1 signed", "1 refused", "reject: rule &#34;watched&#34; of watch.example.toml, 1 time", "idle", "never", "1 of 2 failed",
		"example.org <small>k1</small>", `<td data-name="State">active`, "Ed25519", "broken.example", w.socket, "127.0.0.1:1")
	page("/?q=OURS", "?message=", "joe@example.org")
	page("/?q=example.org", "?message=", "<small>k2</small>")
	_, found := w.get("/?q=REFUSED")
	page("/"+regexp.MustCompile(`\?message=\d+`).FindString(found), "REFUSED", "550 5.7.20 old rule", "Refused by rule")
	if status, _ := w.get("/?message=1"); status != http.StatusNotFound {
		t.Errorf("the first message of an earlier start: %d", status)
	}

	w.write("rules/_default.toml", "nonsense")
	w.hangup("reload refused")
	page("/", "The last reload was refused", "_default.toml:1")
}

// Who does not want the page has none.
func TestStatusPageOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("[metrics]\nlisten = \"unix:" + w.path("m") + "\"\npage = \"off\"\n")
	w.start()
	w.send("joe@example.org", "OURS")
	if status, _ := w.get("/"); status != http.StatusNotFound {
		t.Error(status)
	}
}
