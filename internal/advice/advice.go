// Package advice says what the large receivers of mail ask of those who send, and whether a message or a domain
// meets it. The demands are one table. It verifies nothing itself: it judges what verifier, spf, dmarc and the log
// found out, and asks DNS only for the names of a client.
package advice

import "slices"

// Who asks for something. docs/report.md has the pages on which they do.
const (
	Gmail     = "Gmail"
	Yahoo     = "Yahoo"
	Microsoft = "Microsoft"
)

// Demand is one thing that receivers ask for.
type Demand struct {
	Name     string   `json:"name"`
	Ask      string   `json:"ask"`
	By       []string `json:"by"`       // who asks; nobody: it follows from the source alone
	Source   string   `json:"source"`   // the standard behind it
	Required bool     `json:"required"` // else it is advice
}

// State is whether a demand is met.
type State string

// The states.
const (
	Met          State = "met"
	Unmet        State = "unmet"
	Unknown      State = "unknown" // what there is does not tell
	Inapplicable State = "inapplicable"
)

// Finding is how a message or a domain stands to a demand.
type Finding struct {
	Demand

	State State  `json:"state"`
	Found string `json:"found"` // what is there; it may have text of strangers
	Do    string `json:"do"`    // what to do where the demand is not met
}

// opinion is a Finding without its demand.
type opinion struct {
	state     State
	found, do string
}

// row is a demand, and how it is judged; nil: it does not concern messages, or domains.
type row struct {
	Demand

	message func(*Message) opinion
	domain  func(*Domain) opinion
}

// demands is the table, worst first: by how surely receivers refuse or distrust mail that fails it.
func demands() []row {
	large := []string{Gmail, Yahoo, Microsoft}
	return []row{
		{Demand{"from", "From is one field with one author", []string{Gmail}, "RFC 5322 section 3.6", true}, (*Message).from, nil},
		{Demand{"dkim", "mail is signed, and the signature verifies", large, "RFC 6376 section 6", true}, (*Message).dkim, (*Domain).signed},
		{Demand{"key", "the keys of signatures are in DNS", large, "RFC 6376 section 3.6", true}, nil, (*Domain).keys},
		{Demand{"aligned", "DKIM or SPF passes for the domain of From", large, "RFC 9989 section 4.4", true}, (*Message).aligned, nil},
		{Demand{"spf", "SPF lets the client send mail of the domain in MAIL FROM", large, "RFC 7208", true}, (*Message).spf, (*Domain).spf},
		{Demand{"dmarc", "the domain of From has a DMARC record", large, "RFC 9989 section 4.7", true}, (*Message).dmarc, (*Domain).dmarc},
		{Demand{"dkim_aligned", "a signature that verifies is of the domain of From", []string{Microsoft}, "RFC 9989 section 3.2.10", false}, (*Message).dkimAligned, (*Domain).signedAligned},
		{Demand{"reverse", "the client's address has a name, and the name that address", []string{Gmail, Yahoo}, "RFC 1912 section 2.1", true}, (*Message).reverse, (*Domain).reverse},
		{Demand{"unsubscribe", "mail of a list can be left with one click, by fields that are signed", []string{Gmail, Yahoo}, "RFC 8058", true}, (*Message).unsubscribe, nil},
		{Demand{"format", "Date and Message-ID are there once, and no line is over 998 octets", []string{Gmail}, "RFC 5322 sections 2.1.1 and 3.6", true}, (*Message).format, nil},
		{Demand{"key_bits", "RSA keys have 2048 bits, and there is one", []string{Gmail}, "RFC 8301 section 3.2", false}, (*Message).keyBits, (*Domain).keyBits},
		{Demand{"key_testing", "no key is in test mode", nil, "RFC 6376 section 3.6.1", false}, (*Message).keyTesting, (*Domain).keyTesting},
		{Demand{"body_length", "the whole body is signed: no l=", nil, "RFC 6376 section 8.2", false}, (*Message).bodyLength, nil},
		{Demand{"oversigned", "no second From can be added: h= has it once more than the message", nil, "RFC 6376 section 8.15", false}, (*Message).oversigned, nil},
		{Demand{"seven_bit", "nothing has to be converted on the way", nil, "RFC 6376 section 5.3", false}, (*Message).sevenBit, nil},
		{Demand{"mx", "the domain can be answered", []string{Microsoft}, "RFC 5321 section 5.1", false}, nil, (*Domain).mx},
	}
}

func (r row) finding(o opinion) Finding {
	if o.state != Unmet {
		o.do = ""
	}
	r.By = append([]string{}, r.By...)
	return Finding{r.Demand, o.state, o.found, o.do}
}

// Todo are the findings to do something about, worst first: what is required, then what is advised.
func Todo(all []Finding) []Finding {
	list := slices.DeleteFunc(slices.Clone(all), func(f Finding) bool { return f.State != Unmet })
	slices.SortStableFunc(list, func(a, b Finding) int {
		switch {
		case a.Required == b.Required:
			return 0
		case a.Required:
			return -1
		}
		return 1
	})
	return list
}

// Fails reports whether something required is not met.
func Fails(all []Finding) bool {
	return slices.ContainsFunc(all, func(f Finding) bool { return f.Required && f.State == Unmet })
}
