package explain_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/dkim/dkimtest"
	"dkimd/internal/explain"
	"dkimd/internal/message"
)

var key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// parse is a message as the command line hands it over.
func parse(raw []byte, lookup func(string) ([]string, error)) explain.Message {
	fields, body := dkimtest.Split(raw)
	h := &message.Header{}
	for _, f := range fields {
		name, value, _ := strings.Cut(strings.TrimSuffix(string(f), "\r\n"), ":")
		h.Add(name, value)
	}
	return explain.Message{Header: h, Body: body, Lookup: lookup}
}

func published(string) ([]string, error) {
	public, _ := key.Public().(ed25519.PublicKey)
	return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}, nil
}

func sign(tb testing.TB, raw, names, extra string) []byte {
	tb.Helper()
	field := "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; s=s1; h=" + names + ";" + extra + " bh={bh}; b={b}"
	out, err := dkimtest.Sign([]byte(raw), field, dkimtest.Options{
		Key: key, RelaxHeader: true, RelaxBody: true, Names: strings.Split(names, ":"), Length: -1,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// What is quoted from a message stays on its line, and within bounds. The
// archives of cmd/dkimd have a case for each finding.
func TestExplanationsAreHarmless(t *testing.T) {
	t.Parallel()
	evil := "\x1b[2J\x00\x07\u009b evil" + strings.Repeat("x", 10<<10)
	raw := string(sign(t, "From: a@example.org\r\nX: one\r\n\r\nbody\r\n", "From:X", " z=From:=20"+strings.Repeat("=1B=0D=0A", 4000)+"|Y:=0Aforged;"))
	raw = strings.Replace(raw, "X: one", "X: "+evil, 1) + evil + "\r\n"
	for name, lookup := range map[string]func(string) ([]string, error){
		"a key": published,
		"junk":  func(string) ([]string, error) { return []string{evil, "v=DKIM1; k=" + evil}, nil },
		"fault": func(string) ([]string, error) { return nil, errors.New(evil) },
	} {
		for _, e := range explain.Explain(parse([]byte(raw), lookup)) {
			if len(e.Findings) == 0 || e.Holds {
				t.Errorf("%s: nothing found", name)
			}
			for _, line := range append(e.Findings, e.Fields...) {
				if len(line) > 2000 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("%s: %.100q of %d octets", name, line, len(line))
				}
			}
		}
	}
}

// The searches end, whatever the message is like.
func TestSearchesAreBounded(t *testing.T) {
	t.Parallel()
	names := "From" + strings.Repeat(":x:y", 400)
	fields := strings.Repeat("X: a\r\nY: b\r\n", 300)
	signed := sign(t, fields+"From: a@example.org\r\n\r\nbody\r\n", names, "")
	raw := append(slices.Clip(signed), strings.Repeat("\r\nx", 200_000)...)
	raw = append([]byte("X: added\r\nX: and another\r\n"), raw...)
	var list []explain.Explanation
	if took := cputime.Of(func() { list = explain.Explain(parse(raw, published)) }); took > time.Minute {
		t.Errorf("it took %s", took)
	}
	if len(list) != 1 || list[0].Holds {
		t.Errorf("got %+v", list)
	}
	many := strings.Repeat("DKIM-Signature: v=1\r\n", 50) + string(signed)
	if n := len(explain.Explain(parse([]byte(many), published))); n != 10 {
		t.Errorf("%d signatures explained", n)
	}
}

func TestLinesAreCounted(t *testing.T) {
	t.Parallel()
	const text = "one\r\ntwo\r\n\r\nthree\r\n"
	signed := string(sign(t, "From: a@example.org\r\n\r\n"+text, "From", ""))
	for n := 1; n <= 500; n += 83 {
		changed := signed + strings.Repeat("footer\r\n", n)
		want := "without the last " + strconv.Itoa(n) + " lines"
		if n == 1 {
			want = "without the last line "
		}
		if e := explain.Explain(parse([]byte(changed), published))[0]; !strings.Contains(strings.Join(e.Findings, "\n"), want) {
			t.Errorf("%d lines: %q", n, e.Findings)
		}
	}
}
