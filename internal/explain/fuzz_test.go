package explain_test

import (
	"strings"
	"testing"

	"dkimd/internal/explain"
)

// FuzzExplain: any message and any key record is explained, in printable words; and
// a signature holds for no message but the one that was signed.
func FuzzExplain(f *testing.F) {
	record, _ := published("")
	signed := string(sign(f, "From: a@example.org\r\nSubject: [x] b\r\n\r\nbody\r\n.\r\n", "From:Subject:Subject", " z=From:=20a@example.org|Subject:=20c; l=4;"))
	f.Add(signed, record[0])
	f.Add(strings.Replace(signed, "relaxed/relaxed", "simple/simple", 1)+"footer\r\n", record[0])
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; d=a.b; s=c; h=From::x; bh=AAAA; b=AAAA\r\nFrom: x\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA", "p=AAAA")
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; d=a.b; s=c; h=From; z=|:|a:=|b:=0D=0A; bh=AAAA; b=AAAA\r\n\r\n", "")
	f.Fuzz(func(t *testing.T, raw, txt string) {
		if len(raw) > 64<<10 {
			return
		}
		m := parse([]byte(raw), func(string) ([]string, error) { return []string{txt}, nil })
		for _, e := range explain.Explain(m) {
			for _, line := range append(append(e.Findings, e.Fields...), e.Domain, e.Selector) {
				if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("unprintable: %q", line)
				}
			}
			if !e.Holds && len(e.Findings) == 0 {
				t.Error("it does not hold, and nothing is said")
			}
		}
	})
}
