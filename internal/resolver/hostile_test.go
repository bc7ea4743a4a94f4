package resolver_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"dkimd/internal/resolver"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// TestPacketsThatAreNoAnswerAreIgnored sends something before the answer, as a
// forger would who has to be first. It must neither be believed nor fail the lookup.
func TestPacketsThatAreNoAnswerAreIgnored(t *testing.T) {
	t.Parallel()
	forged := func(change func(*dns.Msg)) func(heard) {
		return func(h heard) {
			h.reply(h.message(func(m *dns.Msg) {
				m.Answer = []dns.RR{txtOf(m.Question[0].Name, "forged")}
				change(m)
			}))
		}
	}
	tests := map[string]func(heard){
		"wrong id":       forged(func(m *dns.Msg) { m.Id++ }),
		"other name":     forged(func(m *dns.Msg) { m.Question[0].Name = "s2._domainkey.example.org." }),
		"longer name":    forged(func(m *dns.Msg) { m.Question[0].Name += "example." }),
		"shorter name":   forged(func(m *dns.Msg) { m.Question[0].Name = "s1._domainkey.example." }),
		"parent":         forged(func(m *dns.Msg) { m.Question[0].Name = "_domainkey.example.org." }),
		"dots in labels": forged(func(m *dns.Msg) { m.Question[0].Name = `s1\._domainkey.example.org.` }),
		"other type":     forged(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }),
		"other class":    forged(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		"two questions":  forged(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }),
		"no question":    forged(func(m *dns.Msg) { m.Question = nil }),
		"no question, NXDOMAIN": forged(func(m *dns.Msg) {
			m.Question, m.Answer, m.Rcode = nil, nil, dns.RcodeNameError
		}),
		"a query":          forged(func(m *dns.Msg) { m.Response = false }),
		"an update":        forged(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }),
		"nothing":          func(h heard) { h.reply(nil) },
		"11 octets":        func(h heard) { h.reply(h.txt("forged")[:11]) },
		"header only":      func(h heard) { h.reply(h.txt("forged")[:12]) },
		"half a name":      func(h heard) { h.reply(h.txt("forged")[:20]) },
		"no class":         func(h heard) { h.reply(h.query[:12+len(keyName)+2+2]) },
		"the query itself": func(h heard) { h.reply(h.query) },
		"junk":             func(h heard) { h.reply(bytes.Repeat([]byte{0xc0}, 4096)) },
		"15 wrong ids": func(h heard) {
			for i := range uint16(15) {
				h.reply(h.message(func(m *dns.Msg) { m.Id += i + 1 }))
			}
		},
		// The socket is connected: these have the right id and question.
		"other source": func(h heard) { h.stranger(h.txt("forged")) },
		"100 from another source": func(h heard) {
			for range 100 {
				h.stranger(h.txt("forged"))
			}
		},
	}
	for name, before := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startHostile(t, func(h heard) {
				before(h)
				h.reply(h.txt("true"))
			})
			answer, err := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough}).TXT(t.Context(), keyName)
			if err != nil || !cmp.Equal(answer.Records, []string{"true"}) {
				t.Errorf("got %q, %v", answer.Records, err)
			}
			if server.udp.Load() != 1 || server.tcp.Load() != 0 {
				t.Errorf("%d queries over UDP, %d over TCP; want the first one only", server.udp.Load(), server.tcp.Load())
			}
		})
	}
}

// TestRecordsOfOtherNamesAreNotTaken: the answer section may hold anything.
func TestRecordsOfOtherNamesAreNotTaken(t *testing.T) {
	t.Parallel()
	server := startHostile(t, func(h heard) {
		h.reply(h.message(func(m *dns.Msg) {
			chaos := txtOf(m.Question[0].Name, "forged")
			chaos.Header().Class = dns.ClassCHAOS
			m.Answer = []dns.RR{
				txtOf("s2._domainkey.example.org.", "forged"), txtOf("example.org.", "forged"), txtOf("s1._domainkey.example.", "forged"), txtOf(`s1\._domainkey.example.org.`, "forged"), chaos,
				txtOf("S1._DOMAINKEY.example.ORG.", "true"),
				cnameOf("other.example.org.", "forged.example.org."), txtOf("forged.example.org.", "forged"),
			}
			m.Ns = []dns.RR{txtOf(m.Question[0].Name, "forged")}
			m.Extra = []dns.RR{txtOf(m.Question[0].Name, "forged")}
		}))
	})
	answer, err := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough}).TXT(t.Context(), keyName)
	if err != nil || !cmp.Equal(answer.Records, []string{"true"}) {
		t.Errorf("got %q, %v", answer.Records, err)
	}
}

