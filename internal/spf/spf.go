// Package spf checks whether a domain lets a client send its mail (RFC 7208). It chooses the identity, reads
// each record, leaves out what cannot matter to the client, and asks DNS; the evaluation is that of blitiri.com.ar/go/spf (docs/adr). What happens to
// the message is not decided here.
package spf

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/safetext"

	"blitiri.com.ar/go/spf"
	"github.com/maypok86/otter/v2"
)

// Result is a word of RFC 7208 section 2.6.
type Result uint8

// The results. Unasked is none of them.
const (
	Unasked Result = iota
	None
	Neutral
	Pass
	Fail
	SoftFail
	TempError
	PermError
)

var words = [...]string{"", "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"} //nolint:gochecknoglobals // a table

// String is the word, empty for Unasked.
func (r Result) String() string { return words[r] }

// MarshalText writes what String says.
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Parse is the Result of a word; ok is false where it is none.
func Parse(word string) (r Result, ok bool) {
	for i, w := range words {
		if i > 0 && strings.EqualFold(word, w) {
			return Result(i), true
		}
	}
	return Unasked, false
}

const (
	timeout   = 20 * time.Second // for all lookups of a check (RFC 7208 section 4.6.4)
	maxReason = 200
)

// Request is what SMTP says before the message.
type Request struct {
	Client netip.Addr
	HELO   string // the last one
	Sender string // the address of MAIL FROM, without angle brackets; empty: none
}

// Outcome is what SPF says.
type Outcome struct {
	Result Result
	Domain domain.Name // whose record was asked for; what could not be asked for, as it was written
	HELO   bool        // Domain is that of HELO, as there is no sender (RFC 7208 section 2.4)
	Reason string      // in words: printable ASCII
}

// identity is the domain that is asked, and the address for macros. What is no name of several labels is not asked (section 4.3).
func (r Request) identity() (o Outcome, sender string, asked bool) {
	local, name := "postmaster", r.HELO
	o.HELO = true
	if at := strings.LastIndexByte(r.Sender, '@'); at >= 0 {
		if name, o.HELO = r.Sender[at+1:], false; at > 0 {
			// The library cuts at the first @.
			local = strings.ReplaceAll(r.Sender[:at], "@", "_")
		}
	}
	var err error
	if o.Domain, err = domain.ParseLax(name); err == nil && !strings.Contains(string(o.Domain), ".") {
		o.Reason = "one label is not a domain"
		return o, "", false
	}
	if err != nil || strings.HasSuffix(name, "..") {
		o.Domain, o.Reason = domain.Name(safetext.ASCII(name[:min(len(name), domain.MaxLength)])), "not a domain"
		return o, "", false
	}
	return o, local + "@" + string(o.Domain), true
}

// Identity is the domain that Check asks, and whether it is that of HELO; empty where it asks none.
func (r Request) Identity() (name domain.Name, helo bool) {
	o, _, asked := r.identity()
	if !asked {
		o.Domain = ""
	}
	return o.Domain, o.HELO
}

// Checker checks senders. It is safe for concurrent use.
type Checker struct {
	dns  CachedDNS
	kept *otter.Cache[string, *record]
}

// New makes a Checker.
func New(dns CachedDNS) (*Checker, error) {
	kept, err := newKept()
	return &Checker{dns, kept}, err
}

// Check is check_host of RFC 7208 section 4.
func (c *Checker) Check(ctx context.Context, r Request) Outcome {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return r.check(ctx, &adapter{Checker: c})
}

// CheckCached is Check without I/O; ok is false where DNS must be asked.
func (c *Checker) CheckCached(r Request) (o Outcome, ok bool) {
	a := &adapter{Checker: c, cachedOnly: true}
	o = r.check(context.Background(), a)
	return o, !a.missed
}

func (r Request) check(ctx context.Context, a *adapter) Outcome {
	o, sender, asked := r.identity()
	a.client = r.Client.Unmap().WithZone("")
	if !asked || !a.client.IsValid() {
		o.Result = None
		return o
	}
	helo := r.HELO
	if name, err := domain.ParseLax(helo); err == nil {
		helo = string(name)
	}
	result, why := spf.CheckHostWithSender(a.client.AsSlice(), helo, sender, spf.WithResolver(a), spf.WithContext(ctx))
	o.Result, _ = Parse(string(result))
	switch {
	case ctx.Err() != nil && o.Result != Pass:
		o.Result = TempError // it is the end of our patience, which ptr and the library take for an answer
		fallthrough
	case o.Result == TempError:
		o.Reason = a.failure
	case o.Result == PermError && a.flaw != "":
		o.Reason = a.flaw
	case why != nil:
		o.Reason = why.Error()
	}
	o.Reason = safetext.ASCII(o.Reason[:min(len(o.Reason), maxReason)])
	return o
}
