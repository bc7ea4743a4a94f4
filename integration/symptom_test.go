//go:build integration

package integration_test

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
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
			lane.pretend(t, func(io.ReadWriter) {})
			_, path := lane.address()
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			dial(t, lane.outside)
		})
		t.Run("hangs up at once", func(t *testing.T) {
			t.Parallel()
			lane := s.postfix.takeLane(t, overTCP)
			lane.pretend(t, func(io.ReadWriter) {})
			dial(t, lane.outside)
		})
		t.Run("is no milter", func(t *testing.T) {
			t.Parallel()
			lane := s.postfix.takeLane(t, overTCP)
			lane.pretend(t, func(conn io.ReadWriter) {
				_, _ = io.WriteString(conn, "220 some other server\r\n")
				_, _ = io.Copy(io.Discard, conn)
			})
			dial(t, lane.outside)
		})
		t.Run("breaks off in mid-message", func(t *testing.T) {
			t.Parallel()
			lane := s.postfix.takeLane(t, overTCP)
			lane.pretend(t, nodUntilEndOfMessage)
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

// pretend listens at the lane's milter address with somebody who is not dkimd.
func (l *lane) pretend(t *testing.T, serve func(io.ReadWriter)) {
	t.Helper()
	network, address := l.address()
	if network == "unix" {
		_ = os.Remove(filepath.Clean(address))
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { serve(conn); _ = conn.Close() }()
		}
	}()
}

// nodUntilEndOfMessage is a milter that agrees to everything and then leaves.
func nodUntilEndOfMessage(conn io.ReadWriter) {
	for {
		size := make([]byte, 4)
		if _, err := io.ReadFull(conn, size); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint32(size))
		if _, err := io.ReadFull(conn, packet); err != nil {
			return
		}
		answer := []byte("\x00\x00\x00\x01c")
		switch packet[0] {
		case 'O': // version 6, no actions, every event
			answer = append([]byte("\x00\x00\x00\x0dO"), 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0)
		case 'D':
			continue
		case 'E':
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}
