package advice

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/resolver"
	"dkimd/internal/spf"
)

// Domain is what is known of a domain that sends mail.
type Domain struct {
	Name    domain.Name
	SPF     spf.Inspection
	SPFErr  error // DNS could not tell
	DMARC   dmarc.Verdict
	Keys    []Key
	MX      []string
	MXErr   error
	Clients []Reverse
	Log     Log
}

// Key is a key that signs for the domain, as DNS has it.
type Key struct {
	Selector string
	Type     string // rsa, ed25519
	Bits     int    // 0: not known
	Testing  bool
	Problem  string // why verifiers cannot use it; empty: they can
	Open     bool   // DNS could not tell
}

// LookKey reads the record of a key.
func LookKey(ctx context.Context, dns interface {
	TXT(ctx context.Context, name string) (resolver.Answer, error)
}, selector string, name domain.Name,
) Key {
	k := Key{Selector: selector}
	at := dkim.RecordName(selector, name)
	answer, err := dns.TXT(ctx, at)
	switch {
	case openly(err):
		k.Problem, k.Open = "DNS could not tell: "+err.Error(), true
	case len(answer.Records) == 0:
		k.Problem = "there is no TXT record at " + at
	case len(answer.Records) > 1:
		k.Problem = "there are several TXT records at " + at
	default:
		record, err := dkim.ParseKeyRecord(answer.Records[0])
		if k.Type, k.Bits, k.Testing = record.Type, record.Bits, record.Testing; err != nil {
			k.Problem = "the record at " + at + " is of no use: " + dkim.KeyFlaw(answer.Records[0], err)
		}
	}
	return k
}

// Log is what the last records say of mail from the domain.
type Log struct {
	Missing string    // why there are no records; empty: there are
	Since   time.Time // of the oldest record that was read
	Mail    int       // messages of the domain that were ours to sign
	Signed  int
	Aligned int            // signed by the domain itself, or a relative
	Reasons map[string]int // codes of why a message was not signed
}

// Findings judges the domain by every demand on domains.
func (d *Domain) Findings() []Finding {
	var list []Finding
	for _, r := range demands() {
		if r.domain != nil {
			list = append(list, r.finding(r.domain(d)))
		}
	}
	return list
}

func (d *Domain) signed() opinion {
	l := d.Log
	switch {
	case l.Missing != "":
		return opinion{Unknown, l.Missing, ""}
	case l.Mail == 0 && l.Since.IsZero():
		return opinion{Unknown, "the log has no records", ""}
	}
	since := l.Since.UTC().Format("2006-01-02 15:04 MST")
	if l.Mail == 0 {
		return opinion{Unknown, "the log has no mail of the domain since " + since, ""}
	}
	found := fmt.Sprintf("%d of %d messages since %s are signed", l.Signed, l.Mail, since)
	if l.Signed == l.Mail {
		return opinion{Met, found, ""}
	}
	var codes []string
	for code := range l.Reasons {
		codes = append(codes, code)
	}
	slices.SortFunc(codes, func(a, b string) int { return l.Reasons[b] - l.Reasons[a] })
	if len(codes) > 0 {
		found += "; most often not: " + codes[0] + " (" + strconv.Itoa(l.Reasons[codes[0]]) + ")"
	}
	return opinion{Unmet, found, "dkimd log --domain " + string(d.Name) + " says why mail is not signed"}
}

func (d *Domain) signedAligned() opinion {
	l := d.Log
	if l.Missing != "" || l.Signed == 0 {
		return opinion{Unknown, "the last records have no signed mail of the domain", ""}
	}
	found := fmt.Sprintf("%d of %d signed messages", l.Aligned, l.Signed)
	if l.Aligned < l.Signed {
		return opinion{Unmet, found, "sign with a key of the domain itself: dkimd key generate " + string(d.Name)}
	}
	return opinion{Met, found, ""}
}

// onKeys judges each key: the demand is met where wrong says nothing of one.
func (d *Domain) onKeys(good, do string, wrong func(Key) string) opinion {
	if len(d.Keys) == 0 {
		return opinion{Unknown, "no key of the domain is known", ""}
	}
	for _, k := range d.Keys {
		if text := wrong(k); text != "" {
			return opinion{Unmet, "selector " + k.Selector + ": " + text, do}
		}
	}
	return opinion{Met, good, ""}
}

