package milter

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/logtest"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/smtpreply"
	"dkimd/internal/socket"
	"dkimd/policy"
)

// noise is what go-milter writes to the standard logger: there must be nothing,
// the session logs for itself.
var noise logtest.Lines

func TestMain(m *testing.M) {
	log.SetOutput(&noise)
	if m.Run() == 0 && noise.String() != "" {
		panic("go-milter logged by itself:\n" + noise.String())
	}
}

// note is a message that only writes down how it ended.
type note struct {
	mu     *sync.Mutex
	ends   *[]string
	finish func(ctx context.Context) pipeline.Outcome
	over   bool
}

func (n *note) Header(string, string)       {}
func (n *note) EndOfHeader(context.Context) {}
func (n *note) Body([]byte)                 {}
func (n *note) Fault(error)                 {}

func (n *note) Finish(ctx context.Context) pipeline.Outcome {
	outcome := pipeline.Outcome{Action: policy.Accept}
	if n.finish != nil {
		outcome = n.finish(ctx)
	}
	n.end("finish")
	return outcome
}

func (n *note) Abort(reason string) {
	if !n.over {
		n.end(reason)
	}
}

func (n *note) end(how string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over {
		how = "TWICE: " + how
	}
	n.over = true
	*n.ends = append(*n.ends, how)
}

// pipes is a server whose connections are pipes in memory.
type pipes struct {
	*Server
	open   sync.WaitGroup // sessions
	mu     sync.Mutex
	begun  int
	ends   []string
	finish func(ctx context.Context) pipeline.Outcome
	logs   logtest.Lines
}

func newPipes(t *testing.T) *pipes {
	t.Helper()
	p := &pipes{}
	s, err := New(Config{
		Config: socket.Config{Listen: []string{"inet:127.0.0.1:0"}},
		Logger: p.logs.Logger(), MaxConnections: 4,
		Begin: func(*message.Envelope) Message {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.begun++
			return &note{mu: &p.mu, ends: &p.ends, finish: p.finish}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Server = s
	return p
}

// dial connects without any socket.
func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.open.Add(1)
	go p.begin(context.Background(), &socket.Conn{Conn: there}).Serve(func() {
		_ = there.Close()
		p.open.Done()
	})
	return here
}

// Close waits for the sessions, which end when their pipes are closed.
func (p *pipes) Close() error {
	p.open.Wait()
	return p.Server.Close()
}

func frame(code byte, payload string) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)))
	return append(append(f, code), payload...)
}

func offerFrame(protocol uint32) []byte {
	o := binary.BigEndian.AppendUint32(nil, 6)
	o = binary.BigEndian.AppendUint32(o, 0x1ff)
	return frame('O', string(binary.BigEndian.AppendUint32(o, protocol)))
}

// negotiated is a connection on which everything was agreed that was asked for.
func (p *pipes) negotiated(t *testing.T, protocol uint32) net.Conn {
	t.Helper()
	conn := p.dial()
	go func() { _, _ = conn.Write(offerFrame(protocol)) }()
	readFrame(t, conn)
	return conn
}

