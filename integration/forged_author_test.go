//go:build integration

package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// forgedAuthors are headers that make a mail program show an author at gmail.com,
// or might. Each stands behind another field: Postfix takes a first line that begins with "From " for a mailbox's.
// A NUL inside a domain is not among them: Postfix cuts the field there, Exim writes a question mark.
var forgedAuthors = map[string]string{
	"plain":                          "From: boss@gmail.com",
	"in capitals":                    "FROM: Boss <BOSS@GMAIL.COM>",
	"space before the colon":         "From : boss@gmail.com",
	"tab before the colon":           "From\t: boss@gmail.com",
	"nothing behind the colon":       "From:boss@gmail.com",
	"folded":                         "From:\r\n \r\n\tboss\r\n @gmail.com",
	"group":                          "From: Bosses: boss@gmail.com;",
	"comments":                       "From: (a) boss (b) @ (c) gmail (d) . (e) com",
	"quoted local part":              `From: "bo ss@evil.test"@gmail.com`,
	"route":                          "From: <@evil.test:boss@gmail.com>",
	"dot at the end":                 "From: boss@gmail.com.",
	"in an encoded word":             "From: =?utf-8?q?boss=40gmail=2Ecom?=",
	"in base64 without padding":      "From: =?utf-8?b?Ym9zc0BnbWFpbC5jb20?=",
	"encoded local part and a NUL":   "From: =?utf-8?b?Ym9zc0BnbWFpbC5jb20=?==?utf-8?q?=00?=@evil.test",
	"full width":                     "From: boss@\uff47mail\uff0ecom",
	"direction mark":                 "From: boss@\u200egmail.com",
	"soft hyphen":                    "From: boss@gm\u00adail.com",
	"8 bit":                          "From: Bo\xdf <boss@gmail.com>",
	"8 bit before the domain":        "From: boss@\xa0gmail.com",
	"NUL behind":                     "From: boss@gmail.com\x00.evil.test",
	"control character":              "From: boss@gm\x01ail.com",
	"bare CR behind":                 "From: boss@gmail.com\r",
	"bare CR, then another":          "From: x@evil.test\rFrom: boss@gmail.com",
	"bare CR within":                 "From: x@evil.test,\r boss@gmail.com",
	"two fields, ours first":         "From: boss@gmail.com\r\nFrom: x@evil.test",
	"two fields, ours last":          "From: x@evil.test\r\nfrom\t: boss@gmail.com",
	"two addresses":                  "From: x@evil.test, boss@gmail.com",
	"no comma":                       "From: boss@gmail.com <x@evil.test>",
	"unclosed quote":                 `From: "Boss <boss@gmail.com>`,
	"unclosed comment":               "From: x@evil.test (boss@gmail.com",
	"quoted domain":                  `From: <boss@"gmail.com">`,
	"@ in a local part":              `From: "boss@gmail.com"@evil.test`,
	"address in a local part":        `From: Boss <"boss@gmail.com>,"@evil.test>`,
	"address in a nested comment":    "From: (a(b) <boss@gmail.com> (c)) x@evil.test",
	"comment inside a domain":        "From: boss@gmail.com(c).evil.test",
	"name of a group":                `From: "boss@gmail.com": x@evil.test;`,
	"encoded separators":             "From: =?utf-8?B?PGNlb0BnbWFpbC5jb20+LA==?= <x@evil.test>",
	"encoded, with a language":       "From: =?utf-8*en?q?boss=40gmail.com=2C?= <x@evil.test>",
	"white space inside a domain":    "From: boss@gma il.com",
	"no-break space in a domain":     "From: boss@gma\u00a0il.com",
	"fold inside a domain":           "From: boss@gma\r\n il.com",
	"UTF-7":                          "From: =?utf-7?Q?boss+AEA-gmail.com?=",
	"ISO-2022-JP":                    "From: =?iso-2022-jp?Q?boss=40gm=1B=28Bail.com?=",
	"EBCDIC":                         "From: =?cp037?B?g4WWfIeUgYmTS4OWlA==?=",
	"Sender alone":                   "Sender: boss@gmail.com",
	"empty From and Sender":          "From:\r\nSender: boss@gmail.com",
	"behind 2001 fields":             strings.Repeat("X: y\r\n", 2001) + "From: boss@gmail.com",
	"signed, l=0":                    "DKIM-Signature: v=1; a=rsa-sha256; d=gmail.com; s=rsa; l=0; h=From; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\nFrom: boss@gmail.com",
	"signed by gmail.com.":           "DKIM-Signature: v=1; a=rsa-sha256; d=gmail.com.; s=rsa; h=From; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\nFrom: boss@gmail.com",
	"30 signatures that are nothing": strings.Repeat("DKIM-Signature: v=1; a=rsa-sha256; d=gmail.com; s=none; h=From; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n", 30) + "From: boss@gmail.com",
}

