//go:build integration

package integration_test

import (
	"crypto"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"

	"dkimd/internal/resolver"

	"github.com/miekg/dns"
)

// A real validating resolver on an address that is not loopback: names go out in random case and answers come back
// from its cache too, its AD bit and its Extended DNS Errors are read, and what is too long for UDP comes over TCP.
func TestUnboundOnAnotherAddress(t *testing.T) {
	t.Parallel()
	harness.Need(t, "unbound")
	signed, bogus, plain := newSignedZone(t, "signed.test."), newSignedZone(t, "bogus.test."), newSignedZone(t, "plain.test.")
	bogus.spoilt = true
	server, unbound := startUnbound(t, []*signedZone{signed, bogus, plain}, signed, bogus)
	for range 2 { // the second resolver has nothing in its own cache: Unbound answers from its
		r, err := resolver.New(resolver.Config{Servers: []string{server}, TrustAD: true})
		if err != nil {
			t.Fatal(err)
		}
		for name, authenticated := range map[string]bool{"key.signed.test": true, "long.signed.test": true, "key.plain.test": false, "long.plain.test": false} {
			answer, err := r.TXT(t.Context(), name)
			if err != nil || len(answer.Records) != 1 || answer.Records[0] != zoneRecord(name+".") || answer.Authenticated != authenticated {
				t.Errorf("%s: %d records, authenticated %v, %v", name, len(answer.Records), answer.Authenticated, err)
			}
		}
		var explained *resolver.Explained
		if _, err := r.TXT(t.Context(), "key.bogus.test"); !errors.Is(err, resolver.ErrServerFailure) || !errors.As(err, &explained) || explained.Words != "DNSSEC Bogus" {
			t.Errorf("bogus: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	const name = "long.signed.test."
	inAnyCase, asWritten := 0, 0
	for line := range strings.Lines(unbound.Log.String()) {
		inAnyCase += strings.Count(strings.ToLower(line), " "+name+" txt")
		asWritten += strings.Count(line, " "+name+" TXT")
	}
	if inAnyCase < 2 || asWritten == inAnyCase {
		t.Errorf("%d of %d queries had the name in lower case; Unbound said:\n%s", asWritten, inAnyCase, unbound.Log)
	}
}

// startUnbound has Unbound resolve the zones, and validate those that are anchored.
func startUnbound(t *testing.T, zones []*signedZone, anchored ...*signedZone) (address string, unbound *harness.Process) {
	t.Helper()
	authority := startZones(t, zones)
	host, port := otherAddress(t), harness.FreePort()
	var conf strings.Builder
	fmt.Fprintf(&conf, `server:
  interface: %s@%d
  access-control: 0.0.0.0/0 allow
  chroot: ""
  username: ""
  directory: %q
  pidfile: ""
  use-syslog: no
  log-queries: yes
  do-not-query-localhost: no
  qname-minimisation: no
  module-config: "validator iterator"
  ede: yes
  local-zone: "test." nodefault
`, host, port, t.TempDir())
	for _, z := range anchored {
		fmt.Fprintf(&conf, "  trust-anchor: %q\n", strings.ReplaceAll(z.key.ToDS(dns.SHA256).String(), "\t", " "))
	}
	conf.WriteString("remote-control:\n  control-enable: no\n")
	for _, z := range zones {
		fmt.Fprintf(&conf, "stub-zone:\n  name: %q\n  stub-addr: %s\n", z.name, authority)
	}
	file := filepath.Join(t.TempDir(), "unbound.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	unbound, err := harness.StartProcess("unbound", exec.Command("unbound", "-d", "-c", file))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unbound.Stop(syscall.SIGTERM, 5*time.Second) })
	address = netip.AddrPortFrom(host, uint16(port)).String()
	harness.Eventually(t, harness.WaitLimit, "unbound answers", func() bool { return harness.Accepts("tcp", address) })
	return address, unbound
}

// otherAddress is an address of this host that is not loopback.
func otherAddress(t *testing.T) netip.Addr {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() && !prefix.Addr().IsLoopback() {
			return prefix.Addr()
		}
	}
	harness.SkipOrFail(t, "this host has no IPv4 address but loopback")
	return netip.Addr{}
}

// signedZone is a zone with a TXT record at every name, and one key for all.
type signedZone struct {
	name   string
	key    *dns.DNSKEY
	signer crypto.Signer
	spoilt bool // its records are changed after they were signed
}

func newSignedZone(t *testing.T, name string) *signedZone {
	t.Helper()
	z := &signedZone{name: name, key: &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: name, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
		Flags: dns.ZONE | dns.SEP, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}}
	private, err := z.key.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	z.signer, _ = private.(crypto.Signer)
	return z
}

// zoneRecord is the record of a name.
func zoneRecord(name string) string {
	if strings.HasPrefix(name, "long.") {
		return strings.Repeat("v=DKIM1; p=", 300)
	}
	return "v=DKIM1; p=" + name
}

// answer is the signed record set of a name.
func (z *signedZone) answer(name string, kind uint16) ([]dns.RR, error) {
	var record dns.RR = z.key
	if kind == dns.TypeTXT {
		txt := &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 300}}
		for text := zoneRecord(name); text != ""; text = text[min(len(text), 255):] {
			txt.Txt = append(txt.Txt, text[:min(len(text), 255)])
		}
		record = txt
	}
	now := time.Now()
	signature := &dns.RRSIG{
		Hdr:        dns.RR_Header{Name: name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: 300},
		Inception:  uint32(now.Add(-time.Hour).Unix()),
		Expiration: uint32(now.Add(time.Hour).Unix()),
		KeyTag:     z.key.KeyTag(), SignerName: z.name, Algorithm: z.key.Algorithm,
	}
	err := signature.Sign(z.signer, []dns.RR{record})
	if txt, ok := record.(*dns.TXT); ok && z.spoilt {
		txt.Txt[0] += "x"
	}
	return []dns.RR{record, signature}, err
}

// startZones serves the zones over UDP and TCP, as unbound.conf writes the address.
func startZones(t *testing.T, zones []*signedZone) string {
	t.Helper()
	serve := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Authoritative = true
		name, kind := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
		for _, z := range zones {
			if !dns.IsSubDomain(z.name, name) || kind != dns.TypeTXT && (kind != dns.TypeDNSKEY || name != z.name) {
				continue
			}
			var err error
			if m.Answer, err = z.answer(name, kind); err != nil {
				t.Error(err)
			}
		}
		m.SetEdns0(1232, true)
		if w.LocalAddr().Network() == "udp" {
			m.Truncate(1232)
		}
		_ = w.WriteMsg(m)
	})
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort())
	for _, network := range []string{"udp", "tcp"} {
		ready := make(chan struct{})
		server := &dns.Server{Addr: address, Net: network, Handler: serve, NotifyStartedFunc: func() { close(ready) }}
		failed := make(chan error, 1)
		go func() { failed <- server.ListenAndServe() }()
		select {
		case <-ready:
		case err := <-failed:
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return strings.Replace(address, ":", "@", 1)
}
