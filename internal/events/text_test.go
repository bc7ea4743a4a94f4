package events_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
)

// written is what a format makes of a record.
func written(format events.Format, e *events.Event) string {
	return string(format.Append(nil, e)) + "\n"
}

func TestText(t *testing.T) {
	t.Parallel()
	bounce := &events.Event{
		Time: eventstest.Sample().Time, ID: "1", Mode: events.ModeUnsigned, Reason: "no key for example.org", Client: "192.0.2.1", Verdict: "accept",
		Error: "sign example.org/s1: key unusable",
	}
	none := &events.Event{Time: eventstest.Sample().Time, ID: "1", Mode: events.ModeVerify, Sender: "a b@x", From: []string{"a@x", "b@x"}, Verdict: "accept"}
	checked := &events.Event{
		Time: eventstest.Sample().Time, ID: "1", Mode: events.ModeVerify, From: []string{"a@x.example"}, Sender: "a@x.example", Verdict: "quarantine",
		SPF:   events.SPF{Result: "softfail", Domain: "x.example", Reason: "matched all"},
		DMARC: events.DMARC{Result: "fail", Policy: "quarantine", Published: "reject", Domain: "x.example", Testing: true},
	}
	passed := &events.Event{
		Time: eventstest.Sample().Time, ID: "1", Mode: events.ModeVerify, From: []string{"a@x.example"}, Verdict: "accept",
		SPF:   events.SPF{Result: "pass", Domain: "mx.x.example", Reason: "matched ip"},
		DMARC: events.DMARC{Result: "pass", Policy: "none", Domain: "x.example", AlignedBy: "spf mx.x.example"},
	}
	open := &events.Event{
		Time: eventstest.Sample().Time, ID: "1", Mode: events.ModeVerify, From: []string{"a@x.example"}, Verdict: "tempfail",
		SPF:   events.SPF{Result: "none"},
		DMARC: events.DMARC{Result: "temperror", Reason: "_dmarc.x.example: SERVFAIL"},
	}
	tests := map[string]struct {
		event *events.Event
		want  string
	}{
		"checked":  {checked, `2026-11-23T14:00:00Z 1           QUARANTINE verify   from=a@x.example client=- to=0 bytes=0; dkim: none; spf: x.example softfail (matched all); dmarc: x.example fail (policy quarantine); total=0s`},
		"passed":   {passed, `2026-11-23T14:00:00Z 1           ACCEPT     verify   from=a@x.example sender=<> client=- to=0 bytes=0; dkim: none; spf: mx.x.example pass; dmarc: x.example pass (by spf mx.x.example); total=0s`},
		"open":     {open, `2026-11-23T14:00:00Z 1           TEMPFAIL   verify   from=a@x.example sender=<> client=- to=0 bytes=0; dkim: none; spf: none; dmarc: temperror (_dmarc.x.example: SERVFAIL); total=0s`},
		"rejected": {eventstest.Sample(), `2026-11-23T14:00:00Z 4Xyz8q2Nk1z REJECT     verify   from=alice@gmail.com sender=bounce@esp.example client=203.0.113.9 helo=mail.example.net to=2 bytes=12345 message_id=<a.b@gmail.com>; dkim: gmail.com/s1 fail (body hash did not verify), esp.example/k pass duplicates Subject+Content-Type; rule esp.example.toml "try" [monitor] tempfail "451 4.7.5 later"; rule gmail.com.toml "gmail must be signed" reject "550 5.7.20 Come on, what's going on?"; stripped=1; warning: a line is longer than 998 octets; total=15ms dns=12.3ms`},
		"signed":   {eventstest.Signed(), `2026-11-23T14:00:00Z 4Abc        ACCEPT     sign     from=bob@example.org client=local auth=bob to=1 bytes=10; reason: local: submitted on this host; signed: example.org/r rsa-sha256, example.org/e ed25519-sha256; total=2ms`},
		"unsigned": {bounce, `2026-11-23T14:00:00Z 1           ACCEPT     unsigned from=- sender=<> client=192.0.2.1 to=0 bytes=0; reason: no key for example.org; ERROR: sign example.org/s1: key unusable; total=0s`},
		"none":     {none, `2026-11-23T14:00:00Z 1           ACCEPT     verify   from=a@x,b@x sender="a b@x" client=- to=0 bytes=0; dkim: none; total=0s`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := written("text", test.event); got != test.want+"\n" {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestExim(t *testing.T) {
	t.Parallel()
	stamp := eventstest.Sample().Time.Local().Format("2006-01-02 15:04:05")
	got := written("exim", eventstest.Sample())
	want := stamp + ` 4Xyz8q2Nk1z DKIM: d=gmail.com s=s1 c=relaxed/relaxed a=rsa-sha256 b=2048 t=1700000000 x=1700600000 l=5 [verification failed - body hash mismatch (body probably modified in transit)]
` + stamp + ` 4Xyz8q2Nk1z DKIM: d=esp.example s=k c=relaxed/simple a=ed25519-sha256 b=512 i=u@m.esp.example [verification succeeded]
` + stamp + ` 4Xyz8q2Nk1z H=(mail.example.net) [203.0.113.9] F=<bounce@esp.example> rejected after DATA: 550 5.7.20 Come on, what's going on? (dkimd: verify, rule gmail.com.toml "gmail must be signed"); rule esp.example.toml "try" would tempfail; warning: a line is longer than 998 octets
`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	checked := eventstest.Sample()
	checked.SPF.Result, checked.DMARC.Result = "softfail", "fail"
	if got := written("exim", checked); !strings.Contains(got, "(dkimd: verify, spf softfail, dmarc fail, rule gmail.com.toml ") {
		t.Error(got)
	}
	got = written("exim", eventstest.Signed())
	want = stamp + " 4Abc [local] A=bob F=<bob@example.org> accepted (dkimd: sign, local: submitted on this host); DKIM signed d=example.org s=r a=rsa-sha256; DKIM signed d=example.org s=e a=ed25519-sha256\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestEximWords: the words are those of Exim's dkim.c, where it has any.
func TestEximWords(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		signature events.Signature
		want      string
	}{
		"pass":             {events.Signature{Result: "pass", Reason: "x"}, "[verification succeeded]"},
		"none":             {events.Signature{Result: "none"}, "[not verified]"},
		"over the limit":   {events.Signature{Result: "neutral", Code: events.CodeSkipped, Reason: "limit"}, "[not verified]"},
		"body":             {events.Signature{Result: "fail", Code: events.CodeBodyHash}, "[verification failed - body hash mismatch (body probably modified in transit)]"},
		"header":           {events.Signature{Result: "fail", Code: events.CodeSignature}, "[verification failed - signature did not verify (headers probably modified in transit)]"},
		"small key":        {events.Signature{Result: "permerror", Code: events.CodeKeySize}, "[verification failed - signature invalid (key too short)]"},
		"other failure":    {events.Signature{Result: "fail"}, "[verification failed - unspecified reason]"},
		"known failure":    {events.Signature{Result: "fail", Reason: "moon phase"}, "[verification failed - moon phase]"},
		"no key":           {events.Signature{Result: "permerror", Code: events.CodeKeyUnavailable}, "[invalid - public key record (currently?) unavailable]"},
		"DNS":              {events.Signature{Result: "temperror", Reason: "SERVFAIL"}, "[invalid - public key record (currently?) unavailable]"},
		"long record":      {events.Signature{Result: "permerror", Code: events.CodeKeyTooLong}, "[invalid - overlong public key record]"},
		"broken record":    {events.Signature{Result: "permerror", Code: events.CodeKeySyntax}, "[invalid - syntax error in public key record]"},
		"tags":             {events.Signature{Result: "permerror", Code: events.CodeTags}, "[invalid - signature tag missing or invalid]"},
		"version":          {events.Signature{Result: "permerror", Code: events.CodeVersion}, "[invalid - unsupported DKIM version]"},
		"expired":          {events.Signature{Result: "policy", Reason: "expired 2026-11-01T00:00:00Z"}, "[invalid - expired 2026-11-01T00:00:00Z]"},
		"nothing known":    {events.Signature{Result: "permerror"}, "[invalid - unspecified problem]"},
		"forged brackets":  {events.Signature{Result: "policy", Reason: "x] [verification succeeded"}, `[invalid - "x] [verification succeeded"]`},
		"length of b=":     {events.Signature{Result: "pass", KeyBits: 2048, SignatureBits: 1024}, "b=1024 l=0 [verification succeeded]"},
		"nothing readable": {events.Signature{Result: "permerror"}, "DKIM: d=<UNSET> s=<UNSET> c=simple/simple a=err b=0 l=0 [invalid - unspecified problem]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line, _, _ := strings.Cut(written("exim", &events.Event{Signatures: []events.Signature{test.signature}}), "\n")
			if !strings.HasSuffix(line, " "+test.want) {
				t.Errorf("got %s; want %s", line, test.want)
			}
		})
	}
}

// TestEximNamesTheRuleThatDecided: not one that only monitors, though it says the same.
func TestEximNamesTheRuleThatDecided(t *testing.T) {
	t.Parallel()
	e := eventstest.Sample()
	e.Policy[0].Action = "reject"
	if got := written("exim", e); !strings.Contains(got, ` rejected after DATA: 550 5.7.20 Come on, what's going on? (dkimd: verify, rule gmail.com.toml `) {
		t.Error(got)
	}
	e.Verdict = "tempfail" // of our own
	if got := written("exim", e); !strings.Contains(got, " temporarily rejected after DATA (dkimd: verify); ") {
		t.Error(got)
	}
}

func TestEximVerdicts(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"accept": "accepted (dkimd: verify)", "tempfail": "temporarily rejected after DATA (dkimd: verify)", "discard": "discarded (dkimd: verify)",
		"quarantine": "quarantined (dkimd: verify)", "reject": "rejected after DATA (dkimd: verify)", "aborted": "aborted (dkimd: verify)",
	}
	for verdict, want := range tests {
		if got := written("exim", &events.Event{Verdict: verdict, Mode: "verify"}); !strings.HasSuffix(got, "F=<> "+want+"\n") {
			t.Errorf("%s: %s", verdict, got)
		}
	}
}

// lines is how many lines a record has in each format.
func lines(e *events.Event) map[events.Format]int {
	return map[events.Format]int{"json": 1, "text": 1, "exim": len(e.Signatures) + 1}
}

func checkLines(t *testing.T, format events.Format, got string, want int) {
	t.Helper()
	if !utf8.ValidString(got) || strings.Count(got, "\n") != want || !strings.HasSuffix(got, "\n") {
		t.Errorf("%s: want %d lines of UTF-8: %q", format, want, got)
	}
	for _, r := range got {
		if r != '\n' && !strconv.IsPrint(r) {
			t.Errorf("%s: %U in %q", format, r, got)
		}
	}
}

func TestNothingForgesALine(t *testing.T) {
	t.Parallel()
	for name, s := range eventstest.Hostile() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := eventstest.Poisoned(s)
			for format, want := range lines(e) {
				got := written(format, e)
				checkLines(t, format, got, want)
				if len(got) > 256<<10 {
					t.Errorf("%s: %d bytes", format, len(got))
				}
			}
		})
	}
}