// longFroms are From fields that show gmail.com, of sizes at which Postfix cuts a field (54,000 to 60,000 octets)
// and at which dkimd stops to read.
func longFroms() map[string]string {
	fields := map[string]string{}
	words := []string{"manager ", "=?u?b?YUBi?= ", "x@evil.test, "}
	for i, size := range []int{40_000, 57_000, 60_100, 64_000, 70_000, 78_000, 100_000, 110_000} {
		word := words[i%len(words)]
		half := strings.Repeat(word, size/len(word)/2)
		for place, value := range map[string]string{
			"start": "boss@gmail.com, " + half + half + "x@evil.test", "middle": half + "boss@gmail.com, " + half + "x@evil.test",
			"end": "x@evil.test, " + half + half + "boss@gmail.com",
		} {
			name := fmt.Sprintf("%d octets of %q, at the %s", size, word, place)
			fields[name] = value
			fields[name+", folded"] = strings.ReplaceAll(value, strings.Repeat(word, 40), strings.Repeat(word, 40)+"\r\n ")
		}
	}
	return fields
}

// What an MTA cuts off a From field may name the author: no such message gets in, whether he can still be read or not.
func TestLongFromWithAForgedAuthorIsRefused(t *testing.T) {
	t.Parallel()
	rules, dns := map[string]string{"gmail.com": gmailRule}, "timeout = \"1s\"\nattempts = 1"
	check := func(t *testing.T, w *harness.World, connect func(t *testing.T) *harness.Session) {
		t.Helper()
		harness.PublishForeignKeys(w.DNS, "gmail.com")
		for name, value := range longFroms() {
			s := connect(t) // Postfix hangs up on a client with many errors
			s.Envelope("x@evil.test", "reader@inbox.test")
			got := s.Data([]byte("X-First: y\r\nFrom: " + value + "\r\nTo: reader@inbox.test\r\nSubject: an invoice\r\n\r\nPay now.\r\n"))
			if got.Code/10 != 55 {
				t.Errorf("%s: %s", name, got)
			}
			s.HangUp()
		}
	}
	t.Run("postfix", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t, harness.Settings{Rules: rules, DNS: dns})
		check(t, w, func(t *testing.T) *harness.Session { t.Helper(); return fromGmail(t, w) })
		// The size alone is no reason.
		m := "From: x@evil.test, " + strings.Repeat("x@evil.test, ", 3000) + "x@evil.test\r\nTo: reader@inbox.test\r\nSubject: hello\r\n\r\nHello.\r\n"
		if got := fromGmail(t, w).Send("x@evil.test", "reader@inbox.test", []byte(m)); got.Code != 250 {
			t.Errorf("%d octets that nobody cuts, and no gmail.com: %s", len(m), got)
		}
	})
	t.Run("sendmail", func(t *testing.T) {
		t.Parallel()
		w := newSendmailGmail(t)
		check(t, w.World, func(t *testing.T) *harness.Session { t.Helper(); return w.Dial(t, harness.SendmailOutside) })
	})
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{Rules: rules, DNS: dns})
		check(t, e.World, func(t *testing.T) *harness.Session { t.Helper(); return e.Dial(t, harness.EximOutside) })
	})
}

func TestForgedAuthorsAreFound(t *testing.T) {
	t.Parallel()
	rules := map[string]string{"gmail.com": gmailRule}
	check := func(t *testing.T, w *harness.World, connect func(t *testing.T) *harness.Session) {
		t.Helper()
		harness.PublishForeignKeys(w.DNS, "gmail.com")
		for name, head := range forgedAuthors {
			t.Run(name, func(t *testing.T) {
				s := connect(t)
				s.Envelope("x@evil.test", "reader@inbox.test")
				got := s.Data([]byte("X-First: y\r\n" + head + "\r\nTo: reader@inbox.test\r\nSubject: an invoice\r\n\r\nPay now.\r\n"))
				if got.String() != gmailReply {
					t.Errorf("%q: %s", head[:min(len(head), 100)], got)
				}
			})
		}
	}
	t.Run("postfix", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t, harness.Settings{Rules: rules, DNS: "timeout = \"1s\"\nattempts = 1"})
		check(t, w, func(t *testing.T) *harness.Session { t.Helper(); return fromGmail(t, w) })
	})
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{Rules: rules, DNS: "timeout = \"1s\"\nattempts = 1"})
		check(t, e.World, func(t *testing.T) *harness.Session { t.Helper(); return e.Dial(t, harness.EximOutside) })
	})
}
