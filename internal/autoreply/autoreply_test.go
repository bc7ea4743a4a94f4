package autoreply_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dkimd/internal/autoreply"
	"dkimd/internal/eml"
	"dkimd/internal/message"
)

func received(header, sender string) autoreply.Received {
	h := eml.Split([]byte(strings.ReplaceAll(header+"\n\nbody\n", "\n", "\r\n"))).Header()
	return autoreply.Received{Header: h, From: message.ReadFrom(h), Sender: sender, Own: "check@example.net"}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	const from = "From: Ann <ann@example.org>\n"
	tests := map[string]struct{ header, sender, want string }{
		"a person":                   {from + "Subject: x", "ann@example.org", ""},
		"sent by hand":               {from + "Auto-Submitted: No (really)", "ann@example.org", ""},
		"no hurry":                   {from + "Precedence: first-class", "ann@example.org", ""},
		"a bounce":                   {from, "", "bounce"},
		"a bounce as Postfix has it": {from, "MAILER-DAEMON", "program"},
		"a list's address":           {from, "owner-list@example.org", "program"},
		"a list's bounces":           {from, "list-bounces@example.org", "program"},
		"VERP":                       {from, "bounce+1234=x@example.org", "program"},
		"auto-replied":               {from + "Auto-Submitted: auto-replied", "ann@example.org", "Auto-Submitted"},
		"auto-generated, folded":     {from + "auto-submitted:\n auto-generated; x=y", "ann@example.org", "Auto-Submitted"},
		"empty Auto-Submitted":       {from + "Auto-Submitted:", "ann@example.org", "Auto-Submitted"},
		"no, then yes":               {from + "Auto-Submitted: no\nAuto-Submitted: auto-replied", "ann@example.org", "Auto-Submitted"},
		"bulk":                       {from + "Precedence: bulk", "ann@example.org", "Precedence"},
		"junk":                       {from + "Precedence: JUNK", "ann@example.org", "Precedence"},
		"a list":                     {from + "List-Id: <l.example.org>", "ann@example.org", "List-"},
		"any List field":             {from + "list-unsubscribe: <mailto:x@example.org>", "ann@example.org", "List-"},
		"Exchange":                   {from + "X-Auto-Response-Suppress: OOF, AutoReply", "ann@example.org", "Suppress"},
		"a report":                   {from + "Content-Type: multipart/report; report-type=delivery-status", "ann@example.org", "multipart/report"},
		"an answer to ours":          {from + "References: <a@b>\n <x.dkimd-report@example.net>", "ann@example.org", "answers an answer"},
		"ours itself":                {from + "Message-ID: <x.dkimd-report@example.net>", "ann@example.org", "answers an answer"},
		"from us":                    {"From: Check@example.net", "ann@example.org", "address that answers"},
		"sent by us":                 {from, "check@example.net", "address that answers"},
		"From a daemon":              {"From: mailer-daemon@example.org", "ann@example.org", "From is that of a program"},
		"no From":                    {"Subject: x", "ann@example.org", "one plain address"},
		"two authors":                {"From: ann@example.org, bob@example.org", "ann@example.org", "one plain address"},
		"two From":                   {from + "From: bob@example.org", "ann@example.org", "one plain address"},
		"a quoted address":           {`From: "ann bob"@example.org`, "ann@example.org", "one plain address"},
		"a literal":                  {"From: ann@[192.0.2.1]", "ann@example.org", "one plain address"},
		"not ASCII":                  {"From: änn@example.org", "ann@example.org", "one plain address"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := received(test.header, test.sender).Refuse(); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// An answer is refused by the rules that made it, and nothing of a stranger's header is in it but a plain Message-ID.
func TestAnswer(t *testing.T) {
	t.Parallel()
	a := autoreply.Answer{From: "check@example.net", To: "ann@example.org", Host: "mx.example.net", Subject: "DKIM", Text: "line\n.\n=ü" + strings.Repeat("x", 2000) + "\n", Date: time.Unix(0, 0).UTC()}
	for id, want := range map[string]string{"<1@example.org>": "<1@example.org>", "<1@example.org>\n <2@example.org>": "", "<\"x\r y\"@example.org>": "", "<" + strings.Repeat("x", 200) + "@example.org>": ""} {
		raw := a.Write(received("From: ann@example.org\nSubject: =?utf-8?q?evil?=\nMessage-ID: "+id, "ann@example.org"))
		m, err := mail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("In-Reply-To") != want || m.Header.Get("References") != want {
			t.Errorf("%q: %q %q", id, m.Header.Get("In-Reply-To"), m.Header.Get("References"))
		}
		if m.Header.Get("Auto-Submitted") != "auto-replied" || m.Header.Get("To") != "<ann@example.org>" || bytes.Contains(raw, []byte("evil")) {
			t.Errorf("%s", raw)
		}
		for line := range bytes.Lines(raw) {
			if len(line) > 200 || bytes.ContainsFunc(line, func(c rune) bool { return c > '~' || c == '\r' }) {
				t.Errorf("line %q", line)
			}
		}
		text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil || string(text) != a.Text {
			t.Errorf("%v: %q", err, text)
		}
		again := eml.Split(raw)
		h := again.Header()
		if why := (autoreply.Received{Header: h, From: message.ReadFrom(h), Sender: "x@example.com", Own: "y@example.com"}).Refuse(); why == "" {
			t.Error("an answer is answered")
		}
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	l := autoreply.Limit{File: filepath.Join(t.TempDir(), "state"), Domain: 2, All: 5, Window: time.Hour, Now: now}
	take := func(domain string, want bool) {
		t.Helper()
		if why, err := l.Take(domain, nil); (why == "") != want || err != nil {
			t.Errorf("%s: %q, %v; want %t", domain, why, err, want)
		}
	}
	take("a.example", true)
	take("a.example", true)
	take("a.example", false)
	take("b.example", true)
	take("c.example", true)
	take("d.example", true)
	take("e.example", false) // all
	l.Now = now.Add(time.Hour - 1)
	take("b.example", false)
	l.Now = now.Add(time.Hour)
	take("a.example", true)
	take("a.example", true)
	l.Now = now // the clock was wrong
	take("a.example", true)
	// A crash in the middle of writing: who knows how many there were.
	if err := os.WriteFile(l.File, []byte(`{"since":"2027-01-15T`), 0o600); err != nil {
		t.Fatal(err)
	}
	written := now.Add(-time.Hour)
	for _, at := range []time.Time{written.Add(1), now} {
		if err := os.Chtimes(l.File, at, at); err != nil {
			t.Fatal(err)
		}
		if why, err := l.Take("a.example", nil); err == nil {
			t.Errorf("written at %s: %q", at, why)
		}
	}
	if err := os.Chtimes(l.File, written, written); err != nil {
		t.Fatal(err)
	}
	take("a.example", true)
	take("a.example", true)
	take("a.example", false)
}

// A message is answered once, however long a stranger sends it; unless the answer could not be sent.
func TestOneAnswerToAMessage(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	l := autoreply.Limit{File: filepath.Join(t.TempDir(), "state"), Domain: 100_000, All: 100_000, Window: time.Hour, Now: now}
	take := func(want string, signatures ...string) {
		t.Helper()
		if why, err := l.Take("a.example", signatures); !strings.Contains(why, want) || (why == "") != (want == "") || err != nil {
			t.Errorf("%q: %q, %v; want %q", signatures, why, err, want)
		}
	}
	const before = "answered before"
	take("", "one", "two")
	l.Now = now.Add(1000 * time.Hour)
	take(before, "two")
	take(before, "three", "one") // a signature may be added, and one taken away
	take("", "three")
	if err := l.Forget([]string{"three"}); err != nil {
		t.Fatal(err)
	}
	take("", "three")
	take(before, "three")
	many := make([]string, 9997)
	for i := range many {
		many[i] = fmt.Sprint("of many ", i)
	}
	take("", many...)
	take(before, "one") // 10,000 are remembered
	take("", "new")
	take("", "one")
	if info, err := os.Stat(l.File); err != nil || info.Size() > 200_000 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
}

// Processes that answer at the same time do not send more together.
func TestLimitIsShared(t *testing.T) {
	t.Parallel()
	l := autoreply.Limit{File: filepath.Join(t.TempDir(), "state"), Domain: 500, All: 1000, Window: time.Hour, Now: time.Now()}
	var all sync.WaitGroup
	var sent atomic.Int64
	for range 32 {
		all.Go(func() {
			for range 50 {
				why, err := l.Take("a.example", nil)
				if err != nil {
					t.Error(err)
				}
				if why == "" {
					sent.Add(1)
				}
			}
		})
	}
	all.Wait()
	if sent.Load() != 500 {
		t.Errorf("%d answers, want 500", sent.Load())
	}
}

// What is no file of ours is not written to.
func TestLimitNeedsAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "target"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{dir, filepath.Join(dir, "link"), filepath.Join(dir, "none", "state"), "/dev/null"} {
		if why, err := (autoreply.Limit{File: file, Domain: 1, All: 1, Window: time.Hour, Now: time.Now()}).Take("a.example", nil); err == nil {
			t.Errorf("%s: %q", file, why)
		}
	}
}