func (d *Domain) keys() opinion {
	if i := slices.IndexFunc(d.Keys, func(k Key) bool { return k.Open }); i >= 0 {
		return opinion{Unknown, "selector " + d.Keys[i].Selector + ": " + d.Keys[i].Problem, ""}
	}
	return d.onKeys(count(len(d.Keys), "key"), "dkimd key check "+string(d.Name)+" says what DNS has and what belongs there", func(k Key) string { return k.Problem })
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

func (d *Domain) keyBits() opinion {
	known := slices.DeleteFunc(slices.Clone(d.Keys), func(k Key) bool { return k.Bits == 0 })
	if len(known) == 0 {
		return opinion{Unknown, "no key of the domain can be read", ""}
	}
	o := (&Domain{Keys: known}).onKeys("2048 bits or more", "dkimd key rotate "+string(d.Name)+" replaces it", func(k Key) string {
		if k.Type == dkim.TypeRSA && k.Bits < goodBits {
			return "an RSA key of " + strconv.Itoa(k.Bits) + " bits"
		}
		return ""
	})
	if o.state == Met && !slices.ContainsFunc(known, func(k Key) bool { return k.Type == dkim.TypeRSA }) {
		return opinion{Unmet, "there are only Ed25519 keys", "sign with an RSA key as well: not every receiver knows Ed25519 (RFC 8463)"}
	}
	return o
}

func (d *Domain) keyTesting() opinion {
	return d.onKeys("", "remove t=y from the record once mail verifies", func(k Key) string {
		if k.Testing {
			return "its record says t=y"
		}
		return ""
	})
}

func (d *Domain) spf() opinion {
	i := d.SPF
	switch {
	case d.SPFErr != nil:
		return opinion{Unknown, "DNS could not tell: " + d.SPFErr.Error(), ""}
	case i.Record == "" && i.Flaw == "":
		return opinion{Unmet, "there is no SPF record", "publish one with the servers that send mail of the domain, such as \"v=spf1 mx -all\""}
	case i.Flaw != "":
		return opinion{Unmet, i.Flaw, "correct the record: receivers take it for an error (permerror)"}
	case i.Lookups > spf.MaxLookups:
		return opinion{Unmet, fmt.Sprintf("the record takes more than %d lookups", spf.MaxLookups), "name networks (ip4, ip6) in the place of names, or drop includes that are not needed: past the limit it is an error"}
	case i.All == "+":
		return opinion{Unmet, "the record ends in +all, which lets everybody send", "end it in -all or ~all"}
	}
	found := count(i.Lookups, "lookup") + " of " + strconv.Itoa(spf.MaxLookups)
	if i.All == "" || i.All == "?" {
		found += "; it says nothing of servers that it does not name: -all or ~all would"
	}
	return opinion{Met, found, ""}
}

func (d *Domain) dmarc() opinion { return dmarcOpinion(d.DMARC) }

func (d *Domain) reverse() opinion {
	if len(d.Clients) == 0 {
		return opinion{Unknown, "no address of a server that sends is known (--client)", ""}
	}
	best := opinion{state: Met}
	for _, r := range d.Clients {
		o := r.opinion()
		if o.state == Unmet {
			return o
		}
		if best.found == "" || o.state == Unknown {
			best = o
		}
	}
	return best
}

func (d *Domain) mx() opinion {
	switch {
	case d.MXErr != nil:
		return opinion{Unknown, "DNS could not tell: " + d.MXErr.Error(), ""}
	case len(d.MX) == 0:
		return opinion{Unmet, "there is no MX record", "publish one: receivers distrust mail that cannot be answered"}
	case len(d.MX) == 1 && (d.MX[0] == "0 " || d.MX[0] == "0 ."):
		return opinion{Unmet, "the domain takes no mail (null MX, RFC 7505)", "receivers may refuse mail that cannot be answered"}
	}
	return opinion{Met, count(len(d.MX), "host"), ""}
}
