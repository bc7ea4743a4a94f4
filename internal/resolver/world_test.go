package resolver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dkimd/internal/resolver"
	"dkimd/internal/resolver/dnstest"

	"github.com/miekg/dns"
)

const (
	keyName   = "s1._domainkey.example.org"
	keyRecord = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)

// enough is long for anything that is meant to succeed.
const enough = 20 * time.Second

// world is a DNS server that has a key, and a resolver that asks it.
type world struct {
	t      *testing.T
	server *dnstest.Server
	config resolver.Config
	name   string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, server: startServer(t), name: keyName}
	w.server.SetTXT(keyName, keyRecord)
	w.config = resolver.Config{Servers: []string{w.server.Addr()}, Timeout: enough}
	return w
}

func startServer(t *testing.T) *dnstest.Server {
	t.Helper()
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

func (w *world) resolver() *resolver.Resolver {
	w.t.Helper()
	return newResolver(w.t, w.config)
}

func newResolver(t *testing.T, config resolver.Config) *resolver.Resolver {
	t.Helper()
	r, err := resolver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// clock is a clock that a test sets forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_000_000, c.ahead.Load()) }
func (c *clock) forward(d time.Duration) { c.ahead.Add(int64(d)) }

// heard is a query that came to a hostile server.
type heard struct {
	network  string
	from     string // address and port (UDP only)
	query    []byte
	reply    func(packet []byte) // from where the query went to
	raw      func(octets []byte) // the same, without framing (TCP only)
	hangUp   func()              // closes the connection (TCP only)
	stranger func(packet []byte) // from another port (UDP only)
}

// asks reports whether a word is in the name asked for, in whatever case.
func (h heard) asks(word string) bool { return bytes.Contains(bytes.ToLower(h.query), []byte(word)) }

// message is the well-formed answer to the query, with changes.
func (h heard) message(change func(*dns.Msg)) []byte {
	query := new(dns.Msg)
	if err := query.Unpack(h.query); err != nil {
		panic(err)
	}
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable = true
	change(reply)
	packed, err := reply.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

// txt is an answer with a TXT record for the name asked for.
func (h heard) txt(text string) []byte {
	return h.message(func(m *dns.Msg) { m.Answer = []dns.RR{txtOf(m.Question[0].Name, text)} })
}

func txtOf(name, text string) dns.RR {
	return &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 300}, Txt: []string{text}}
}

func cnameOf(name, target string) dns.RR {
	return &dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 300}, Target: target}
}

func nsOf(name, target string) dns.RR {
	return &dns.NS{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 300}, Ns: target}
}

// hostile is a server that does what a test says.
type hostile struct {
	addr    string
	udp     atomic.Int64 // queries that came
	tcp     atomic.Int64
	running sync.WaitGroup
	stop    func()
}

// startHostile runs a server on UDP and TCP that hands each query to do.
func startHostile(t *testing.T, do func(heard)) *hostile {
	t.Helper()
	var config net.ListenConfig
	for range 50 {
		packets, err := config.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		streams, err := config.Listen(t.Context(), "tcp", packets.LocalAddr().String())
		if err != nil {
			_ = packets.Close()
			continue
		}
		s := &hostile{addr: packets.LocalAddr().String()}
		s.running.Go(func() { s.servePackets(packets, do) })
		s.running.Go(func() { s.serveStreams(streams, do) })
		s.stop = sync.OnceFunc(func() {
			_ = packets.Close()
			_ = streams.Close()
			s.running.Wait()
		})
		t.Cleanup(s.stop)
		return s
	}
	t.Fatal("no port is free for UDP and TCP")
	return nil
}

func (s *hostile) servePackets(conn net.PacketConn, do func(heard)) {
	buffer := make([]byte, 65535)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		s.udp.Add(1)
		do(heard{
			network: "udp",
			from:    from.String(),
			query:   append([]byte(nil), buffer[:n]...),
			reply:   func(packet []byte) { _, _ = conn.WriteTo(packet, from) },
			stranger: func(packet []byte) {
				other, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp", "127.0.0.1:0")
				if err != nil {
					panic(err)
				}
				_, _ = other.WriteTo(packet, from)
				_ = other.Close()
			},
		})
	}
}

func (s *hostile) serveStreams(listener net.Listener, do func(heard)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		s.tcp.Add(1)
		s.running.Go(func() {
			defer func() { _ = conn.Close() }()
			var length [2]byte
			if _, err := io.ReadFull(conn, length[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(conn, query); err != nil {
				return
			}
			raw := func(octets []byte) { _, _ = conn.Write(octets) }
			do(heard{network: "tcp", query: query, raw: raw, hangUp: func() { _ = conn.Close() }, reply: func(packet []byte) {
				raw(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...))
			}})
			// Until the client goes: a server that closes is another case.
			_, _ = conn.Read(length[:])
		})
	}
}

// bubble is a network for testing/synctest, where real sockets don't do: each
// socket that the resolver opens is a pipe, and do gets what is sent over it.
type bubble struct {
	do      func(address string, h heard)
	running sync.WaitGroup
	start   time.Time
	mu      sync.Mutex
	visits  []visit
}

// visit is a query that came to an address, so long after the start.
type visit struct {
	Address string
	After   time.Duration
	EDNS    bool
}

func newBubble(do func(address string, h heard)) *bubble {
	return &bubble{do: do, start: time.Now()}
}

// visited are the queries since the last call.
func (b *bubble) visited() []visit {
	b.mu.Lock()
	defer b.mu.Unlock()
	visits := b.visits
	b.visits = nil
	return visits
}

func (b *bubble) dial(_ context.Context, network, address string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	b.running.Go(func() {
		defer func() { _ = theirs.Close() }()
		buffer := make([]byte, 512)
		for {
			n, err := theirs.Read(buffer)
			if err != nil {
				return
			}
			b.mu.Lock()
			b.visits = append(b.visits, visit{address, time.Since(b.start), buffer[11] > 0})
			b.mu.Unlock()
			query := append([]byte(nil), buffer[:n]...)
			b.running.Go(func() {
				b.do(address, heard{network: network, query: query, reply: func(packet []byte) { _, _ = theirs.Write(packet) }})
			})
		}
	})
	return ours, nil
}
