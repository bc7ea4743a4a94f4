//go:build integration

package soak_test

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// nameServer makes its records up: a name says itself what becomes of queries for it,
// so that there can be as many names as there are messages. Below _domainkey a selector
// begins with hot or cold (the key is there), fails, silent or none.
type nameServer struct {
	address string
	records map[string]string // by the absolute name; a selector without its number
	outage  atomic.Int32      // one of the outages
	stable  atomic.Int64      // queries for stableName
}

// The ways in which all of DNS fails.
const (
	noOutage int32 = iota
	outageServFail
	outageRefused
	outageSilent
)

// stableName is one that DNS always knows, with a TTL longer than any test.
const (
	stableName = "hot._domainkey.stable.test."
	recordTTL  = 86400
)

func startNameServer(t *testing.T, records map[string]string) *nameServer {
	t.Helper()
	s := &nameServer{records: records}
	packets, streams := listenBoth(t)
	s.address = packets.LocalAddr().String()
	started := make(chan struct{}, 2)
	up := func() { started <- struct{}{} }
	for _, server := range []*dns.Server{
		{PacketConn: packets, Handler: dns.HandlerFunc(s.serve), NotifyStartedFunc: up},
		{Listener: streams, Handler: dns.HandlerFunc(s.serve), NotifyStartedFunc: up},
	} {
		go func() { _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return s
}

// listenBoth opens a free port for UDP and TCP.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		streams, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, streams
		}
		_ = packets.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (s *nameServer) serve(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable = true
	name := strings.ToLower(query.Question[0].Name)
	if name == stableName {
		s.stable.Add(1)
	}
	selector, domain, _ := strings.Cut(name, ".")
	word, _, _ := strings.Cut(selector, "-")
	record, known := s.records[word+"."+domain]
	switch outage := s.outage.Load(); {
	case outage == outageSilent || word == "silent":
		return
	case outage == outageServFail || word == "fails":
		reply.Rcode = dns.RcodeServerFailure
	case outage == outageRefused:
		reply.Rcode = dns.RcodeRefused
	case !known:
		reply.Rcode = dns.RcodeNameError
	default:
		rr := &dns.TXT{Hdr: dns.RR_Header{Name: query.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: recordTTL}}
		for len(record) > 255 {
			rr.Txt, record = append(rr.Txt, record[:255]), record[255:]
		}
		rr.Txt = append(rr.Txt, record)
		reply.Answer = []dns.RR{rr}
	}
	_ = w.WriteMsg(reply)
}
