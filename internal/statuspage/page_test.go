package statuspage_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/control"
	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
	"dkimd/internal/fault"
	"dkimd/internal/statuspage"

	"golang.org/x/net/html"
)

// shape is the elements of a page with their attributes, and with the values of those that act.
func shape(t *testing.T, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for node := range root.Descendants() {
		if node.Type != html.ElementNode {
			continue
		}
		b.WriteString("\n" + node.Data)
		for _, a := range node.Attr {
			b.WriteString(" " + a.Key)
			switch a.Key {
			case "href":
				name, _, _ := strings.Cut(a.Val, "=")
				b.WriteString("=" + name)
			case "class", "action", "rel", "http-equiv":
				b.WriteString("=" + a.Val)
			}
		}
	}
	return b.String()
}

// Whatever stands in a record, a file or a fault, the page is made of the same elements.
func TestTextOfStrangersIsText(t *testing.T) {
	t.Parallel()
	hostile := eventstest.Hostile()
	maps.Copy(hostile, map[string]string{
		"script": `<script>alert(1)</script>`, "attribute": `" onmouseover="alert(1)" x="`, "end of an attribute": `"><img src=x onerror=alert(1)>`,
		"scheme": "javascript:alert(1)", "template": `{{.}}{{template "head"}}`, "end of the style": "</style><script>alert(1)</script>",
		"comment": "<!-- x", "end of the title": "</title><meta http-equiv=refresh content=0;url=//evil.example>", "entity": "&lt;script&gt;&#x3c;b&#x3e;",
		"query": "x&message=1#y", "svg": "<svg onload=alert(1)>",
	})
	pages := func(t *testing.T, s string) string {
		t.Helper()
		w := newWorld(t)
		w.fill(s)
		e := eventstest.Poisoned(s)
		e.Time = time.Now()
		w.record.Write(e)
		e.Mode, e.ID = events.ModeUnsigned, "known"
		w.record.Write(e)
		var all strings.Builder
		for _, path := range []string{"/", "/?span=1h&refresh=0", "/?message=1", "/?message=2", "/?q=known"} {
			status, body, _ := w.ask(path)
			if status != 200 {
				t.Errorf("%s: %d %s", path, status, body)
			}
			all.WriteString(shape(t, body))
		}
		_, body, _ := w.ask("/?q=" + url.QueryEscape(s))
		for line := range strings.SplitSeq(shape(t, body), "\n") {
			if slices.Contains([]string{"script", "img"}, line) || strings.Contains(line, " on") {
				t.Errorf("in what is found for it: %s", line)
			}
		}
		return all.String()
	}
	want := pages(t, "plain")
	for name, s := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := pages(t, s); got != want {
				t.Errorf("the page has other elements:\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Without any mail the page says so.
func TestEmptyPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status, body, head := w.ask("/")
	if status != 200 {
		t.Fatal(status, body)
	}
	for _, want := range []string{"No mail yet.", "All mail that was to be signed was.", "Not compared with DNS yet.", "None."} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if head.Get("Refresh") != "60" || !strings.HasPrefix(head.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-") ||
		head.Get("X-Content-Type-Options") != "nosniff" || head.Get("Referrer-Policy") != "no-referrer" || head.Get("Set-Cookie") != "" {
		t.Errorf("%v", head)
	}
	if _, body, head := w.ask("/?refresh=0"); head.Get("Refresh") != "" || !strings.Contains(body, "Load every minute") {
		t.Error("it cannot be kept from loading itself")
	}
	if _, body, _ := w.ask("/?q=x.example"); !strings.Contains(body, "No message is kept yet.") {
		t.Error(body)
	}
	for _, number := range []string{"1", "0", "-1", "x", "18446744073709551615"} {
		if status, body, _ := w.ask("/?message=" + number); status != 404 || !strings.Contains(body, "Not there") {
			t.Errorf("message %s: %d", number, status)
		}
	}
}

// One message is found by each of its names, and is told in full.
func TestMessagesAreFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 200 {
		e := eventstest.Signed()
		e.ID, e.Time = fmt.Sprint("Q", i), time.Now()
		w.record.Write(e)
	}
	e := eventstest.Sample()
	e.Time, e.From = time.Now(), []string{"Alice@GMail.com", "x@xn--mnchen-3ya.example"}
	w.record.Write(e)
	for _, query := range []string{
		"4Xyz8q2Nk1z", "<a.b@gmail.com>", "a.b@gmail.com", "GMAIL.com.", "alice@gmail.com", "<alice@gmail.com>", "bounce@esp.example", "esp.example",
		"203.0.113.9", "münchen.example", " gmail.com ",
	} {
		status, body, _ := w.ask("/?q=" + url.QueryEscape(query))
		if status != 200 || strings.Count(body, `<a href="?message=`) != 1 || !strings.Contains(body, `?message=201"`) {
			t.Errorf("%s: %d\n%s", query, status, body)
		}
	}
	for _, query := range []string{"mail.com", "4Xyz8q2Nk1", "lice@gmail.com", "reject"} {
		if _, body, _ := w.ask("/?q=" + query); strings.Contains(body, "?message=") || !strings.Contains(body, "dkimd log reads older ones") {
			t.Errorf("%s: %s", query, body)
		}
	}
	if _, body, _ := w.ask("/?q=example.org"); strings.Count(body, `<a href="?message=`) != 50 || !strings.Contains(body, "There may be more.") || !strings.Contains(body, "Q199<") {
		t.Errorf("of 200: %s", body)
	}
	_, body, _ := w.ask("/?message=201")
	for _, want := range []string{"it would have passed unchanged: ", "body hash did not verify", "gmail.com.toml (enforce): reject by rule", "Come on, what&#39;s going on?", "mail.example.net", "<b>reject</b>"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
}

// What came of mail, who sent it, which rule would have acted and why mail was not signed.
func TestWhatCameOfMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill("x")
	write := func(n int, change func(e *events.Event)) {
		for range n {
			e := eventstest.Sample()
			e.Time, e.Verdict, e.Policy = time.Now(), "accept", nil
			change(e)
			w.record.Write(e)
		}
	}
	write(3, func(e *events.Event) { e.Policy = eventstest.Sample().Policy[:1] }) // esp.example passes
	write(2, func(e *events.Event) { e.Signatures = e.Signatures[:1] })
	write(1, func(e *events.Event) { e.Signatures = nil })
	write(1, func(e *events.Event) { e.Verdict = "tempfail" })
	write(1, func(e *events.Event) { e.Verdict = "quarantine" })
	write(4, func(e *events.Event) { e.ID = events.ProbeID + "1" }) // not mail
	write(5, func(e *events.Event) {
		e.Mode, e.From, e.ReasonCode, e.Reason = events.ModeUnsigned, []string{"joe@example.org"}, "no_key", "no key for example.org"
	})
	_, body, _ := w.ask("/")
	for _, want := range []string{
		"3 passed, 2 failed, 1 without signature, 1 refused, 1 deferred", "5 unsigned",
		"tempfail: rule &#34;try&#34; of esp.example.toml, 3 times", "no key for example.org", `?message=13"`, "not there any more",
		"6 in half an hour", `<rect class="passed" x="0.0" width="360.0" height="10"/><rect class="failed" x="360.0" width="240.0" height="10"/>`,
		"</svg> 3 passed</span>, ", "</svg> 5 unsigned</span>", "Rotation: 3 made, 1 withheld.",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
	for files, gone := range map[int]bool{0: true, 5000: false} { // so many are not listed, and may still have it
		w.Rules = func() statuspage.Rules { return statuspage.Rules{Files: files} }
		if _, body, _ := w.ask("/"); strings.Contains(body, "not there any more") != gone {
			t.Errorf("%d rules files: gone is %t", files, !gone)
		}
	}
}

// silent is a browser that does not read.
type silent struct {
	http.ResponseWriter

	begun, end chan struct{}
}

func (s silent) Write(p []byte) (int, error) {
	s.begun <- struct{}{}
	<-s.end
	return len(p), nil
}

// Browsers that do not read keep nobody else from the page, until there are many of them.
func TestSlowReadersHoldNobodyUp(t *testing.T) {
	t.Parallel()
	page, err := statuspage.New(newWorld(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(s *silent) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		answer := httptest.NewRecorder()
		if s == nil {
			page.ServeHTTP(answer, r)
			return answer.Code
		}
		page.ServeHTTP(silent{answer, s.begun, s.end}, r)
		return answer.Code
	}
	slow := &silent{begun: make(chan struct{}), end: make(chan struct{})}
	var all sync.WaitGroup
	for range 15 {
		all.Go(func() { ask(slow) })
		<-slow.begun
	}
	if code := ask(nil); code != http.StatusOK {
		t.Errorf("beside 15: %d", code)
	}
	all.Go(func() { ask(slow) })
	<-slow.begun
	if code := ask(nil); code != http.StatusServiceUnavailable {
		t.Errorf("beside 16: %d", code)
	}
	close(slow.end)
	all.Wait()
	if code := ask(nil); code != http.StatusOK {
		t.Errorf("at the end: %d", code)
	}
}

// A hundred thousand broken domains make no page of a hundred thousand lines.
func TestTroublesAreSome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	findings := slices.Repeat([]fault.Finding{{Text: "broken"}}, 100_000)
	w.Status = func() control.Status {
		return control.Status{Faults: findings, Warnings: findings, LastReload: &control.Refusal{Faults: findings}}
	}
	_, body, _ := w.ask("/")
	if n := strings.Count(body, "broken</li>"); n != 300 || !strings.Contains(body, "and 299700 more: dkimd status lists all") {
		t.Errorf("%d are listed:\n%.2000s", n, body)
	}
}
