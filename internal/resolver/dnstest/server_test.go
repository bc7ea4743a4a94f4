package dnstest_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/resolver/dnstest"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

const name = "s1._domainkey.example.org"

func start(t *testing.T) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// ask sends one query; size 0 leaves EDNS0 out.
func ask(t *testing.T, s *dnstest.Server, network, name string, size uint16) *dns.Msg {
	t.Helper()
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT)
	if size > 0 {
		query.SetEdns0(size, false)
	}
	client := dns.Client{Net: network, UDPSize: dns.MaxMsgSize, Timeout: 20 * time.Second}
	reply, _, err := client.Exchange(query, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// texts are the TXT records of a reply, each joined.
func texts(reply *dns.Msg) []string {
	var found []string
	for _, rr := range reply.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			found = append(found, strings.Join(txt.Txt, ""))
		}
	}
	return found
}

func TestAnswersOverBothTransports(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.SetTXT(name, "v=DKIM1;", " p=abc")
	s.AddTXT(strings.ToUpper(name)+".", "other")
	for _, network := range []string{"udp", "tcp"} {
		reply := ask(t, s, network, "S1._domainKEY.example.org", 1232)
		if diff := cmp.Diff([]string{"v=DKIM1; p=abc", "other"}, texts(reply)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", network, diff)
		}
		if !reply.RecursionAvailable || reply.AuthenticatedData || reply.Rcode != dns.RcodeSuccess {
			t.Errorf("%s: got %+v", network, reply.MsgHdr)
		}
	}
	if got := s.Queries(name); got != 2 {
		t.Errorf("%d queries counted; want 2", got)
	}
	s.SetTXT(name, "only")
	if got := texts(ask(t, s, "udp", name, 0)); !cmp.Equal(got, []string{"only"}) {
		t.Errorf("got %q after SetTXT", got)
	}
}

func TestLongStringsAreSplit(t *testing.T) {
	t.Parallel()
	s := start(t)
	long := strings.Repeat("0123456789", 60)
	s.SetTXT(name, long, "end")
	reply := ask(t, s, "tcp", name, 0)
	txt, ok := reply.Answer[0].(*dns.TXT)
	if !ok || !cmp.Equal(txt.Txt, []string{long[:255], long[255:510], long[510:], "end"}) {
		t.Errorf("got %v", reply.Answer)
	}
}

func TestUDPIsTruncatedToWhatTheClientTakes(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.SetTXT(name, strings.Repeat("x", 900))
	for _, test := range []struct {
		network   string
		size      uint16
		truncated bool
	}{
		{"udp", 0, true}, {"udp", 512, true}, {"udp", 1232, false}, {"tcp", 0, false},
	} {
		reply := ask(t, s, test.network, name, test.size)
		if reply.Truncated != test.truncated || len(texts(reply)) == 0 != test.truncated {
			t.Errorf("%s %d: truncated is %t with %d records", test.network, test.size, reply.Truncated, len(reply.Answer))
		}
	}
}

func TestNegativeAnswersHaveSOA(t *testing.T) {
	t.Parallel()
	s := start(t)
	if err := s.SetZone(`
example.org. 600 SOA ns.example.org. root.example.org. 1 2 3 4 77
a.example.org. A 192.0.2.1
b.example.org. CNAME gone.example.org.
c.b.a.example.net. TXT x
`); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		rcode   int
		minimum uint32
	}{
		"none.example.org":    {dns.RcodeNameError, 77},
		"a.example.org":       {dns.RcodeSuccess, 77},
		"b.example.org":       {dns.RcodeNameError, 77},
		"example.org":         {dns.RcodeSuccess, 77},
		"b.a.example.net":     {dns.RcodeSuccess, 30}, // RFC 8020: there is a name below
		"x.c.b.a.example.net": {dns.RcodeNameError, 30},
		"example.com":         {dns.RcodeNameError, 30},
	}
	for name, want := range tests {
		reply := ask(t, s, "udp", name, 1232)
		if reply.Rcode != want.rcode || len(texts(reply)) != 0 || len(reply.Ns) != 1 {
			t.Errorf("%s: got %v", name, reply)
			continue
		}
		if soa, ok := reply.Ns[0].(*dns.SOA); !ok || soa.Minttl != want.minimum {
			t.Errorf("%s: got %v; want minimum %d", name, reply.Ns[0], want.minimum)
		}
	}
}

func TestAliasesAreFollowed(t *testing.T) {
	t.Parallel()
	s := start(t)
	if err := s.SetZone("a.example.org. CNAME B.example.org.\nb.example.org. CNAME c.example.org.\nc.example.org. TXT found\nloop.example.org. CNAME loop.example.org."); err != nil {
		t.Fatal(err)
	}
	reply := ask(t, s, "udp", "a.example.org", 1232)
	if len(reply.Answer) != 3 || !cmp.Equal(texts(reply), []string{"found"}) || len(reply.Ns) != 0 {
		t.Errorf("got %v", reply)
	}
	if reply := ask(t, s, "tcp", "loop.example.org", 1232); len(reply.Answer) == 0 || len(texts(reply)) != 0 {
		t.Errorf("loop: got %v", reply)
	}
}

