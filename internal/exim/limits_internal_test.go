package exim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/socket"
)

// patient is a message whose end waits for as long as it may.
type patient struct{ Message }

func (patient) Header(string, string)       {}
func (patient) EndOfHeader(context.Context) {}
func (patient) Body([]byte)                 {}
func (patient) BodyUnseen(string)           {}
func (patient) Abort(string)                {}
func (patient) Finish(ctx context.Context) pipeline.Outcome {
	<-ctx.Done()
	return pipeline.Outcome{}
}

// said is a connection whose peer has said all it will.
type said struct {
	net.Conn
	text *strings.Reader
}

func (s said) Read(p []byte) (int, error) { return s.text.Read(p) }

// The times of docs/design.md, to the second: how long each kind of slowness is borne.
func TestDefaultTimes(t *testing.T) {
	t.Parallel()
	const header, body = "Received: x\nFrom: a@b.example\n", "abc"
	head := func(bodySize int) string {
		return fmt.Sprintf("DKIMD/1 VERIFY\nQueue-Id: x\nFrom: <a@b.example>\nIP: 203.0.113.9\nHelo: x\nUser: \nProtocol: esmtp\nRcpts: c@d.example\n"+
			"Nul: 0\nBody-True-Size: %d\nHeaders-Size: %d\nBody-Size: %d\n\n%s\n", bodySize, len(header), bodySize, header)
	}
	tests := map[string]struct {
		sent  string        // at once
		drip  time.Duration // between the bytes that follow; 0: none do
		want  time.Duration
		whole bool // and it is the whole request: there will be an answer
	}{
		"silence":                         {"", 0, 30 * time.Second, false},
		"half a head, then a byte a time": {"DKIMD/1 VERIFY\nQueue-Id: ", time.Second, 30 * time.Second, false},
		"half a message":                  {head(4) + body, 0, 30 * time.Second, false},
		"a message a byte a time":         {head(99999), 20 * time.Second, 5 * time.Minute, false},
		"an end that waits":               {head(len(body)) + body, 0, 15 * time.Second, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			synctest.Test(t, func(t *testing.T) {
				s, err := New(Config{
					Config: socket.Config{Listen: []string{"unix:" + path}}, Logger: slog.New(slog.DiscardHandler),
					MaxConnections: 1024, Begin: func(*message.Envelope) Message { return patient{} },
				})
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = s.Close() }()
				near, far := net.Pipe()
				start := time.Now()
				conn := far
				if test.whole {
					conn = said{far, strings.NewReader(test.sent)}
				}
				go newExchange(t.Context(), s, &socket.Conn{Conn: conn}).Serve(func() { _ = far.Close() })
				var writer sync.WaitGroup
				writer.Go(func() {
					if test.whole {
						return
					}
					_, err := io.WriteString(near, test.sent)
					for err == nil && test.drip > 0 {
						<-time.After(test.drip)
						_, err = near.Write([]byte("x"))
					}
				})
				answer, _ := io.ReadAll(near)
				if took := time.Since(start); took != test.want || len(answer) > 0 != test.whole {
					t.Errorf("after %s: %q; want %s", took, answer, test.want)
				}
				_ = near.Close()
				writer.Wait()
			})
		})
	}
}
