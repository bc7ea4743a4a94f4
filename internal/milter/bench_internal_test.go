package milter

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/internal/milter/client"
	"dkimd/internal/pipeline"
	"dkimd/internal/socket"
)

// BenchmarkMessage is what the front door costs a message of 4 KiB, with the
// client, which costs about as much.
func BenchmarkMessage(b *testing.B) {
	for name, protocol := range map[string]uint32{"no-replies": client.AllProtocol, "replies": client.LeadingSpace} {
		b.Run(name, func(b *testing.B) {
			s, err := New(Config{
				Config: socket.Config{Listen: []string{"unix:" + filepath.Join(b.TempDir(), "s")}}, Logger: slog.New(slog.DiscardHandler),
				MaxConnections: 1024, Begin: func(*message.Envelope) Message { return &quiet{} },
			})
			if err != nil {
				b.Fatal(err)
			}
			go func() { _ = s.Serve() }()
			defer func() { _ = s.Close() }()
			conn, err := net.Dial("unix", s.Addrs()[0].String())
			if err != nil {
				b.Fatal(err)
			}
			mta, err := client.New(conn, client.Options{Version: 6, Actions: client.AllActions, Protocol: protocol})
			if err != nil {
				b.Fatal(err)
			}
			mail := client.Mail{
				Sender: "a@example.com", Recipients: []string{"b@example.net"}, QueueID: "4Q1",
				Raw: []byte(strings.Repeat("X-Header: some value of some length, as they are\r\n", 15) + "\r\n" + strings.Repeat("a line of text\r\n", 200)),
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := mta.Send(b.Context(), mail); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkConnection is what a connection costs that carries nothing, with the client.
func BenchmarkConnection(b *testing.B) {
	s, err := New(Config{
		Config: socket.Config{Listen: []string{"unix:" + filepath.Join(b.TempDir(), "s")}}, Logger: slog.New(slog.NewTextHandler(new(bytes.Buffer), nil)),
		MaxConnections: 1024, Begin: func(*message.Envelope) Message { return &quiet{} },
	})
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = s.Serve() }()
	defer func() { _ = s.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		mta, err := client.Dial(b.Context(), "unix", s.Addrs()[0].String(), client.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := mta.Quit(); err != nil {
			b.Fatal(err)
		}
	}
}

// quiet is a message that costs nothing.
type quiet struct{}

func (*quiet) Header(string, string)                   {}
func (*quiet) EndOfHeader(context.Context)             {}
func (*quiet) Body([]byte)                             {}
func (*quiet) Finish(context.Context) pipeline.Outcome { return pipeline.Outcome{} }
func (*quiet) Abort(string)                            {}
func (*quiet) Fault(error)                             {}
