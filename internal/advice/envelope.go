package advice

import (
	"cmp"
	"net/netip"
	"regexp"
	"strings"

	"dkimd/internal/message"
)

// Envelope is what SMTP said of a message, as far as its own header tells.
type Envelope struct {
	Client      netip.Addr // not valid: not known
	HELO        string
	Sender      string // MAIL FROM without angle brackets
	SenderKnown bool   // else an empty Sender says nothing

	ClientFrom, SenderFrom string // which field says so
}

// What stands between "from" and "by" of a Received field, as mail servers write it. A client chooses its HELO, so the
// forms are taken whole, and a HELO that could imitate one fits none.
const (
	heloPart = `([^()\s]+)`
	addrPart = `\[(?:IPv6:)?([0-9A-Fa-f:.]+)\]`
	eximPart = `(?::\d+)?` // its port
	pairs    = `(?:(?:port|ident|helo)=[^()\s]+ ?)*`
)

var (
	// Postfix, Sendmail, Gmail: HELO (name [address]).
	heloFirst = regexp.MustCompile(`^from ` + heloPart + ` \((?:[^()\s\[\]]+ )?` + addrPart + `(?: \(may be forged\))?\)$`)
	// Exim: name ([address] helo=HELO), where the two differ; or [address] (helo=HELO).
	nameFirst    = regexp.MustCompile(`^from ` + heloPart + ` \(` + addrPart + eximPart + `(?: ` + pairs + `)?\)$`)
	addressFirst = regexp.MustCompile(`^from ` + addrPart + eximPart + `(?: \(` + pairs + `\))?$`)
	heloPair     = regexp.MustCompile(`[ (]helo=` + heloPart)
)

// maxTrace is how many Received fields are looked at: of hops inside one house.
const maxTrace = 20

// ReadEnvelope reads the fields that the receiving mail servers put on top. The client is that of the topmost Received
// field which names one of the internet; above it may be hops between own hosts. MAIL FROM is in Return-Path or
// Received-SPF, above that field: what stands below came with the message, and anybody can have written it.
func ReadEnvelope(h *message.Header) Envelope {
	e := Envelope{}
	seen := 0
	for _, f := range h.Fields() {
		switch {
		case f.Is("Return-Path") && !e.SenderKnown:
			if value := unfolded(f); strings.HasPrefix(value, "<") && strings.HasSuffix(value, ">") {
				e.Sender, e.SenderKnown, e.SenderFrom = value[1:len(value)-1], true, "Return-Path"
			}
		case f.Is("Received-SPF") && !e.SenderKnown:
			if m := envelopeFrom.FindStringSubmatch(unfolded(f)); m != nil {
				e.Sender, e.SenderKnown, e.SenderFrom = strings.Trim(m[1], `"<>`), true, "Received-SPF"
			}
		case f.Is("Received"):
			seen++
			addr, helo, done := readReceived(f)
			if done || seen == maxTrace {
				if addr.IsValid() {
					e.Client, e.HELO, e.ClientFrom = addr, helo, "the topmost Received field with a client of the internet"
				}
				return e
			}
		}
	}
	return e
}

// Complete is the envelope with what the header of the message says, where nobody else says it.
func (e Envelope) Complete(h *message.Header) Envelope {
	told := ReadEnvelope(h)
	if !e.Client.IsValid() {
		e.Client, e.ClientFrom, e.HELO = told.Client, told.ClientFrom, cmp.Or(e.HELO, told.HELO)
	}
	if !e.SenderKnown {
		e.Sender, e.SenderKnown, e.SenderFrom = told.Sender, told.SenderKnown, told.SenderFrom
	}
	return e
}

var envelopeFrom = regexp.MustCompile(`\benvelope-from=("[^"\s]*"|<[^>\s]*>|[^;\s]+)`)

func unfolded(f message.Field) string { return strings.Join(strings.Fields(string(f.Value())), " ") }

// readReceived reads the client out of a Received field. It is done where the field is of a client of the internet, or
// cannot be read; not where the message came from the same house.
func readReceived(f message.Field) (addr netip.Addr, helo string, done bool) {
	// A client that may put spaces in its HELO must not end what counts: a line end is the server's.
	line, _, _ := strings.Cut(strings.TrimLeft(string(f.Value()), " \t\r\n"), "\r\n")
	line, _, _ = strings.Cut(line, " by ")
	line = strings.Join(strings.Fields(line), " ")
	if line == "by" || strings.HasPrefix(line, "by ") || line == "" {
		return addr, "", false
	}
	var text string
	if m := heloFirst.FindStringSubmatch(line); m != nil {
		helo, text = m[1], m[2]
	} else if m := nameFirst.FindStringSubmatch(line); m != nil {
		helo, text = m[1], m[2]
	} else if m := addressFirst.FindStringSubmatch(line); m != nil {
		text = m[1]
	}
	if m := heloPair.FindStringSubmatch(line); m != nil && text != "" {
		helo = m[1]
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, "", true
	}
	addr = addr.Unmap()
	if !OfInternet(addr) {
		return netip.Addr{}, "", false
	}
	return addr, helo, true
}

// OfInternet reports whether an address is that of a host of the internet. Any other may be that of a proxy in the own
// house, and says nothing of who is behind it.
func OfInternet(addr netip.Addr) bool {
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) // of providers and overlay networks (RFC 6598)
	return addr.IsValid() && !addr.IsLoopback() && !addr.IsPrivate() && !addr.IsLinkLocalUnicast() && !addr.IsUnspecified() && !shared.Contains(addr)
}
