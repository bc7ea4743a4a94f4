package resolver

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// The wire format is RFC 1035 section 4.1. We walk it ourselves, over the few
// record types that matter: what dns.Msg makes of 64 KiB of hostile records is
// a hundred times as large, and it escapes the octets of TXT strings.
const (
	headerSize = 12
	fixedSize  = 10 // type, class, TTL and length of a record

	questionTail = 4 // type and class

	flagResponse      = 1 << 15
	maskOpcode        = 0xf << 11
	flagAuthoritative = 1 << 10
	flagTruncated     = 1 << 9
	flagRecursive     = 1 << 7
	flagAuthenticated = 1 << 5
	maskRcode         = 0xf
)

// rcodeError is an answer with a code that has no error of its own.
type rcodeError int

func (e rcodeError) Error() string {
	if text, ok := dns.RcodeToString[int(e)]; ok {
		return text
	}
	return "unknown response code"
}

// question is what an answer must repeat (RFC 5452 section 9.1).
type question struct {
	id     uint16
	name   string // absolute, lower case, with the final dot
	rrtype Type
	sent   []byte // on the wire, if the case it was sent in counts
}

// answeredBy reports whether a message claims to answer the question. A server
// that does not understand the query may leave the question out.
func (q question) answeredBy(msg []byte) bool {
	if len(msg) < headerSize || binary.BigEndian.Uint16(msg) != q.id {
		return false
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	if flags&flagResponse == 0 || flags&maskOpcode != 0 {
		return false
	}
	switch binary.BigEndian.Uint16(msg[4:]) {
	case 0:
		rcode := int(flags & maskRcode)
		return rcode != dns.RcodeSuccess && rcode != dns.RcodeNameError
	case 1:
		end, ok := skipName(msg, headerSize)
		return ok && len(msg) >= end+4 && sameName(msg, headerSize, q.name) &&
			binary.BigEndian.Uint16(msg[end:]) == uint16(q.rrtype) && binary.BigEndian.Uint16(msg[end+2:]) == dns.ClassINET
	default:
		return false
	}
}

// reply is what an answer says about the records asked for.
type reply struct {
	rcode         int
	truncated     bool
	extended      bool // it has EDNS0
	without       bool // it came when a query without EDNS0 had gone out, and has none
	folded        bool // the question in it is not in the case it was sent in
	authoritative bool
	recursive     bool
	authenticated bool
	soa           bool          // the authority section has an SOA record
	records       []string      // of the name at the end of the chain of aliases
	aliases       int           // how long the chain is
	target        string        // its end, canonical
	ttl           time.Duration // the least of the records used
	negative      time.Duration // how long an absence holds (RFC 2308 section 5)
	explanation   explanation
}

// fault is why the next server should be asked, if so.
func (r *reply) fault() error {
	switch r.rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	case dns.RcodeServerFailure:
		return r.explanation.of(ErrServerFailure)
	case dns.RcodeRefused:
		return r.explanation.of(ErrRefused)
	default:
		return r.explanation.of(rcodeError(r.rcode))
	}
	// An absence counts from who could know: a server that recurses, or is
	// authoritative, or shows the zone's SOA. Else it is a referral.
	absent := r.rcode == dns.RcodeNameError || len(r.records) == 0
	if absent && !r.recursive && !r.authoritative && !r.soa {
		return ErrLame
	}
	if absent && r.explanation.stale() {
		return r.explanation.of(ErrServerFailure)
	}
	return nil
}

// record is where one resource record lies in a message.
type record struct {
	owner  int // offset of its name
	rrtype uint16
	class  uint16
	ttl    uint32
	start  int // of its data
	end    int
}

// age is the TTL of a record; with the highest bit set it is 0 (RFC 2181 section 8).
func (rr record) age() time.Duration {
	if rr.ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(rr.ttl) * time.Second
}