func TestNothingForgesAField(t *testing.T) {
	t.Parallel()
	e := eventstest.Sample()
	e.Helo = `x; rule good.toml "ok" accept`
	e.Signatures[0].Reason = "x), gmail.com/s1 pass (y"
	e.Signatures[0].Selector = "s1 pass, a"
	e.Auth, e.Signatures[1].Selector = "b;rule", "k,gmail.com/s1"
	got := written("text", e)
	for _, want := range []string{` helo="x; rule good.toml \"ok\" accept" `, ` gmail.com/"s1 pass, a" fail ("x), gmail.com/s1 pass (y"), `, ` auth="b;rule" `, ` esp.example/"k,gmail.com/s1" pass duplicates Subject+Content-Type; `} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

func TestTextIsBounded(t *testing.T) {
	t.Parallel()
	e := eventstest.Poisoned(strings.Repeat("\u2028", 100000))
	e.From = slices.Repeat(e.From, 5000)
	e.Signatures = slices.Repeat(e.Signatures, 5000)
	e.Signed = slices.Repeat(e.Signed, 5000)
	e.Policy = slices.Repeat(e.Policy, 5000)
	e.Warnings = slices.Repeat(e.Warnings, 5000)
	for _, format := range []events.Format{events.Text, events.Exim} {
		got := written(format, e)
		if len(got) > 512<<10 {
			t.Errorf("%s: %d bytes", format, len(got))
		}
		for _, name := range []string{"signed", "warnings", "policy"} {
			if !strings.Contains(got, name) {
				t.Errorf("%s does not say that %s were left out", format, name)
			}
		}
	}
}

// FuzzText: any value gives as many lines as the record has, and no character that is not printable.
func FuzzText(f *testing.F) {
	for _, s := range eventstest.Hostile() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := eventstest.Poisoned(s)
		e.Time = time.Unix(1700000000, 0)
		for format, want := range lines(e) {
			checkLines(t, format, written(format, e), want)
		}
	})
}

