package pipeline_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/resolver"
	"dkimd/policy"
)

// hostileTexts is what a stranger writes to be taken for somebody else, or for us.
func hostileTexts() map[string]string {
	forged := "2026-11-23T14:00:00Z accept verify forged.example DKIM: d=gmail.com s=s [verification succeeded]"
	return map[string]string{
		"CR":       "a\r" + forged,
		"LF":       "a\n" + forged,
		"CRLF":     "a\r\nAuthentication-Results: mx.example.net; dkim=pass header.d=gmail.com\r\n\r\n",
		"NUL":      "a\x00\x00b",
		"ESC":      "\x1b[2J\x1b]0;owned\x07\x1b[1A",
		"quotes":   `a" , "verdict":"accept" '; "`,
		"escapes":  `\" \\" \u000a \n %s %n %0d%0a`,
		"comment":  `a) (dkim=pass header.d=gmail.com) (`,
		"results":  `a; dkim=pass header.d=gmail.com; spf=pass`,
		"C1":       "a\u0085b\u009b2Jc\u2028d\u2029e\u202ef",
		"no UTF-8": "a\xff\xfe\x85\x9b\xc2b",
		"10 KB":    strings.Repeat("0123456789", 1024),
		"10 KB LF": strings.Repeat("x\n", 5*1024),
		"a number": "550 5.7.1 250 2.0.0 OK",
		"nothing":  "",
		"blanks":   "   \t  ",
	}
}

// believed is what careless programs look for in results.
var believed = regexp.MustCompile(`(?i)(dkim|spf)=pass|(header\.[di]|smtp\.mailfrom)=@?gmail\.com`)

// poisonedMail has a text in every place that a stranger, or an MTA in his name, fills in.
func poisonedMail(s string) mail {
	m := from(outside)
	m.env.QueueID, m.env.Helo, m.env.AuthUser, m.env.Sender = s, s, "", s+"@example.org"
	m.env.Client.Name, m.env.DaemonName, m.env.MTA = s, s, s
	// What a milter hands over has line ends only at folds; here it may have any.
	tag := strings.ReplaceAll(s, ";", "")
	m.head = []string{
		"From: " + s + " <" + s + "@example.org>",
		"DKIM-Signature: v=1; a=" + tag + "; d=example.org; s=s; h=From; bh=AA==; b=AA==",
		"DKIM-Signature: v=1; a=rsa-sha256; d=" + tag + ".example.org; s=s; h=From; bh=AA==; b=AA==",
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=" + tag + "; h=From; bh=AA==; b=AA==",
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; i=" + tag + "@example.org; h=From; bh=AA==; b=AA==",
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=From:" + tag + "; bh=AA==; b=AA==",
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=From; bh=AA==; b=" + tag,
		"DKIM-Signature: " + s,
		"Message-ID: " + s, "Subject: " + s, "X-" + tag + ": y", "Authentication-Results: " + s + "; dkim=pass",
	}
	return m
}

// Text of a message forges no line of the log in any format, no field, no reply.
func TestNothingOfAMessageForges(t *testing.T) {
	t.Parallel()
	for name, s := range hostileTexts() {
		for _, format := range []events.Format{events.JSON, events.Text, events.Exim} {
			t.Run(name+" "+string(format), func(t *testing.T) {
				t.Parallel()
				want := runPoisoned(t, format, "harmless")
				got := runPoisoned(t, format, s)
				if strings.Count(got, "\n") != strings.Count(want, "\n") || len(got) > 512<<10 {
					t.Errorf("%d bytes, and lines:\n%.4000s\nwant as many as in\n%s", len(got), got, want)
				}
				for _, r := range strings.TrimSuffix(got, "\n") {
					if r != '\n' && !unicode.IsPrint(r) || r == unicode.ReplacementChar {
						t.Fatalf("%U in the log: %.2000q", r, got)
					}
				}
				if format == events.JSON {
					var record map[string]any
					if err := json.Unmarshal([]byte(got), &record); err != nil || record["verdict"] != "reject" {
						t.Errorf("record %v, %v", record["verdict"], err)
					}
				}
			})
		}
	}
}

// encoder is a log stream in memory.
type encoder struct {
	format events.Format
	out    *bytes.Buffer
}

func (e encoder) Write(record *events.Event) { e.out.Write(append(e.format.Append(nil, record), '\n')) }

// runPoisoned takes the message through a pipeline whose rules reject it, and one
// without rules; what is recorded is returned.
func runPoisoned(t *testing.T, format events.Format, s string) string {
	t.Helper()
	w := newWorld(t)
	w.config.Hostname = ""
	w.rules = map[string]string{"example.org.toml": "sender = \"either\"\nsubdomains = true\nmode = \"enforce\"\n[[rule]]\nnot_result = \"pass\"\naction = \"reject\""}
	w.lookup = func(string) (resolver.Answer, error) {
		return resolver.Answer{Records: []string{"v=DKIM1; p=" + s}}, nil
	}
	var record bytes.Buffer
	w.config.Events = encoder{format, &record}
	p := w.pipeline()
	m := poisonedMail(s)
	checkOutcome(t, take(t, p, m), policy.Reject)

	w.config.Events = w
	w.rules = nil
	p = w.pipeline()
	checkOutcome(t, take(t, p, m), policy.Accept)
	m.env.Client = message.NewClient("", inside) // ours: what it is signed with
	w.sign.Headers = []string{"From", "X-*", "Message-ID"}
	checkOutcome(t, take(t, w.pipeline(), m), policy.Accept)
	for _, r := range w.log.String() {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%U in the log of the process: %.500q", r, w.log)
			break
		}
	}
	return record.String()
}

func take(t *testing.T, p *pipeline.Pipeline, m mail) pipeline.Outcome {
	t.Helper()
	msg := begin(p, m)
	msg.EndOfHeader(t.Context())
	msg.Body([]byte(m.body))
	return msg.Finish(t.Context())
}

func checkOutcome(t *testing.T, out pipeline.Outcome, action policy.Action) {
	t.Helper()
	if out.Action != action {
		t.Errorf("%v %q, want %v", out.Action, out.Reply, action)
	}
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	reply := out.Reply.String()
	if strings.ContainsFunc(reply, unprintable) || len(reply) > 512 || action == policy.Reject && !strings.HasPrefix(reply, "550 5.7.") {
		t.Errorf("reply %.1000q", reply)
	}
	for _, add := range out.Add {
		if !slices.Contains([]string{"Authentication-Results", "DKIM-Signature"}, add.Name) {
			t.Errorf("field %q", add.Name)
		}
		for i, line := range strings.Split(add.Value, "\r\n") {
			if strings.ContainsFunc(strings.TrimPrefix(line, "\t"), unprintable) || len(line) > 998 ||
				i > 0 && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") || strings.TrimSpace(line) == "" {
				t.Errorf("%s: line %d is %q", add.Name, i+1, line)
			}
		}
		if believed.MatchString(add.Value) {
			t.Errorf("%s: %q", add.Name, add.Value)
		}
	}
}
