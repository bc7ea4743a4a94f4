package milter

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/internal/milter/client"
	"dkimd/internal/socket"
)

// TestMessageAllocations bounds what a message costs between its MAIL and its
// answer, with the client and go-milter. It is not parallel: AllocsPerRun counts for all.
func TestMessageAllocations(t *testing.T) {
	s, err := New(Config{
		Config: socket.Config{Listen: []string{"unix:" + filepath.Join(t.TempDir(), "s")}}, Logger: slog.New(slog.DiscardHandler),
		MaxConnections: 1024, Begin: func(*message.Envelope) Message { return &quiet{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve() }()
	t.Cleanup(func() { _ = s.Close() })
	mta, err := client.Dial(t.Context(), "unix", s.Addrs()[0].String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const fields = 20
	count := func(body string) float64 {
		mail := client.Mail{
			Sender: "a@example.com", Recipients: []string{"b@example.net"}, QueueID: "4Q1",
			Raw: []byte(strings.Repeat("X-Header: some value of some length, as they are\r\n", fields) + "\r\n" + body),
		}
		return testing.AllocsPerRun(50, func() {
			if _, err := mta.Send(t.Context(), mail); err != nil {
				t.Fatal(err)
			}
		})
	}
	short, long := count("a line of text\r\n"), count(strings.Repeat("a line of text\r\n", 100_000))
	t.Logf("%v allocations, %v with a body of 1.6 MB", short, long)
	const (
		most   = 60 + 6*fields       // the client makes one a packet, and three more a field
		chunks = 1_600_000/65535 + 1 // two packets each, macros and body
		noise  = 10                  // of the race detector
	)
	if short > most {
		t.Errorf("%v allocations; want at most %v", short, most)
	}
	if long > short+2*chunks+noise {
		t.Errorf("%v allocations with a long body, %v with a short one", long, short)
	}
}
