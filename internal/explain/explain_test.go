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

// What mailing lists, servers and filters do to messages that are signed without z=.
func TestWhatWasDoneIsFound(t *testing.T) {
	t.Parallel()
	const (
		head = "From: Joe <joe@example.org>\r\nSubject: Re: hello\r\nMIME-Version: 1.0\r\n" +
			"Content-Type: multipart/mixed; boundary=BB\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
		body = "--BB\r\nContent-Type: text/plain\r\n\r\nHi, a caf\xc3\xa9.\r\n--BB--\r\n"
		foot = "_____\r\nlist of things\r\n"
		from = "From: Joe via List <list@lists.example>\r\n"
	)
	signed := string(sign(t, head+body, "From:Subject:MIME-Version:Content-Type:Content-Transfer-Encoding:Reply-To", ""))
	tests := map[string]struct {
		changes []string // for strings.NewReplacer
		want    string
	}{
		"footer in front of the last boundary": {[]string{"--BB--", "--BB\r\nContent-Type: text/plain\r\n\r\n" + foot + "--BB--"}, `without lines 5 to 9 of the body the hash matches: added after signing, beginning "_____"`},
		"footer in the first part":             {[]string{"\xa9.\r\n", "\xa9.\r\n" + foot}, `without lines 5 to 6 of the body`},
		"a line in the first part":             {[]string{"Hi,", "[EXTERNAL]\r\nHi,"}, `without line 4 of the body`},
		"banner and footer":                    {[]string{"\r\n\r\n--BB\r\n", "\r\n\r\nBEWARE\r\n\r\n--BB\r\n", "--BB--\r\n", "--BB--\r\n" + foot}, `lines 3 to 7 of the body alone have the hash: the rest was put around them after signing. It begins "BEWARE" and, below, "_____"`},
		"made a part of another message":       {[]string{"\r\n\r\n--BB\r\n", "\r\n\r\n--LL\r\nContent-Type: multipart/mixed; boundary=BB\r\n\r\n--BB\r\n", "--BB--\r\n", "--BB--\r\n\r\n--LL\r\n\r\n" + foot + "--LL--\r\n"}, `lines 4 to 9 of the body alone have the hash`},
		"tag":                                  {[]string{"Subject: Re:", "Subject: [List] Re:"}, `without "[List]" at the beginning of Subject it verifies`},
		"tag behind Re":                        {[]string{"Subject: Re:", "Subject: Re: [List]"}, `without "[List]" in Subject it verifies`},
		"spam":                                 {[]string{"Subject: Re:", "Subject: ***SPAM*** Re:"}, `without "***SPAM***" at the beginning of Subject it verifies`},
		"list in From, author in Reply-To":     {[]string{"From: Joe <joe@example.org>\r\n", from + "Reply-To: Joe <joe@example.org>\r\n"}, `with the value of Reply-To in From and without that field it verifies`},
		"list in From, author elsewhere, tag":  {[]string{"From: Joe <joe@example.org>\r\n", from + "X-Original-From: Joe <joe@example.org>\r\n", "Subject: Re:", "Subject: [List] Re:"}, `with the value of X-Original-From in From, without "[List]" at the beginning of Subject it verifies`},
		"converted to 7 bit":                   {[]string{": 8bit", ": quoted-printable", "\xc3\xa9", "=C3=A9"}, `with 8bit in Content-Transfer-Encoding it verifies`},
		"Content-Type":                         {[]string{"boundary=BB\r\n", "boundary=\"BB\"\r\n"}, `which field was changed cannot be told: the signature has no z=`},
	}
	for name, tt := range tests {
		e := explain.Explain(parse([]byte(strings.NewReplacer(tt.changes...).Replace(signed)), published))[0]
		if all := strings.Join(e.Findings, "\n"); e.Holds || !strings.Contains(all, tt.want) {
			t.Errorf("%s: %s; want %s", name, all, tt.want)
		}
	}

	// z= that does not have the field which was changed is not without words, nor silent of itself.
	copied := string(sign(t, head+body, "From:Subject", " z=From:=20Joe=20<joe@example.org>;"))
	e := explain.Explain(parse([]byte(strings.Replace(copied, "hello", "goodbye", 1)), published))[0]
	if all := strings.Join(e.Findings, "\n"); !strings.Contains(all, "those that z= has are as they were") || strings.Contains(all, "has no z=") {
		t.Error(all)
	}
}