func TestMannersApplyToOneName(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.SetTXT(name, "key")
	s.SetTXT("other.example.org", "other")
	s.SetAuthenticated(name)
	if !ask(t, s, "udp", name, 0).AuthenticatedData || ask(t, s, "udp", "other.example.org", 0).AuthenticatedData {
		t.Error("AD is set for the wrong name")
	}
	s.SetRcode(name, dns.RcodeServerFailure)
	if reply := ask(t, s, "udp", name, 0); reply.Rcode != dns.RcodeServerFailure || len(reply.Answer) != 0 {
		t.Errorf("got %v; want SERVFAIL", reply)
	}
	if reply := ask(t, s, "udp", "other.example.org", 0); reply.Rcode != dns.RcodeSuccess {
		t.Errorf("other name: got %v", reply)
	}
	s.SetRcode(name, dns.RcodeSuccess)
	if got := texts(ask(t, s, "udp", name, 0)); !cmp.Equal(got, []string{"key"}) {
		t.Errorf("after SetRcode(success): got %q", got)
	}
	s.SetDelay(name, 50*time.Millisecond)
	begun := time.Now()
	ask(t, s, "udp", name, 0)
	if took := time.Since(begun); took < 50*time.Millisecond {
		t.Errorf("took %v; want a delay of 50 ms", took)
	}
	s.Drop(name)
	client := dns.Client{Timeout: 100 * time.Millisecond}
	if _, _, err := client.Exchange(new(dns.Msg).SetQuestion(name+".", dns.TypeTXT), s.Addr()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("dropped: got %v; want silence", err)
	}
	before := s.Queries(name)
	s.Delete(name)
	if reply := ask(t, s, "udp", name, 0); reply.Rcode != dns.RcodeNameError {
		t.Errorf("deleted: got %v", reply)
	}
	if got := s.Queries(name); got != before+1 {
		t.Errorf("%d queries counted after Delete; want %d", got, before+1)
	}
}

func TestFaultyZoneChangesNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.SetTXT(name, "key")
	if err := s.SetZone(name + ". TXT new\n$INCLUDE /etc/passwd\n"); err == nil {
		t.Error("no error for a file to include")
	}
	if err := s.SetZone(name + ". TXT new\nthis is no record\n"); err == nil {
		t.Error("no error for a line that is no record")
	}
	if got := texts(ask(t, s, "udp", name, 0)); !cmp.Equal(got, []string{"key"}) {
		t.Errorf("got %q", got)
	}
}

func TestStartRefusesWhatItCannotServe(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, addr := range []string{s.Addr(), "127.0.0.1", "127.0.0.1:domain", "192.0.2.1:0", ""} {
		if other, err := dnstest.Start(addr); err == nil {
			other.Close()
			t.Errorf("%q: no error", addr)
		}
	}
	// A port that TCP has not is given back to UDP.
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if other, err := dnstest.Start(taken.Addr().String()); err == nil {
		other.Close()
		t.Error("no error for a port that TCP has not")
	}
	packets, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", taken.Addr().String())
	if err != nil {
		t.Errorf("the UDP port is still held: %v", err)
	} else {
		_ = packets.Close()
	}
}

func TestCloseEndsDelayedAnswers(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.SetDelay(name, time.Hour)
	var clients sync.WaitGroup
	for _, network := range []string{"udp", "tcp"} {
		clients.Go(func() {
			client := dns.Client{Net: network, Timeout: 200 * time.Millisecond}
			if reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name+".", dns.TypeTXT), s.Addr()); err == nil {
				t.Errorf("%s: got %v", network, reply)
			}
		})
	}
	clients.Wait()
	begun := time.Now()
	s.Close()
	s.Close()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
}

// TestHostilePacketsDoNotEndTheServer: the demo's port is open to all of the host.
func TestHostilePacketsDoNotEndTheServer(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.SetTXT(name, "key")
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	none := &dns.Msg{MsgHdr: dns.MsgHdr{Id: 1}}
	two := &dns.Msg{Question: []dns.Question{{Name: "a.", Qtype: dns.TypeTXT, Qclass: dns.ClassINET}, {Name: "b.", Qtype: dns.TypeTXT, Qclass: dns.ClassINET}}}
	for _, msg := range []*dns.Msg{none, two} {
		packed, err := msg.Pack()
		if err != nil {
			t.Fatal(err)
		}
		for cut := range packed {
			if _, err := conn.Write(packed[:cut+1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := texts(ask(t, s, "udp", name, 0)); !cmp.Equal(got, []string{"key"}) {
		t.Errorf("got %q", got)
	}
}
