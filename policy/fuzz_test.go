package policy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/smtpreply"
	"dkimd/policy"
	"dkimd/verifier"
)

// FuzzRulesFile: whatever a rules file holds, loading and judging end without a
// panic; a file with faults defers its domain, and a reply is one safe line.
func FuzzRulesFile(f *testing.F) {
	f.Add([]byte(eximRule), "gmail.com.toml")
	f.Add([]byte("subdomains = true\nmode='enforce'\n[[rule]]\naction='tag'\ntag='X-A: b'\nclients=['::/0']\nrecipients=['a@b.example','*.c']\n"), "_default.toml")
	f.Add([]byte("[[rule]]\naction='quarantine'\npublished='reject'\nnot_result='pass'\nsigners=['*.a']\naligned='strict'\nalgorithms='rsa-sha1'\nmin_key_bits=2048\ntesting=true\nlist=false\nfrom='missing'\nname='x'\n"), "com.toml")
	f.Add([]byte("[[rule]]\nresult='temperror'\n"), "x.gmail.com.toml")
	dir := f.TempDir() // one a process, and inputs one after the other: disks are slow
	f.Fuzz(func(t *testing.T, content []byte, name string) {
		if name == "" || len(name) > 200 || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
			name = "gmail.com.toml"
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Skip(err)
		}
		defer os.Remove(path) //nolint:errcheck // the next input overwrites it
		rules, faults := policy.Load(dir, nil)
		for _, fault := range faults {
			if s := fault.Error(); strings.ContainsAny(s, "\r\n\x1b") || fault.Want == "" && !strings.Contains(fault.Got, "more faults") {
				t.Errorf("fault: %q", s)
			}
		}
		rules.Warnings()
		judged := false
		for _, published := range []string{"temperror", "reject"} {
			for _, w := range []world{gmail(), gmail(sig("gmail.com", temperror)), gmail(sig("gmail.com", pass))} {
				c := rules.Select(w.msg)
				v := c.Judge(reported(w.msg, w.results, published))
				refuses := v.Action == policy.Reject || v.Action == policy.TempFail
				reply := v.Reply.String()
				if len(reply) > 510 || strings.ContainsAny(reply, "\r\n") || refuses != (reply != "") ||
					refuses && reply[0] != map[policy.Action]byte{policy.Reject: '5', policy.TempFail: '4'}[v.Action] {
					t.Errorf("%s, reply %q", v.Action, reply)
				}
				if class := map[policy.Action]smtpreply.Class{policy.Reject: smtpreply.Permanent, policy.TempFail: smtpreply.Transient}[v.Action]; refuses {
					if _, err := v.Reply.For(class); err != nil {
						t.Errorf("no front door would send %q: %v", reply, err)
					}
				}
				judged = judged || v.Action == policy.TempFail
				c.Fault()
				c.Signers()
			}
		}
		if len(faults) > 0 && strings.EqualFold(name, "gmail.com.toml") && !judged {
			t.Error("mail of a domain with a broken file is let through")
		}
	})
}

// FuzzJudge: under "reject unless gmail passes", no message of gmail.com is ever
// accepted without a passing signature of gmail.com, and one with it always is.
func FuzzJudge(f *testing.F) {
	f.Add([]byte("gmail.com\x01\x00evil.example\x02\x01"), "alice@gmail.com", uint8(1), true)
	f.Add([]byte("GMAIL.com.\x05\x00"), "", uint8(2), true)
	f.Add([]byte("\x06\x03gmail.com \x01"), "x@y@gmail.com", uint8(0), false)
	rules := load(f, map[string]string{"gmail.com.toml": "mode='enforce'\n[[rule]]\nnot_result='pass'\nsigners='gmail.com'\naction='reject'\n"})
	f.Fuzz(func(t *testing.T, data []byte, sender string, fields uint8, readable bool) {
		var report verifier.Report
		// Each signature: a domain, ended by a byte below 32 for its status, and one for its key.
		for len(data) > 0 && len(report.Results) < 200 {
			end := bytes.IndexFunc(data, func(r rune) bool { return r < ' ' })
			if end < 0 || end+1 >= len(data) {
				break
			}
			r := verifier.Result{Domain: string(data[:end]), Status: verifier.Status(data[end] % 7), Algorithm: "rsa-sha256"}
			r.Testing, r.KeyBits = data[end+1]&1 != 0, int(data[end+1]&2)*1024
			report.Results = append(report.Results, r)
			data = data[end+2:]
		}
		report.DMARC.Result = dmarc.Result(fields % 6)
		passes, temporary := false, false
		for _, r := range report.Results {
			if domain.Fold(r.Domain) == "gmail.com" {
				passes = passes || r.Status == verifier.Pass
				temporary = temporary || r.Status == verifier.TempError && !r.Testing
			}
		}
		m := policy.Message{From: message.Originator{Fields: int(fields), Readable: readable, Claimed: []domain.Name{"evil.example", "gmail.com"}}, Sender: sender}
		v := rules.Select(m).Judge(&report)
		want := policy.Reject
		switch {
		case fields > 1: // no signature speaks for an author
		case passes:
			want = policy.Accept
		case temporary:
			want = policy.TempFail
		}
		if v.Action != want {
			t.Errorf("got %s; want %s", said(v), want)
		}
	})
}
