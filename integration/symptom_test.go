//go:build integration

package integration_test

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"dkimd/integration/harness"

	"github.com/miekg/dns"
)

var quotedSymptom = regexp.MustCompile("(?m)^\\| `([^`]+)`")

// symptoms are the lines of Postfix's log that docs/postfix.md explains.
func symptoms(t *testing.T) []string {
	t.Helper()
	guide, err := os.ReadFile(harness.Repository("docs/postfix.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(guide), "## What the mail log says")
	var lines []string
	for _, m := range quotedSymptom.FindAllStringSubmatch(table, -1) {
		lines = append(lines, m[1])
	}
	if len(lines) < 10 {
		t.Fatalf("docs/postfix.md explains only %q", lines)
	}
	return lines
}

// Every line of Postfix's log that the guide explains is one that Postfix
// writes: each is brought about here.
func TestGuideExplainsRealLogLines(t *testing.T) {
	t.Parallel()
	s := harness.OnStage(t)
	t.Run("bring them about", func(t *testing.T) {
		t.Run("nobody listens", func(t *testing.T) {
			t.Parallel()
			for _, kind := range []harness.LaneKind{harness.OverTCP, harness.OverUnix} {
				harness.Dial(t, s.Postfix.TakeLane(t, kind).Outside)
			}
		})
		t.Run("socket without permission", func(t *testing.T) {
			t.Parallel()
			lane := s.Postfix.TakeLane(t, harness.OverUnix)
			harness.ServeMilter(t, lane.Milter, func(io.ReadWriter) {})
			_, path := harness.Address(lane.Milter)
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			harness.Dial(t, lane.Outside)
		})
		t.Run("hangs up at once", func(t *testing.T) {
			t.Parallel()
			lane := s.Postfix.TakeLane(t, harness.OverTCP)
			harness.ServeMilter(t, lane.Milter, func(io.ReadWriter) {})
			harness.Dial(t, lane.Outside)
		})
		t.Run("is no milter", func(t *testing.T) {
			t.Parallel()
			lane := s.Postfix.TakeLane(t, harness.OverTCP)
			harness.ServeMilter(t, lane.Milter, func(conn io.ReadWriter) {
				_, _ = io.WriteString(conn, "220 some other server\r\n")
				_, _ = io.Copy(io.Discard, conn)
			})
			harness.Dial(t, lane.Outside)
		})
		t.Run("breaks off in mid-message", func(t *testing.T) {
			t.Parallel()
			lane := s.Postfix.TakeLane(t, harness.OverTCP)
			harness.ServeMilter(t, lane.Milter, func(conn io.ReadWriter) { harness.AcceptAll(conn, nil) })
			got := harness.Dial(t, lane.Outside).Send("bob@theirs.example", "broken@elsewhere.test", harness.NewMail("bob@theirs.example", "broken").Bytes())
			if got.Code != 451 {
				t.Errorf("Postfix answers %s; want 451", got)
			}
		})
		t.Run("verdicts", func(t *testing.T) {
			t.Parallel()
			rules := map[string]string{"gmail.com": gmailRule}
			for _, action := range []string{"quarantine", "discard"} {
				rules[action+".example"] = "mode = \"enforce\"\n[[rule]]\nresult = \"none\"\naction = \"" + action + "\"\n"
			}
			w := harness.NewWorld(t, harness.Settings{Rules: rules, DNS: "timeout = \"1s\""})
			w.DNS.SetRcode("rsa._domainkey.gmail.com", dns.RcodeServerFailure)
			c := fromGmail(t, w)
			plain := harness.NewMail(gmailUser, "symptoms").Bytes()
			for _, data := range [][]byte{
				plain, harness.SignWithPython(t, "gmail.com", plain),
				harness.NewMail("bob@quarantine.example", "symptoms").Bytes(), harness.NewMail("bob@discard.example", "symptoms").Bytes(),
			} {
				c.Send("bob@theirs.example", "symptoms@elsewhere.test", data)
			}
		})
	})
	deadline := time.Now().Add(harness.WaitLimit)
	for _, symptom := range symptoms(t) {
		pattern := regexp.QuoteMeta(symptom)
		pattern = strings.NewReplacer(`\.\.\.`, `.*`, `127\.0\.0\.1:8891`, `127\.0\.0\.1:\d+`).Replace(pattern)
		line := regexp.MustCompile(pattern)
		if !harness.Poll(time.Until(deadline), func() bool { return line.MatchString(s.Postfix.MailLog()) }) {
			t.Errorf("Postfix has not logged %q", symptom)
		}
	}
	if t.Failed() {
		t.Log(s.Postfix.MailLog())
	}
}