func readFrame(t *testing.T, conn net.Conn) string {
	t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(conn, payload); err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

const everything = uint32(wantedProtocol)

// TestDeadlines: how long each kind of silence is borne, to the second.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	mail := frame('M', "<a@example.com>\x00")
	tests := map[string]struct {
		do   func(p *pipes, agreed func(uint32) net.Conn) net.Conn
		want time.Duration
		end  string // of a message
		log  string
	}{
		"nothing at all": {
			func(p *pipes, _ func(uint32) net.Conn) net.Conn { return p.dial() },
			packetTimeout, "", "sent nothing for too long: 30s",
		},
		"nothing after the offer": {
			func(_ *pipes, agreed func(uint32) net.Conn) net.Conn { return agreed(everything) },
			idleTimeout, "", "sent nothing for too long: 10m0s",
		},
		"nothing more of a message": {
			func(_ *pipes, agreed func(uint32) net.Conn) net.Conn {
				conn := agreed(everything)
				_, _ = conn.Write(append(mail, frame('L', "A\x00 b\x00")...))
				return conn
			},
			idleTimeout, "the MTA sent nothing for too long: 10m0s", "sent nothing for too long: 10m0s",
		},
		"half a length": {
			func(_ *pipes, agreed func(uint32) net.Conn) net.Conn {
				conn := agreed(everything)
				_, _ = conn.Write(append(mail, 0, 0))
				return conn
			},
			packetTimeout, "the MTA did not finish a packet in time: 30s", "did not finish a packet in time: 30s",
		},
		"a field that trickles": {
			func(_ *pipes, agreed func(uint32) net.Conn) net.Conn {
				conn := agreed(everything)
				_, _ = conn.Write(mail)
				return trickle(conn, frame('L', "A\x00"+strings.Repeat("b", 50_000)+"\x00"))
			},
			packetTimeout, "the MTA did not finish a packet in time: 30s", "did not finish a packet in time: 30s",
		},
		"a small field that trickles": {
			func(_ *pipes, agreed func(uint32) net.Conn) net.Conn {
				conn := agreed(everything)
				_, _ = conn.Write(mail)
				return trickle(conn, frame('L', "A\x00"+strings.Repeat("b", 500)+"\x00"))
			},
			packetTimeout, "the MTA did not finish a packet in time: 30s", "did not finish a packet in time: 30s",
		},
		"a body that trickles": {
			func(_ *pipes, agreed func(uint32) net.Conn) net.Conn {
				conn := agreed(everything)
				_, _ = conn.Write(mail)
				return trickle(conn, frame('B', strings.Repeat("b", 65_535)))
			},
			packetTimeout, "the MTA did not finish a packet in time: 30s", "did not finish a packet in time: 30s",
		},
		"answers nobody reads": {
			func(_ *pipes, agreed func(uint32) net.Conn) net.Conn {
				conn := agreed(0)
				_, _ = conn.Write(mail)
				return unread{conn}
			},
			defaultWriteTimeout, "the MTA does not read the answers: 30s", "does not read the answers",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPipes(t)
				begin := time.Now()
				conn := tt.do(p, func(protocol uint32) net.Conn { return p.negotiated(t, protocol) })
				p.open.Wait()
				if got := time.Since(begin); got != tt.want {
					t.Errorf("ended after %s, want %s", got, tt.want)
				}
				_ = conn.Close()
				<-time.After(2 * time.Second) // for what trickles
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				if got := strings.Join(p.ends, "; "); got != tt.end {
					t.Errorf("the message ended with %q, want %q", got, tt.end)
				}
				if !strings.Contains(p.logs.String(), tt.log) {
					t.Errorf("no %q in the log:\n%s", tt.log, p.logs.String())
				}
			})
		})
	}
}

type unread struct{ net.Conn }

// trickle sends a byte every second.
func trickle(conn net.Conn, p []byte) net.Conn {
	go func() {
		for i := range p {
			if _, err := conn.Write(p[i : i+1]); err != nil {
				return
			}
			<-time.After(time.Second)
		}
	}()
	return conn
}

// TestPatience: an MTA that is slow, but not too slow, is served.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes(t)
		conn := p.negotiated(t, 0)
		for _, f := range [][]byte{frame('M', "<a@example.com>\x00"), frame('L', "A\x00 b\x00"), frame('N', ""), frame('B', "b"), frame('E', "")} {
			<-time.After(idleTimeout - time.Second)
			_, _ = conn.Write(f[:3])
			<-time.After(packetTimeout - time.Second)
			_, _ = conn.Write(f[3:])
			if got := readFrame(t, conn); got != "c" {
				t.Fatalf("answer %q", got)
			}
		}
		_ = conn.Close()
		_ = p.Close()
		if got := strings.Join(p.ends, "; "); got != "finish" {
			t.Errorf("the message ended with %q", got)
		}
	})
}

// TestFinishTimeout: the message is told, and its answer still counts.
func TestFinishTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes(t)
		p.finish = func(ctx context.Context) pipeline.Outcome {
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), errSlow) {
				t.Errorf("cause %v", context.Cause(ctx))
			}
			return pipeline.Outcome{Action: policy.TempFail, Reply: smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "slow"}}
		}
		conn := p.negotiated(t, everything)
		begin := time.Now()
		for range 2 {
			go func() { _, _ = conn.Write(append(frame('M', "<a@example.com>\x00"), frame('E', "")...)) }()
			if got := readFrame(t, conn); got != "y451 4.7.5 slow\x00" {
				t.Errorf("answer %q", got)
			}
		}
		if got := time.Since(begin); got != 2*finishTimeout {
			t.Errorf("two messages took %s", got)
		}
		_ = conn.Close()
		_ = p.Close()
	})
}

// TestWatchNoticesCloseAfterDelay: nobody looks before, so that a message that
// ends at once costs no goroutine.
func TestWatchNoticesCloseAfterDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes(t)
		var noticed time.Duration
		p.finish = func(ctx context.Context) pipeline.Outcome {
			begin := time.Now()
			<-ctx.Done()
			noticed = time.Since(begin)
			return pipeline.Outcome{}
		}
		conn := p.negotiated(t, everything)
		_, _ = conn.Write(append(frame('M', "<a@example.com>\x00"), frame('E', "")...))
		_ = conn.Close()
		p.open.Wait()
		if noticed != watchDelay {
			t.Errorf("noticed after %s", noticed)
		}
		_ = p.Close()
	})
}
