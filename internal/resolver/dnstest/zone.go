package dnstest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	defaultTTL = 300 // seconds, of records given without one
	// negativeTTL is the SOA minimum of names under no SOA of SetZone, in seconds.
	negativeTTL = 30
	maxAliases  = 16
	maxString   = 255 // octets, RFC 1035 section 3.3
)

// zone is all that the server knows, by absolute name in lower case.
type zone struct {
	mu    sync.Mutex
	names map[string]*entry
}

// entry is one name: its records and how queries for it are answered.
type entry struct {
	records []dns.RR
	how     manner
	queries int
}

// manner is how a query is answered, whatever the records say.
type manner struct {
	rcode         int
	delay         time.Duration
	dropped       bool
	authenticated bool
}

// SetTXT makes one TXT record, the concatenation of the strings (longer ones
// than 255 octets are split), all that the name holds, and ends SetRcode and Drop.
func (s *Server) SetTXT(name string, strings ...string) {
	s.zone.change(name, func(e *entry) {
		e.how.rcode, e.how.dropped = dns.RcodeSuccess, false
		e.records = []dns.RR{txt(name, strings)}
	})
}

// AddTXT adds one TXT record to what the name holds.
func (s *Server) AddTXT(name string, strings ...string) {
	s.zone.change(name, func(e *entry) { e.records = append(e.records, txt(name, strings)) })
}

// SetZone takes records in zone-file form (RFC 1035 section 5.1); relative
// names are under the root, the default TTL is 300. A name in it loses what it
// held before. On a syntax error nothing changes.
func (s *Server) SetZone(text string) error {
	parser := dns.NewZoneParser(strings.NewReader(text), ".", "")
	parser.SetDefaultTTL(defaultTTL)
	var records []dns.RR
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		records = append(records, rr)
	}
	if err := parser.Err(); err != nil {
		return fmt.Errorf("dnstest: zone: %w", err)
	}
	replaced := make(map[string]bool)
	for _, rr := range records {
		name := dns.CanonicalName(rr.Header().Name)
		s.zone.change(name, func(e *entry) {
			if !replaced[name] {
				replaced[name] = true
				e.records = nil
				e.how.rcode, e.how.dropped = dns.RcodeSuccess, false
			}
			e.records = append(e.records, rr)
		})
	}
	return nil
}

// SetRcode answers all queries for a name with a code such as
// dns.RcodeServerFailure and no records; dns.RcodeSuccess ends that.
func (s *Server) SetRcode(name string, rcode int) {
	s.zone.change(name, func(e *entry) { e.how.rcode = rcode })
}

// SetDelay holds answers for a name back.
func (s *Server) SetDelay(name string, d time.Duration) {
	s.zone.change(name, func(e *entry) { e.how.delay = d })
}

// SetAuthenticated sets the AD bit (RFC 4035 section 3.2.3) in answers for a name.
func (s *Server) SetAuthenticated(name string) {
	s.zone.change(name, func(e *entry) { e.how.authenticated = true })
}

// Drop leaves queries for a name without an answer.
func (s *Server) Drop(name string) {
	s.zone.change(name, func(e *entry) { e.how.dropped = true })
}

// Delete forgets all about a name but the count of its queries.
func (s *Server) Delete(name string) {
	s.zone.change(name, func(e *entry) { *e = entry{queries: e.queries} })
}

// Queries is how many queries came for a name, over both transports.
func (s *Server) Queries(name string) int {
	count := 0
	s.zone.change(name, func(e *entry) { count = e.queries })
	return count
}

// change does something with the entry of a name under the lock.
func (z *zone) change(name string, do func(*entry)) {
	name = dns.CanonicalName(name)
	z.mu.Lock()
	defer z.mu.Unlock()
	e := z.names[name]
	if e == nil {
		e = new(entry)
		z.names[name] = e
	}
	do(e)
}

// answer makes the reply to a query with one question and counts it.
func (z *zone) answer(query *dns.Msg) (*dns.Msg, manner) {
	question := query.Question[0]
	var how manner
	z.change(question.Name, func(e *entry) {
		e.queries++
		how = e.how
	})
	reply := new(dns.Msg).SetReply(query)
	reply.AuthenticatedData = how.authenticated
	reply.Rcode = how.rcode

	z.mu.Lock()
	defer z.mu.Unlock()
	name := dns.CanonicalName(question.Name)
	if reply.Rcode == dns.RcodeSuccess {
		name = z.follow(reply, name, question.Qtype)
	}
	// A negative answer carries the SOA of its zone (RFC 2308 section 3), and so
	// does an alias whose target has nothing to say.
	negative := reply.Rcode == dns.RcodeNameError ||
		reply.Rcode == dns.RcodeSuccess && !slices.ContainsFunc(reply.Answer, isType(question.Qtype))
	if negative {
		reply.Ns = append(reply.Ns, z.authority(name))
	}
	return reply, how
}

// follow adds the records of a name and of what it is an alias of, and returns
// the name at the end of the chain.
func (z *zone) follow(reply *dns.Msg, name string, qtype uint16) string {
	for range maxAliases {
		e := z.names[name]
		if e == nil || len(e.records) == 0 {
			if !z.within(name) {
				reply.Rcode = dns.RcodeNameError
			}
			return name
		}
		if own := filter(e.records, qtype); len(own) > 0 {
			reply.Answer = append(reply.Answer, own...)
			return name
		}
		alias := filter(e.records, dns.TypeCNAME)
		if len(alias) == 0 {
			return name
		}
		reply.Answer = append(reply.Answer, alias...)
		if target, ok := alias[0].(*dns.CNAME); ok {
			name = dns.CanonicalName(target.Target)
		}
	}
	return name
}

// within reports whether there are records below a name: it exists then, empty
// (RFC 8020 section 2).
func (z *zone) within(name string) bool {
	for other, e := range z.names {
		if len(e.records) > 0 && dns.IsSubDomain(name, other) {
			return true
		}
	}
	return false
}

// authority is the nearest SOA above a name, or a made-up one of the root.
func (z *zone) authority(name string) dns.RR {
	for above := name; ; {
		if e := z.names[above]; e != nil {
			if soa := filter(e.records, dns.TypeSOA); len(soa) > 0 {
				return soa[0]
			}
		}
		if above == "." {
			break
		}
		_, rest, _ := strings.Cut(above, ".")
		above = dns.Fqdn(rest)
	}
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: defaultTTL},
		Ns:  "ns.invalid.", Mbox: "hostmaster.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: negativeTTL,
	}
}

func isType(rrtype uint16) func(dns.RR) bool {
	return func(rr dns.RR) bool { return rr.Header().Rrtype == rrtype }
}

// filter returns the records of a type, as copies: those of one name share no
// memory with a reply that is being written.
func filter(records []dns.RR, rrtype uint16) []dns.RR {
	var found []dns.RR
	for _, rr := range records {
		if rr.Header().Rrtype == rrtype {
			found = append(found, dns.Copy(rr))
		}
	}
	return found
}

// txt makes one record of strings, in the escaped form miekg/dns packs from.
func txt(name string, texts []string) dns.RR {
	var parts []string
	for _, text := range texts {
		for len(text) > maxString {
			parts = append(parts, text[:maxString])
			text = text[maxString:]
		}
		parts = append(parts, text)
	}
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], `\`, `\\`)
	}
	return &dns.TXT{
		Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: defaultTTL},
		Txt: parts,
	}
}
