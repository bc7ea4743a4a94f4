// Package dnstest is a DNS server for tests and for `dkimd demo`. It behaves
// like a recursive resolver whose whole world is in memory: UDP and TCP on one
// loopback port, EDNS0 (RFC 6891), truncation, aliases, negative answers with
// SOA (RFC 2308), and on request SERVFAIL, delay and silence.
package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// portTries is how often a free port is looked for: one that is free for UDP
// may be taken for TCP.
const portTries = 50

// Server answers from its records. All methods may be called at any time.
type Server struct {
	addr    string
	udp     *dns.Server
	tcp     *dns.Server
	serving sync.WaitGroup
	closing chan struct{}
	close   sync.Once
	faults  atomic.Uint64
	zone    zone
}

// Start listens on a literal address ("127.0.0.1:0" picks a free port) and
// answers at once: each name it is not told about does not exist.
func Start(addr string) (*Server, error) {
	packets, streams, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("dnstest: %w", err)
	}
	s := &Server{addr: packets.LocalAddr().String(), closing: make(chan struct{})}
	s.zone.names = make(map[string]*entry)

	var started sync.WaitGroup
	started.Add(2)
	s.udp = &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(s.serve), UDPSize: dns.MaxMsgSize, NotifyStartedFunc: started.Done}
	s.tcp = &dns.Server{Listener: streams, Handler: dns.HandlerFunc(s.serve), NotifyStartedFunc: started.Done}
	for _, server := range []*dns.Server{s.udp, s.tcp} {
		s.serving.Go(func() {
			if err := server.ActivateAndServe(); err != nil {
				s.faults.Add(1)
			}
		})
	}
	// Shutdown of a server that has not started is an error and would leave it
	// running, so Start ends when both have.
	started.Wait()
	return s, nil
}

// listen opens UDP and TCP on the same port.
func listen(addr string) (net.PacketConn, net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, nil, fmt.Errorf("port %q: want a number", port)
	}
	var config net.ListenConfig
	ctx := context.Background()
	for try := 1; ; try++ {
		packets, err := config.ListenPacket(ctx, "udp", net.JoinHostPort(host, port))
		if err != nil {
			return nil, nil, err
		}
		streams, err := config.Listen(ctx, "tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, streams, nil
		}
		err = errors.Join(err, packets.Close())
		if port != "0" || try == portTries {
			return nil, nil, err
		}
	}
}

// Addr is where the server listens, as host:port.
func (s *Server) Addr() string { return s.addr }

// Close stops the server and waits until nothing of it runs.
func (s *Server) Close() {
	s.close.Do(func() {
		close(s.closing)
		for _, server := range []*dns.Server{s.udp, s.tcp} {
			if err := server.Shutdown(); err != nil {
				s.faults.Add(1)
			}
		}
		s.serving.Wait()
	})
}

// serve answers one query; miekg/dns runs it in a goroutine of its own.
func (s *Server) serve(w dns.ResponseWriter, query *dns.Msg) {
	defer func() {
		// What a stranger sends to the port must not end the demo.
		if fault := recover(); fault != nil {
			s.faults.Add(1)
		}
	}()
	if len(query.Question) != 1 {
		s.send(w, query, new(dns.Msg).SetRcode(query, dns.RcodeFormatError))
		return
	}
	reply, how := s.zone.answer(query)
	if how.delay > 0 && !s.wait(how.delay) {
		return
	}
	if !how.dropped {
		s.send(w, query, reply)
	}
}

// wait is false when the server closes meanwhile.
func (s *Server) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.closing:
		return false
	}
}

// send cuts a reply to what the client takes over this transport.
func (s *Server) send(w dns.ResponseWriter, query, reply *dns.Msg) {
	reply.RecursionAvailable = true
	size := dns.MaxMsgSize
	if _, packets := w.RemoteAddr().(*net.UDPAddr); packets {
		size = dns.MinMsgSize
	}
	if opt := query.IsEdns0(); opt != nil {
		reply.SetEdns0(dns.DefaultMsgSize, opt.Do())
		if size != dns.MaxMsgSize {
			size = max(size, int(opt.UDPSize()))
		}
	}
	reply.Compress = true
	reply.Truncate(size)
	if err := w.WriteMsg(reply); err != nil {
		s.faults.Add(1)
	}
}
