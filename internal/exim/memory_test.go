package exim_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"dkimd/internal/exim"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/smtpreply"
	"dkimd/policy"
)

// A message for which there is no memory is deferred in each dialect, with words; the next one is taken.
func TestMessagesTakeMemory(t *testing.T) {
	t.Parallel()
	unread := func(_ context.Context, m *fakeMessage) pipeline.Outcome {
		if !m.env.Held.Exceeded() {
			return pipeline.Outcome{}
		}
		return pipeline.Outcome{Action: policy.TempFail, Reply: smtpreply.Reply{Code: 451, Enhanced: "4.3.2", Text: "later"}}
	}
	mail := func(size int) string {
		return "From: a@gmail.com\nX: " + strings.Repeat("x", size/2) + "\n " + strings.Repeat("y", size/2) + "\nTo: b@mine.example\n\nbody\n"
	}
	requests := map[string]func(size int) (request string, half bool){
		"check": func(size int) (string, bool) { return check(checkHead, mboxLine+received+mail(size)), false },
		"verify": func(size int) (string, bool) {
			header, body, _ := strings.Cut(received+mail(size), "\n\n")
			return verify(strings.Replace(verifyHead, "Body-True-Size: 13", fmt.Sprintf("Body-True-Size: %d", len(body)), 1), header+"\n", body), true
		},
		"sign": func(size int) (string, bool) { return sign("IP: \nProtocol: local\n", mail(size)), true },
		"many recipients": func(size int) (string, bool) {
			n := size / 40
			head := fmt.Sprintf("From: <a@gmail.com>\nRecipient-Number: %d\n", n) + strings.Repeat("Rcpt: <a@mine.example>\n", n)
			return check(head, mboxLine+mail(100)), false
		},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *exim.Config) { c.Memory = message.NewMemory(100_000) })
			w.does(unread)
			for _, size := range []int{2_000, 150_000, 2_000} {
				// The front door defers: Exim's words for it are of each dialect.
				text, half := request(size)
				if name == "verify" && size > 60_000 {
					text, half = request(60_000)
				}
				answer := w.ask(t, text, half)
				deferred := strings.Contains(answer, "4.3.2") || strings.Contains(answer, "DEFER")
				if deferred != (size > 100_000) || answer == "" {
					t.Errorf("%d bytes: %.300q", size, answer)
				}
			}
		})
	}
}

// A line in front of a message takes memory as it comes, and gives it back with the connection.
func TestLinesTakeMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *exim.Config) { c.Memory = message.NewMemory(1 << 20) })
	conn := w.dial(t)
	_, _ = io.WriteString(conn, "DKIMD/1 VERIFY\nRcpts: "+strings.Repeat("a@b.example, ", 40_000))
	for deadline := time.Now().Add(10 * time.Second); w.memory.Held() < 40_000*13; {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are held", w.memory.Held())
		}
		<-time.After(time.Millisecond)
	}
	if answer := w.ask(t, "DKIMD/1 VERIFY\nRcpts: "+strings.Repeat("a@b.example, ", 75_000), true); answer != "" {
		t.Errorf("answer %q", answer)
	}
	w.logged(t, "no memory is left for the message")
	if w.memory.Deferred() != 1 {
		t.Errorf("%d messages are counted as deferred", w.memory.Deferred())
	}
}