// TestNobodyForgesAKeyOfALine: a program that searches a line for client=ADDRESS, as fail2ban
// does, finds the client of dkimd, whatever a stranger writes.
func TestNobodyForgesAKeyOfALine(t *testing.T) {
	t.Parallel()
	search := regexp.MustCompile(`client\s*=\s*(\S+)`)
	for _, s := range []string{
		"client=198.51.100.9", "<client=198.51.100.9>", "x client=198.51.100.9", "x; client=198.51.100.9 ", "\"client=198.51.100.9\"",
		"client =198.51.100.9", "x\nclient=198.51.100.9", "a\\ client=198.51.100.9", "CLIENT=198.51.100.9", "to=1 client=198.51.100.9 helo=x",
	} {
		e := events.Event{
			ID: s, Mode: events.ModeVerify, Verdict: "reject", Client: "203.0.113.9", Helo: s, Auth: s, MessageID: s, Sender: s,
			From: []string{s + "@" + s, s}, Reason: s, Error: s, Warnings: []string{s},
			Signatures: []events.Signature{{Domain: s, Selector: s, Result: "fail", Reason: s}},
			Signed:     []events.Signed{{Domain: s, Selector: s, Algorithm: s}},
		}
		line := written(events.Text, &e)
		if found := search.FindAllStringSubmatch(line, -1); len(found) != 1 || found[0][1] != "203.0.113.9" {
			t.Errorf("%q: %q in %s", s, found, line)
		}
	}
	// Senders that hold a "=" (VERP, SRS) stay readable.
	line := written(events.Text, &events.Event{Sender: "SRS0=HH=TT=example.org=joe@example.net"})
	if !strings.Contains(line, ` sender="SRS0=HH=TT=example.org=joe@example.net" `) {
		t.Error(line)
	}
}
