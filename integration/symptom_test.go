//go:build integration

package integration_test

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var quotedSymptom = regexp.MustCompile("(?m)^\\| `([^`]+)`")

// symptoms are the lines of Postfix's log that docs/postfix.md explains.
func symptoms(t *testing.T) []string {
	t.Helper()
	guide, err := os.ReadFile("../docs/postfix.md")
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
	s := onStage(t)
	t.Run("bring them about", func(t *testing.T) {
		t.Run("nobody listens", func(t *testing.T) {
			t.Parallel()
			for _, kind := range []laneKind{overTCP, overUnix} {
				dial(t, s.postfix.takeLane(t, kind).outside)
			}
		})
		t.Run("socket without permission", func(t *testing.T) {
			t.Parallel()
			lane := s.postfix.takeLane(t, overUnix)
			pretend(t, lane.milter, func(io.ReadWriter) {})
			_, path := address(lane.milter)
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			dial(t, lane.outside)
		})
		t.Run("hangs up at once", func(t *testing.T) {
			t.Parallel()
			lane := s.postfix.takeLane(t, overTCP)
			pretend(t, lane.milter, func(io.ReadWriter) {})
			dial(t, lane.outside)
		})
		t.Run("is no milter", func(t *testing.T) {
			t.Parallel()
			lane := s.postfix.takeLane(t, overTCP)
			pretend(t, lane.milter, func(conn io.ReadWriter) {
				_, _ = io.WriteString(conn, "220 some other server\r\n")
				_, _ = io.Copy(io.Discard, conn)
			})
			dial(t, lane.outside)
		})
		t.Run("breaks off in mid-message", func(t *testing.T) {
			t.Parallel()
			lane := s.postfix.takeLane(t, overTCP)
			pretend(t, lane.milter, func(conn io.ReadWriter) { nod(conn, nil) })
			got := dial(t, lane.outside).send("bob@theirs.example", "broken@elsewhere.test", newMail("bob@theirs.example", "broken").bytes())
			if got.code != 451 {
				t.Errorf("Postfix answers %s; want 451", got)
			}
		})
		t.Run("verdicts", func(t *testing.T) {
			t.Parallel()
			rules := map[string]string{"gmail.com": gmailRule}
			for _, action := range []string{"quarantine", "discard"} {
				rules[action+".example"] = "mode = \"enforce\"\n[[rule]]\nresult = \"none\"\naction = \"" + action + "\"\n"
			}
			w := newWorld(t, settings{rules: rules, dns: "timeout = \"1s\""})
			w.dns.SetRcode("rsa._domainkey.gmail.com", dns.RcodeServerFailure)
			c := w.fromGmail(t)
			plain := newMail(gmailUser, "symptoms").bytes()
			for _, data := range [][]byte{
				plain, signWithPython(t, "gmail.com", plain),
				newMail("bob@quarantine.example", "symptoms").bytes(), newMail("bob@discard.example", "symptoms").bytes(),
			} {
				c.send("bob@theirs.example", "symptoms@elsewhere.test", data)
			}
		})
	})
	deadline := time.Now().Add(waitLimit)
	for _, symptom := range symptoms(t) {
		pattern := regexp.QuoteMeta(symptom)
		pattern = strings.NewReplacer(`\.\.\.`, `.*`, `127\.0\.0\.1:8891`, `127\.0\.0\.1:\d+`).Replace(pattern)
		line := regexp.MustCompile(pattern)
		if !poll(time.Until(deadline), func() bool { return line.MatchString(s.postfix.mailLog()) }) {
			t.Errorf("Postfix has not logged %q", symptom)
		}
	}
	if t.Failed() {
		t.Log(s.postfix.mailLog())
	}
}
