package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/resolver/dnstest"

	"golang.org/x/net/html"
)

// A mail server gets 0 or 75 from a reply, whatever happens.
func TestReplyNeverBounces(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		work   func() error
		status int
		said   string
	}{
		"done":    {func() error { return nil }, 0, ""},
		"a panic": {func() error { panic("a\x1bb") }, 75, `dkimd: report: panic: a\x1bb`},
		"ours":    {func() error { return userError{errors.New("x"), ""} }, 75, "dkimd: report: x"},
		"quiet":   {func() error { return errQuiet }, 75, ""},
	} {
		var said bytes.Buffer
		if got := replyStatus(stdio{err: &said}, test.work); got != test.status || strings.TrimSpace(said.String()) != test.said {
			t.Errorf("%s: status %d, %q", name, got, said.String())
		}
	}
	for _, line := range []string{"report --reply --none", "--config none.toml report --reply", "report --reply=maybe", "report --reply=1 --client x"} {
		var out, said bytes.Buffer
		if got := run(t.Context(), strings.Fields(line), stdio{strings.NewReader("From: a@example.org\n\n"), &out, &said}); got != 75 || out.Len() > 0 || said.Len() == 0 {
			t.Errorf("%s: status %d, %q, %q", line, got, out.String(), said.String())
		}
	}
}

// It is said why a message is not answered.
func TestReplySaysWhyNot(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"From: a@example.org\nAuto-Submitted: auto-replied\n\n": "no answer: a program sent it: Auto-Submitted",
		"From: a@example.org\nList-Id: x\n\n":                   "no answer: it came over a list: List-*",
		"Subject: x\n\n":                                        "no answer: From is not one plain address",
	} {
		var out, said bytes.Buffer
		got := run(t.Context(), []string{"report", "--reply", "--sender", "a@example.org", "--state", t.TempDir() + "/state"}, stdio{strings.NewReader(message), &out, &said})
		if got != 0 || out.Len() > 0 || said.String() != "dkimd: report: "+want+"\n" {
			t.Errorf("status %d, %q, %q", got, out.String(), said.String())
		}
	}
}

// Whatever a message holds, its report comes soon, as text without control characters, as a page that is only text, and
// as JSON.
func TestReportsOnHostileMessages(t *testing.T) {
	t.Parallel()
	dns, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	config := filepath.Join(t.TempDir(), "dkimd.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "[dns]\nservers = [%q]\n", dns.Addr()), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `</p></td></title></style><script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	signature := func(d, rest string) string {
		return "DKIM-Signature: v=1; a=rsa-sha256; d=" + d + "; s=s1; h=From:From:" + rest + "; bh=OiwwFQ7csEE9iRCUA9eX0zT4XH21nxRch7v4QvnPiIY=; b=AAAA\r\n"
	}
	var signatures strings.Builder
	for i := range 1000 {
		signatures.WriteString(signature(fmt.Sprintf("d%d.example", i), "To"))
	}
	for name, message := range map[string]string{
		"no header":         "\r\n\r\nbody",
		"no From":           "Subject: x\r\n\r\nx",
		"10 MB of a field":  "From: a@example.org\r\nX: " + strings.Repeat("x", 10<<20) + "\r\n\r\nx",
		"10 MB of fields":   "From: a@example.org\r\n" + strings.Repeat("X: y\r\n", 10<<20/6) + "\r\nx",
		"10 MB of a body":   "From: a@example.org\r\n\r\n" + strings.Repeat("<b>", 10<<20/3),
		"1000 signatures":   signatures.String() + "From: a@example.org\r\n\r\nx",
		"markup everywhere": "Return-Path: <" + script + ">\r\nReceived: from " + script + " (" + script + " [192.0.2.1]) by x\r\n" + signature(script, script) + signature("example.org", script) + "From: " + script + " <a@example.org>\r\nList-Unsubscribe: " + script + "\r\nDate: " + script + "\r\nMessage-ID: " + script + "\r\n" + script + ": x\r\n\r\n" + script,
		"8-bit and control": signature("\xff\x1b[2Jx", "\x1b]0;x\x07") + "From: \xc3\x28\x00\x1b[31m <a@ex\x1bample.org>\r\nSubject: \xff\xfe\u202e\u2028\r\n\r\n\x00\xff\x1b[2J",
		"line ends":         "From: a@example.org\rSubject: x\n\r\r\n \r\n\nTo: y\r\r\n\n\r\r\nx\r",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := func(form ...string) string {
				var out, said bytes.Buffer
				args := append([]string{"report", "--config", config, "--client", "192.0.2.1", "--sender", "a@example.org"}, form...)
				begun := time.Now()
				if got := run(t.Context(), args, stdio{strings.NewReader(message), &out, &said}); got != 1 || strings.Contains(said.String(), "\x1b") {
					t.Errorf("%s: status %d: %q", form, got, said.String())
				}
				if took := time.Since(begun); took > time.Minute || out.Len() > 1<<20 {
					t.Errorf("%s: %s, %d bytes", form, took, out.Len())
				}
				return out.String()
			}
			if text := report(); strings.ContainsFunc(text, func(c rune) bool { return c != '\n' && (c < ' ' || c > '~') }) || !strings.Contains(text, "To do, worst first") {
				t.Errorf("%q", text[:min(len(text), 5000)])
			}
			if wrong := wrongWithPage(report("--html")); wrong != "" {
				t.Error(wrong)
			}
			var r reported
			if err := json.Unmarshal([]byte(report("--json")), &r); err != nil || len(r.Todo) == 0 {
				t.Errorf("%v: %q", err, r.Todo)
			}
		})
	}
}

// A page that is wrong is found to be so.
func TestWrongPagesAreFound(t *testing.T) {
	t.Parallel()
	for page, want := range map[string]string{
		"<p>x</p>": "", "<p><script>x</script></p>": "element script", "<p>x": "ends within", "<p></td></p>": "td ends within", `<p onclick="x">x</p>`: "attribute onclick",
	} {
		if got := wrongWithPage(page); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q, want %q", page, got, want)
		}
	}
}

// wrongWithPage says what is wrong with a page that must be well-formed and of harmless elements.
func wrongWithPage(page string) string {
	var open []string
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		kind, token := z.Next(), z.Token()
		switch kind {
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) || len(open) > 0 {
				return fmt.Sprintf("it ends within %q: %v", open, z.Err())
			}
			return ""
		case html.StartTagToken, html.SelfClosingTagToken:
			if !slices.Contains(strings.Fields("html head meta title style body main h1 h2 p ol li strong table thead tbody tr th td"), token.Data) {
				return "there is an element " + token.Data
			}
			for _, a := range token.Attr {
				if !slices.Contains([]string{"lang", "charset", "name", "content", "http-equiv", "class", "scope"}, a.Key) {
					return "there is an attribute " + a.Key
				}
			}
			if token.Data != "meta" {
				open = append(open, token.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				return fmt.Sprintf("%s ends within %q", token.Data, open)
			}
			open = open[:len(open)-1]
		case html.TextToken, html.CommentToken, html.DoctypeToken:
		}
	}
}
