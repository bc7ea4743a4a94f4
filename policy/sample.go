package policy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/message"
	"dkimd/internal/safetext"
	"dkimd/internal/spf"
	"dkimd/verifier"
)

// SampleClient is the client that samples come from where nobody names another one: somebody out in the world (RFC 5737).
const SampleClient = "203.0.113.9"

// Sample is a message in the words of an operator: for a test case, or a question.
type Sample struct {
	// From are the addresses of From, with or without a name, one field each if FromFields is more than 1.
	From       []string
	FromFields int    // 0: 1, or none where From is empty
	Sender     string // MAIL FROM; empty: the null sender
	Client     string // an address; empty: a client without one
	Recipients []string
	List       bool
	// Signatures are lines like "gmail.com pass", then perhaps an algorithm, the
	// bits of an RSA key, "testing" and "duplicates". Without them: "rsa-sha256 2048".
	Signatures []string
	// Published is the policy: absent (also if empty), none, quarantine, reject, temperror. What DMARC says is, if DMARC is
	// empty, a pass where a signature that passes is aligned, and else what that policy makes of it.
	Published string
	Testing   bool   // the policy's record says t=y
	DMARC     string // pass, fail, none, permerror, temperror
	SPF       string // its result; empty: none
}

// Message is what Select takes and what Judge takes, as if the message had come and been
// verified. The error names the words that cannot be understood.
func (s Sample) Message() (Message, *verifier.Report, error) {
	m := Message{
		Sender: bare(s.Sender), Client: message.NewClient("", s.Client), Recipients: s.Recipients, List: s.List,
		From: message.Originator{Fields: s.FromFields, Readable: len(s.From) > 0},
	}
	if m.Client.Kind == message.ClientUnreadable {
		return m, nil, fault.Fault{Key: "client", Got: safetext.Quote(s.Client), Want: "an IP address"}
	}
	if m.From.Fields == 0 && len(s.From) > 0 {
		m.From.Fields = 1
	}
	header := new(message.Header)
	for _, written := range s.From {
		header.Add("From", " "+written)
		address := bare(written)
		author := message.DomainOf(address)
		if !author.Lookable() {
			return m, nil, fault.Fault{Key: "from", Got: safetext.Quote(written), Want: "an address like alice@example.com"}
		}
		m.From.Addresses = append(m.From.Addresses, message.Address{Local: address[:strings.LastIndexByte(address, '@')], Domain: author})
	}
	m.From.Claimed = message.ReadFrom(header).Claimed // a name and a quoted local part may hold further domains
	author := m.From
	m.Misleading = func() domain.Name { return message.Misleading(header, author) }
	report := &verifier.Report{}
	for _, text := range s.Signatures {
		r, hint := readSignature(text)
		if hint != "" {
			return m, nil, fault.Fault{Key: "signatures", Got: safetext.Quote(text), Want: `a line like "gmail.com pass": ` + hint}
		}
		report.Results = append(report.Results, r)
	}
	relate(report, m.From)
	return m, report, s.policies(report, author)
}

// relate aligns signatures with an author domain by the public suffix list: there is no DNS here.
func relate(report *verifier.Report, from message.Originator) {
	if from.Fields != 1 || len(from.Claimed) != 1 {
		return
	}
	author := from.Claimed[0]
	for i := range report.Results {
		r := &report.Results[i]
		switch sdid := domain.Name(r.Domain); {
		case sdid == author:
			r.Aligned = verifier.AlignStrict
		case sdid.Aligned(author):
			r.Aligned = verifier.AlignRelaxed
		}
	}
}

// policies fills in what SPF and DMARC say.
func (s Sample) policies(report *verifier.Report, from message.Originator) error {
	d := &report.DMARC
	d.Testing = s.Testing
	passes := slices.ContainsFunc(report.Results, func(r verifier.Result) bool {
		return r.Status == verifier.Pass && r.Aligned != verifier.AlignNone
	})
	switch s.Published {
	case "", "absent":
		d.Result = dmarc.None
	case "temperror":
		d.Result = dmarc.TempError
	case "none", "quarantine", "reject":
		d.Policy = map[string]dmarc.Policy{"none": dmarc.PolicyNone, "quarantine": dmarc.PolicyQuarantine, "reject": dmarc.PolicyReject}[s.Published]
		if d.Result = dmarc.Fail; passes {
			d.Result = dmarc.Pass
		}
	default:
		return fault.Fault{Key: "published", Got: safetext.Quote(s.Published), Want: "absent, none, quarantine, reject or temperror"}
	}
	if from.Fields != 1 || len(from.Claimed) != 1 {
		*d = dmarc.Verdict{Result: dmarc.PermError}
	} else {
		d.Author = from.Claimed[0]
	}
	if s.DMARC != "" {
		result, ok := dmarc.Parse(s.DMARC)
		if !ok {
			return fault.Fault{Key: "dmarc", Got: safetext.Quote(s.DMARC), Want: "pass, fail, none, permerror or temperror"}
		}
		d.Result = result
	}
	var ok bool
	if report.SPF.Result, ok = spf.Parse(cmp.Or(s.SPF, "none")); !ok {
		return fault.Fault{Key: "spf", Got: safetext.Quote(s.SPF), Want: "none, neutral, pass, fail, softfail, permerror or temperror"}
	}
	return nil
}

// bare is an address without the name in front of it and without its angle brackets.
func bare(address string) string {
	return strings.Trim(address[max(0, strings.LastIndexByte(address, '<')):], "<>")
}

// readSignature reads "DOMAIN RESULT [ALGORITHM] [BITS] [testing] [duplicates]". A hint says what is wrong.
func readSignature(text string) (verifier.Result, string) {
	words := strings.Fields(text)
	if len(words) < 2 {
		return verifier.Result{}, "first the domain, then the result"
	}
	sdid, err := domain.ParseLax(words[0])
	if err != nil {
		return verifier.Result{}, strconv.Quote(words[0]) + " is not a domain"
	}
	r := verifier.Result{Domain: string(sdid), Algorithm: "rsa-sha256", KeyBits: 2048, Timestamp: -1, Expiration: -1, BodyLength: -1}
	for _, status := range []verifier.Status{verifier.Pass, verifier.Fail, verifier.Policy, verifier.Neutral, verifier.TempError, verifier.PermError} {
		if status.String() == words[1] {
			r.Status = status
		}
	}
	if r.Status == verifier.None {
		return r, "the result is pass, fail, policy, neutral, temperror or permerror"
	}
	if r.Status == verifier.TempError {
		r.KeyBits = 0
	}
	for _, word := range words[2:] {
		bits, err := strconv.ParseUint(word, 10, 16)
		switch {
		case word == "rsa-sha256" || word == "rsa-sha1":
			r.Algorithm = word
		case word == "ed25519-sha256":
			r.Algorithm, r.KeyBits = word, 256
		case word == "testing":
			r.Testing = true
		case word == "duplicates":
			r.Duplicates = []string{"Subject"}
		case err == nil:
			r.KeyBits = int(bits)
		default:
			return r, strconv.Quote(word) + " is no algorithm, number of bits, \"testing\" or \"duplicates\""
		}
	}
	return r, ""
}