// TestGuessedIDsMoveTheQueryToTCP: who floods our port with ids would hit the
// right one in the end. TCP can't be guessed into.
func TestGuessedIDsMoveTheQueryToTCP(t *testing.T) {
	t.Parallel()
	server := startHostile(t, func(h heard) {
		if h.network == "tcp" {
			h.reply(h.txt("true"))
			return
		}
		for i := range uint16(200) {
			h.reply(h.message(func(m *dns.Msg) { m.Id += i + 1 }))
		}
		h.reply(h.txt("guessed"))
	})
	answer, err := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough}).TXT(t.Context(), keyName)
	if err != nil || !cmp.Equal(answer.Records, []string{"true"}) {
		t.Errorf("got %q, %v", answer.Records, err)
	}
}

// TestPortsAndIDsAreRandom: RFC 5452 section 9.2.
func TestPortsAndIDsAreRandom(t *testing.T) {
	t.Parallel()
	const lookups = 20
	type sent struct {
		id   uint16
		from string
	}
	queries := make(chan sent, 10*lookups)
	server := startHostile(t, func(h heard) {
		queries <- sent{uint16(h.query[0])<<8 | uint16(h.query[1]), h.from}
		h.reply(h.txt("key"))
	})
	r := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough})
	ids, ports := make(map[uint16]bool), make(map[string]bool)
	for i := range lookups {
		if _, err := r.TXT(t.Context(), string(rune('a'+i))+".example.org"); err != nil {
			t.Error(err)
		}
		q := <-queries
		ids[q.id], ports[q.from] = true, true
	}
	if len(ids) < lookups-2 || len(ports) < lookups-2 {
		t.Errorf("%d ids and %d ports in %d queries", len(ids), len(ports), lookups)
	}
}

// TestHostileStreamsEndInTime: TCP servers that announce and do not deliver.
func TestHostileStreamsEndInTime(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		tcp   func(heard)
		cause error
	}{
		"half a length":    {func(h heard) { h.raw([]byte{0}) }, resolver.ErrTimeout},
		"64 KiB announced": {func(h heard) { h.raw([]byte{0xff, 0xff, 0}) }, resolver.ErrTimeout},
		"all but the last octet": {func(h heard) {
			packet := h.txt("key")
			h.raw(append([]byte{0, byte(len(packet))}, packet[:len(packet)-1]...))
		}, resolver.ErrTimeout},
		"hangs up":                {func(h heard) { h.hangUp() }, resolver.ErrNetwork},
		"hangs up in an answer":   {func(h heard) { h.raw([]byte{0, 200, 1, 2, 3}); h.hangUp() }, resolver.ErrNetwork},
		"silence":                 {func(heard) {}, resolver.ErrTimeout},
		"empty message":           {func(h heard) { h.reply(nil) }, resolver.ErrMalformed},
		"wrong id":                {func(h heard) { h.reply(h.message(func(m *dns.Msg) { m.Id++ })) }, resolver.ErrMalformed},
		"64 KiB of nothing":       {func(h heard) { h.reply(make([]byte, 65535)) }, resolver.ErrMalformed},
		"64 KiB after the header": {func(h heard) { h.reply(append(h.txt("x"), make([]byte, 60000)...)) }, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startHostile(t, func(h heard) {
				if h.network == "udp" {
					h.reply(h.message(func(m *dns.Msg) { m.Truncated = true }))
					return
				}
				test.tcp(h)
			})
			start := time.Now()
			_, err := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: 300 * time.Millisecond}).TXT(t.Context(), keyName)
			if !errors.Is(err, test.cause) {
				t.Errorf("got %v; want %v", err, test.cause)
			}
			if took := time.Since(start); took > enough {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestAliasesWithoutEndEnd: each answer is an alias to a name never seen.
func TestAliasesWithoutEndEnd(t *testing.T) {
	t.Parallel()
	var queries atomic.Int64
	server := startHostile(t, func(h heard) {
		target := fmt.Sprintf("n%d.example.org.", queries.Add(1))
		h.reply(h.message(func(m *dns.Msg) { m.Answer = []dns.RR{cnameOf(m.Question[0].Name, target)} }))
	})
	_, err := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough}).TXT(t.Context(), keyName)
	if !errors.Is(err, resolver.ErrAlias) || !errors.Is(err, resolver.ErrTemporary) {
		t.Errorf("got %v; want %v", err, resolver.ErrAlias)
	}
	if got := queries.Load(); got != 9 {
		t.Errorf("%d queries; want 9: one more than aliases are followed", got)
	}
}
