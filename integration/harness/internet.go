package harness

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Internet is the DNS of one test: a server with the zone test., which delegates zones to the name servers of the
// test, and an Unbound that finds them from there and keeps what they say as long as they let it.
// All have addresses of their own in 127.0.0.0/8 and listen on port 53, where delegations are followed to.
type Internet struct {
	Resolver string // its address

	net  [2]byte
	mu   sync.Mutex
	last byte
	cuts map[string][]dns.RR // name servers of a zone, with their addresses
}

// NewInternet starts what is there of DNS before the test starts its name servers.
func NewInternet(t *testing.T) *Internet {
	t.Helper()
	Need(t, "unbound")
	if os.Geteuid() != 0 {
		SkipOrFail(t, "only root may listen on port 53")
	}
	in := &Internet{cuts: map[string][]dns.RR{}}
	for range 20 {
		in.net = [2]byte{byte(64 + rand.IntN(128)), byte(rand.IntN(256))}
		in.last = 0
		if in.parent(t) == nil {
			in.resolve(t)
			return in
		}
	}
	SkipOrFail(t, "no address with a free port 53: does a name server listen on all of them?")
	return nil
}

// Address is an address that nobody else has.
func (in *Internet) Address() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.last++
	return netip.AddrFrom4([4]byte{127, in.net[0], in.net[1], in.last}).String()
}

// Delegate has the parent's server name these addresses as the name servers ns1, ns2... of a zone.
func (in *Internet) Delegate(zone string, addresses ...string) {
	var cut []dns.RR
	for i, address := range addresses {
		name := fmt.Sprintf("ns%d.%s.", i+1, zone)
		cut = append(cut,
			&dns.NS{Hdr: dns.RR_Header{Name: zone + ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: name},
			&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(address)})
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.cuts[zone+"."] = cut
}

// parent serves the zone test.
func (in *Internet) parent(t *testing.T) error {
	t.Helper()
	address := in.Address()
	const zone = "test. 60 IN "
	own := make([]dns.RR, 0, 3)
	for _, record := range []string{zone + "SOA ns.test. host.test. 1 60 60 600 1", zone + "NS ns.test.", "ns." + zone + "A " + address} {
		rr, err := dns.NewRR(record)
		if err != nil {
			return err
		}
		own = append(own, rr)
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Authoritative = true
		name := dns.CanonicalName(q.Question[0].Name)
		in.mu.Lock()
		defer in.mu.Unlock()
		for zone, cut := range in.cuts {
			if dns.IsSubDomain(zone, name) && (name != zone || q.Question[0].Qtype != dns.TypeDS) {
				m.Authoritative = false
				for _, rr := range cut {
					if rr.Header().Rrtype == dns.TypeNS {
						m.Ns = append(m.Ns, rr)
					} else {
						m.Extra = append(m.Extra, rr)
					}
				}
			}
		}
		for _, rr := range own {
			if rr.Header().Name == name && rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if m.Authoritative && len(m.Answer) == 0 {
			m.Ns = own[:1]
		}
		_ = w.WriteMsg(m)
	})
	packets, err := net.ListenPacket("udp", address+":53")
	if err != nil {
		return err
	}
	streams, err := net.Listen("tcp", address+":53")
	if err != nil {
		_ = packets.Close()
		return err
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: answer}, {Listener: streams, Handler: answer}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return nil
}

// resolve starts Unbound. A server that was down is asked again after a second.
func (in *Internet) resolve(t *testing.T) {
	t.Helper()
	above, address, dir := netip.AddrFrom4([4]byte{127, in.net[0], in.net[1], 1}).String(), in.Address(), t.TempDir()
	conf := fmt.Sprintf(`server:
  interface: %s
  port: 53
  outgoing-interface: %[1]s
  access-control: 127.0.0.0/8 allow
  chroot: ""
  username: ""
  directory: %q
  pidfile: ""
  use-syslog: no
  do-not-query-localhost: no
  do-ip6: no
  num-threads: 1
  infra-host-ttl: 1
  module-config: "iterator"
  local-zone: "test." nodefault
remote-control:
  control-enable: no
stub-zone:
  name: "test."
  stub-addr: %s
`, address, dir, above)
	file := filepath.Join(dir, "unbound.conf")
	start(t, address, file, conf, "unbound", "-d", "-c", file)
	in.Resolver = address
}

// start starts a server with a configuration, and waits until it takes connections.
func start(t *testing.T, address, file, conf, program string, args ...string) *Process {
	t.Helper()
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := StartProcess(program, exec.Command(program, args...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop(syscall.SIGTERM, 5*time.Second)
		if t.Failed() {
			_, said, _ := strings.Cut(p.Log.String(), "using default UDP/IPv6") // BIND begins with a page about itself
			t.Logf("%s at %s said:\n%s", program, address, cmp.Or(said, p.Log.String()))
		}
	})
	if !Poll(WaitLimit, func() bool { return p.Ended() || Accepts("tcp", address+":53") }) || p.Ended() {
		t.Fatalf("%s does not start:\n%s", program, p.Log)
	}
	return p
}