// parseReply reads a message that answers the question. All of it must be well formed, unless it is truncated.
func parseReply(msg []byte, q question) (reply, error) {
	flags := binary.BigEndian.Uint16(msg[2:])
	rep := reply{
		rcode:         int(flags & maskRcode),
		truncated:     flags&flagTruncated != 0,
		authoritative: flags&flagAuthoritative != 0,
		recursive:     flags&flagRecursive != 0,
		authenticated: flags&flagAuthenticated != 0,
		target:        strings.TrimSuffix(q.name, "."),
		ttl:           maxPositive,
		negative:      maxPositive,
	}
	if rep.truncated {
		return rep, nil
	}
	off := headerSize
	for range binary.BigEndian.Uint16(msg[4:]) {
		end, ok := skipName(msg, off)
		if !ok {
			return reply{}, ErrMalformed
		}
		off = end + 4
	}
	var used []record // aliases and records asked for of the answer section
	for section, count := range [...]uint16{
		binary.BigEndian.Uint16(msg[6:]), binary.BigEndian.Uint16(msg[8:]), binary.BigEndian.Uint16(msg[10:]),
	} {
		for range count {
			rr, ok := nextRecord(msg, off)
			if !ok {
				return reply{}, ErrMalformed
			}
			off = rr.end
			switch {
			case section == 0 && rr.class == dns.ClassINET && (rr.rrtype == uint16(q.rrtype) || rr.rrtype == dns.TypeCNAME):
				used = append(used, rr)
			case section == 1 && rr.class == dns.ClassINET && rr.rrtype == dns.TypeSOA:
				if !rep.readSOA(msg, rr) {
					return reply{}, ErrMalformed
				}
			case section == 2 && rr.rrtype == dns.TypeOPT:
				rep.extended = true
				if !rep.explanation.given {
					rep.explanation = readExplanation(msg[rr.start:rr.end])
				}
				rep.rcode |= int(rr.ttl>>24) << 4 // RFC 6891 section 6.1.3
			}
		}
	}
	if !rep.soa {
		rep.negative = 0 // RFC 2308 section 5: not to be kept; we keep it shortly
	}
	return rep, rep.follow(msg, used)
}

// follow goes along the aliases from the name asked for and reads the
// records where they end.
func (r *reply) follow(msg []byte, used []record) error {
	for {
		var alias *record
		name := r.target + "."
		for i, rr := range used {
			if !sameName(msg, rr.owner, name) {
				continue
			}
			if rr.rrtype == dns.TypeCNAME {
				if alias == nil {
					alias = &used[i]
				}
				continue
			}
			text, ok := rr.text(msg)
			if !ok {
				return ErrMalformed
			}
			r.ttl = min(r.ttl, rr.age())
			if len(r.records) < MaxRecords {
				r.records = append(r.records, text)
			}
		}
		if alias == nil || len(r.records) > 0 {
			return nil
		}
		if r.aliases++; r.aliases > maxAliases {
			return ErrAlias
		}
		r.ttl = min(r.ttl, alias.age())
		target, end, err := dns.UnpackDomainName(msg[:alias.end], alias.start)
		if err != nil || end != alias.end {
			return ErrMalformed
		}
		set, err := setOf(target, TXT)
		if err != nil {
			return ErrMalformed
		}
		r.target = set.name
	}
}

// readSOA takes over how long an absence holds: the TTL of the SOA record, or
// its minimum field (RFC 2308 section 5).
func (r *reply) readSOA(msg []byte, rr record) bool {
	off, ok := skipName(msg[:rr.end], rr.start)
	if !ok {
		return false
	}
	if off, ok = skipName(msg[:rr.end], off); !ok || off+20 != rr.end {
		return false
	}
	minimum := record{ttl: binary.BigEndian.Uint32(msg[rr.end-4:])}
	r.soa = true
	r.negative = min(r.negative, rr.age(), minimum.age())
	return true
}

// readTXT joins the strings of a TXT record (RFC 1035 section 3.3.14), as far
// as MaxRecord goes.
func readTXT(data []byte) (string, bool) {
	var text []byte
	for len(data) > 0 {
		size := int(data[0])
		if 1+size > len(data) {
			return "", false
		}
		text = append(text, data[1:1+min(size, MaxRecord-len(text))]...)
		data = data[1+size:]
	}
	return string(text), true
}

// nextRecord finds the record at an offset.
func nextRecord(msg []byte, off int) (record, bool) {
	end, ok := skipName(msg, off)
	if !ok || len(msg) < end+fixedSize {
		return record{}, false
	}
	rr := record{
		owner:  off,
		rrtype: binary.BigEndian.Uint16(msg[end:]),
		class:  binary.BigEndian.Uint16(msg[end+2:]),
		ttl:    binary.BigEndian.Uint32(msg[end+4:]),
		start:  end + fixedSize,
	}
	rr.end = rr.start + int(binary.BigEndian.Uint16(msg[end+8:]))
	return rr, rr.end <= len(msg)
}
