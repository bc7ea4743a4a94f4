package resolver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"dkimd/internal/cputime"
)

const asked = "s1._domainkey.example.org."

var asks = question{id: 1, name: asked, rrtype: TXT}

// packed is a compressed answer for asked with records in zone-file form.
func packed(tb testing.TB, records ...string) []byte {
	tb.Helper()
	m := new(dns.Msg).SetQuestion(asked, dns.TypeTXT)
	m.Id, m.Response, m.RecursionAvailable, m.Compress = 1, true, true, true
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			tb.Fatal(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	m.SetEdns0(1232, false)
	msg, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return msg
}

// TestParseReplyCutAnywhereIsMalformed: no prefix of an answer is an answer.
func TestParseReplyCutAnywhereIsMalformed(t *testing.T) {
	t.Parallel()
	msg := packed(t, asked+" CNAME k.example.net.", "k.example.net. TXT a b c", "example.org. SOA a. b. 1 2 3 4 5")
	if rep, err := parseReply(msg, asks); err != nil || !cmp.Equal(rep.records, []string{"abc"}) || rep.target != "k.example.net" || !rep.soa {
		t.Fatalf("whole: got %+v, %v", rep, err)
	}
	for cut := headerSize; cut < len(msg); cut++ {
		q := asks
		if !q.answeredBy(msg[:cut]) {
			continue
		}
		if rep, err := parseReply(msg[:cut], asks); !errors.Is(err, ErrMalformed) {
			t.Errorf("first %d of %d octets: got %+v, %v", cut, len(msg), rep, err)
		}
	}
}

// TestPointersEnd: names that refer to themselves, forwards, or on and on.
func TestPointersEnd(t *testing.T) {
	t.Parallel()
	long := []byte{0}
	for off := 0; off < 0x3ffc; {
		ptr := off
		off = len(long)
		long = append(long, 0xc0|byte(ptr>>8), byte(ptr))
	}
	tests := map[string]struct {
		msg  []byte
		off  int
		name string
	}{
		"to itself":          {[]byte{0xc0, 0}, 0, ""},
		"to each other":      {[]byte{0xc0, 2, 0xc0, 0}, 2, ""},
		"forwards":           {[]byte{0xc0, 2, 1, 'a', 0}, 0, "a."},
		"past the end":       {[]byte{0xff, 0xff}, 0, ""},
		"half a pointer":     {[]byte{0xc0}, 0, ""},
		"label past the end": {[]byte{5, 'a'}, 0, "aaaaa."},
		"no end":             {[]byte{1, 'a'}, 0, "a."},
		"extended label":     {[]byte{0x41, 'a', 0}, 0, "a."},
		"8190 pointers":      {long, len(long) - 2, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if sameName(test.msg, test.off, test.name) {
				t.Error("taken for the name")
			}
		})
	}
}

// TestHostileAnswerIsCheap: 64 KiB of records whose owners are chains of
// pointers, with aliases that make us go over them again and again.
func TestHostileAnswerIsCheap(t *testing.T) {
	t.Parallel()
	var records []string
	target := asked
	for i := range maxAliases - 1 {
		next := fmt.Sprintf("a%d.example.org.", i)
		records = append(records, target+" CNAME "+next)
		target = next
	}
	msg := packed(t, records...)
	// The last alias's owner at the far end of the longest chain of pointers.
	owner := bytes.LastIndex(msg, []byte("\x02a5"))
	msg = msg[:len(msg)-11] // OPT
	count := len(records)
	for range maxPointers {
		msg = appendRecord(msg, owner, dns.TypeTXT, []byte{1, 'x'})
		owner = len(msg) - fixedSize - 4
		count++
	}
	for len(msg)+fixedSize+4 <= dns.MaxMsgSize {
		msg = appendRecord(msg, owner, dns.TypeTXT, []byte{1, 'x'})
		count++
	}
	binary.BigEndian.PutUint16(msg[6:], uint16(count))
	binary.BigEndian.PutUint16(msg[10:], 0)
	var (
		rep reply
		err error
	)
	took := cputime.Of(func() { rep, err = parseReply(msg, asks) })
	if err != nil || rep.aliases != maxAliases-2 && rep.aliases != maxAliases-1 {
		t.Errorf("got %+v, %v", rep, err)
	}
	t.Logf("%d records, %v", count, took)
	if took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

func appendRecord(msg []byte, owner int, rrtype uint16, data []byte) []byte {
	msg = binary.BigEndian.AppendUint16(msg, 0xc000|uint16(owner&0x3fff))
	msg = binary.BigEndian.AppendUint16(msg, rrtype)
	msg = binary.BigEndian.AppendUint16(msg, dns.ClassINET)
	msg = binary.BigEndian.AppendUint32(msg, 300)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(data)))
	return append(msg, data...)
}

// FuzzReply: no panic and bounded results whatever comes; and of what miekg/dns
// makes of a message it reads the same records as we do. (Of the message itself
// it may read more: it follows pointers forwards, against RFC 1035 section 4.1.4.)
func FuzzReply(f *testing.F) {
	f.Add(packed(f, asked+` TXT "a" "b\"\\\000"`, asked+" TXT c"))
	f.Add(packed(f, asked+" CNAME k.example.net.", "k.example.net. TXT a b c"))
	f.Add(packed(f, "example.org. SOA a. b. 1 2 3 4 5"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		q := asks
		if !q.answeredBy(msg) || binary.BigEndian.Uint16(msg[4:]) != 1 {
			return
		}
		rep, err := parseReply(msg, asks)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrAlias) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		if len(rep.records) > MaxRecords || rep.aliases > maxAliases || rep.ttl > maxPositive || rep.negative > maxPositive || rep.ttl < 0 || rep.negative < 0 {
			t.Errorf("out of bounds: %+v", rep)
		}
		if set, err := setOf(rep.target, TXT); err != nil || set.name != rep.target {
			t.Errorf("target %q", rep.target)
		}
		oracle := new(dns.Msg)
		if oracle.Unpack(msg) != nil {
			return
		}
		oracle.Compress = true
		again, err := oracle.Pack()
		if err != nil || !q.answeredBy(again) {
			return
		}
		rep, err = parseReply(again, asks)
		if err != nil || rep.truncated || rep.aliases > 0 {
			return
		}
		var want []string
		for _, rr := range oracle.Answer {
			txt, ok := rr.(*dns.TXT)
			if !ok || txt.Hdr.Class != dns.ClassINET || !strings.EqualFold(txt.Hdr.Name, asked) {
				continue
			}
			var text []byte
			for _, part := range txt.Txt {
				text = append(text, unescape(part)...)
			}
			want = append(want, string(text[:min(len(text), MaxRecord)]))
		}
		want = want[:min(len(want), MaxRecords)]
		if !slices.Equal(rep.records, want) {
			t.Errorf("got %q; miekg/dns reads %q", rep.records, want)
		}
	})
}

// unescape undoes what miekg/dns does to TXT strings.
func unescape(s string) []byte {
	var out []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			out = append(out, s[i])
		case i+3 < len(s) && s[i+1] >= '0' && s[i+1] <= '9':
			out = append(out, (s[i+1]-'0')*100+(s[i+2]-'0')*10+s[i+3]-'0')
			i += 3
		default:
			i++
			out = append(out, s[i])
		}
	}
	return out
}
