package advice

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/dmarc"
	"dkimd/internal/message"
	"dkimd/internal/spf"
	"dkimd/verifier"
)

const (
	maxLine  = 998 // octets without the line end (RFC 5322 section 2.1.1)
	goodBits = 2048
)

// Message is what is known of a message.
type Message struct {
	Header *message.Header
	Body   []byte // with CRLF at line ends
	From   message.Originator
	Report *verifier.Report
	Client Reverse
}

// Findings judges the message by every demand on messages.
func (m *Message) Findings() []Finding {
	var list []Finding
	for _, r := range demands() {
		if r.message != nil {
			list = append(list, r.finding(r.message(m)))
		}
	}
	return list
}

func (m *Message) from() opinion {
	const do = "write one From field with one address"
	switch {
	case m.From.Fields == 0:
		return opinion{Unmet, "there is no From field", do}
	case m.From.Fields > 1:
		return opinion{Unmet, fmt.Sprintf("there are %d From fields", m.From.Fields), do}
	case m.From.Domain() == "" && len(m.From.Claimed) < 2:
		return opinion{Unmet, "From cannot be read as a list of addresses", do}
	case len(m.From.Addresses) != 1 || m.From.Domain() == "":
		return opinion{Unmet, fmt.Sprintf("From has %d addresses of %d domains", len(m.From.Addresses), len(m.From.Claimed)), do}
	}
	return opinion{Met, string(m.From.Domain()), ""}
}

// passed are the signatures that pass: those of the domain of From first, which is what most demands are about.
func (m *Message) passed() []verifier.Result {
	var list []verifier.Result
	for _, r := range m.Report.Results {
		if r.Status == verifier.Pass {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(a, b verifier.Result) int { return int(b.Aligned) - int(a.Aligned) })
	return list
}

// onPassed judges the signatures that pass: the demand is met where wrong says nothing of one. Without such a signature
// the demand "dkim" has said what is wrong.
func (m *Message) onPassed(good, do string, wrong func(verifier.Result) string) opinion {
	passed := m.passed()
	if len(passed) == 0 {
		return opinion{Inapplicable, "no signature verifies", ""}
	}
	if passed[0].Aligned != dmarc.AlignNone { // others are not the author's to mend
		passed = slices.DeleteFunc(passed, func(r verifier.Result) bool { return r.Aligned == dmarc.AlignNone })
	}
	for _, r := range passed {
		if text := wrong(r); text != "" {
			return opinion{Unmet, r.Domain + ", selector " + r.Selector + ": " + text, do}
		}
	}
	return opinion{Met, good, ""}
}

func (m *Message) dkim() opinion {
	if passed := m.passed(); len(passed) > 0 {
		return opinion{Met, "signed by " + passed[0].Domain, ""}
	}
	if len(m.Report.Results) == 0 {
		return opinion{Unmet, "there is no DKIM-Signature field", "sign mail: the mail server of the domain in From does it, with a key that is in DNS"}
	}
	first := m.Report.Results[0]
	for _, r := range m.Report.Results {
		if r.Status == verifier.TempError {
			return opinion{Unknown, r.Domain + ": " + r.Reason(), ""}
		}
	}
	return opinion{Unmet, "signature of " + first.Domain + ": " + first.Status.String() + ", " + first.Reason(), "see what is said of the signature"}
}

func (m *Message) aligned() opinion {
	for _, r := range m.passed() {
		if r.Aligned != dmarc.AlignNone {
			return opinion{Met, "DKIM of " + r.Domain, ""}
		}
	}
	switch v := m.Report.DMARC; {
	case v.Result == dmarc.Pass:
		return opinion{Met, "SPF of " + string(v.AlignedBy.Domain), ""}
	case m.From.Domain() == "":
		return opinion{Unmet, "From has not one domain", "write one From field with one address"}
	case m.SPFAligned():
		return opinion{Met, "SPF of " + string(m.Report.SPF.Domain), ""}
	case v.Result == dmarc.TempError:
		return opinion{Unknown, v.Reason, ""}
	case m.Report.SPF.Result == spf.Unasked:
		return opinion{Unknown, "no signature of From's domain verifies, and SPF was not asked", ""}
	}
	return opinion{Unmet, "neither a signature that verifies nor MAIL FROM is of " + string(m.From.Domain()), "sign with d= the domain of From, and send with MAIL FROM of that domain"}
}

// SPFAligned reports whether SPF passes for the very domain of From. A relative of it is DMARC's to judge.
func (m *Message) SPFAligned() bool {
	return m.Report.SPF.Result == spf.Pass && !m.Report.SPF.HELO && m.Report.SPF.Domain == m.From.Domain() && m.From.Domain() != ""
}

func (m *Message) dkimAligned() opinion {
	passed := m.passed()
	switch {
	case len(passed) == 0:
		return opinion{Inapplicable, "no signature verifies", ""}
	case passed[0].Aligned != dmarc.AlignNone:
		return opinion{Met, passed[0].Domain, ""}
	case passed[0].AlignmentOpen:
		return opinion{Unknown, "DNS could not tell", ""}
	}
	return opinion{Unmet, "signed by " + passed[0].Domain + " only", "sign with d= the domain of From: SPF alone does not outlast forwarding"}
}

func (m *Message) spf() opinion {
	o := m.Report.SPF
	said := string(o.Domain) + ": " + o.Result.String()
	if o.Reason != "" {
		said += " (" + o.Reason + ")"
	}
	switch o.Result {
	case spf.Pass:
		return opinion{Met, said, ""}
	case spf.Unasked:
		return opinion{Unknown, "SPF was not asked: the client or MAIL FROM is not known", ""}
	case spf.TempError:
		return opinion{Unknown, said, ""}
	case spf.None:
		return opinion{Unmet, said, "publish an SPF record for the domain in MAIL FROM"}
	case spf.PermError:
		return opinion{Unmet, said, "correct the SPF record"}
	case spf.Neutral, spf.Fail, spf.SoftFail:
	}
	return opinion{Unmet, said, "add the address of the sending server to the SPF record"}
}

func (m *Message) dmarc() opinion { return dmarcOpinion(m.Report.DMARC) }

// dmarcOpinion judges what is published.
func dmarcOpinion(v dmarc.Verdict) opinion {
	switch {
	case v.Policy != dmarc.PolicyAbsent:
		return opinion{Met, "policy " + v.Policy.String() + " at _dmarc." + string(v.At), ""}
	case v.Result == dmarc.TempError:
		return opinion{Unknown, v.Reason, ""}
	case v.Result == dmarc.PermError:
		return opinion{Unmet, v.Reason, "correct the record"}
	case v.Author == "":
		return opinion{Unknown, "From has not one domain", ""}
	}
	return opinion{Unmet, "there is no record for " + string(v.Author), `publish "v=DMARC1; p=none" at _dmarc.` + string(v.Author) + ", and go on to a stricter policy once all mail passes"}
}

func (m *Message) reverse() opinion { return m.Client.opinion() }

// has counts the fields of a name.
func (m *Message) has(name string) int { return len(m.Header.All(name)) }

// isList reports whether a message says that it goes to many.
func (m *Message) isList() bool {
	for _, f := range m.Header.All("Precedence") {
		switch strings.ToLower(strings.TrimSpace(string(f.Value()))) {
		case "bulk", "list":
			return true
		}
	}
	return m.has("List-Unsubscribe") > 0 || m.has("List-Id") > 0 || m.has("List-Unsubscribe-Post") > 0
}

func (m *Message) unsubscribe() opinion {
	const do = "add List-Unsubscribe with an https URI and List-Unsubscribe-Post: List-Unsubscribe=One-Click, and name both in h="
	if !m.isList() {
		return opinion{Inapplicable, "nothing says that this is mail of a list; what many get by subscription must have it", ""}
	}
	unsubscribe, post := m.Header.All("List-Unsubscribe"), m.Header.All("List-Unsubscribe-Post")
	switch {
	case len(unsubscribe) == 0:
		return opinion{Unmet, "there is no List-Unsubscribe field", do}
	case len(unsubscribe) > 1 || len(post) > 1:
		return opinion{Unmet, "a field is there twice", do}
	case !strings.Contains(strings.ToLower(string(unsubscribe[0].Value())), "<https:"):
		return opinion{Unmet, "List-Unsubscribe has no https URI", do}
	case len(post) == 0:
		return opinion{Unmet, "there is no List-Unsubscribe-Post field", do}
	case !strings.EqualFold(strings.TrimSpace(string(post[0].Value())), "List-Unsubscribe=One-Click"):
		return opinion{Unmet, "List-Unsubscribe-Post is not List-Unsubscribe=One-Click", do}
	}
	for _, r := range m.passed() {
		if names(r.Headers, "List-Unsubscribe") > 0 && names(r.Headers, "List-Unsubscribe-Post") > 0 {
			return opinion{Met, "signed by " + r.Domain, ""}
		}
	}
	return opinion{Unmet, "no signature that verifies covers both fields", "name List-Unsubscribe and List-Unsubscribe-Post in h= ([sign] headers)"}
}

// names counts a name in h=.
func names(list []string, name string) int {
	n := 0
	for _, one := range list {
		if strings.EqualFold(one, name) {
			n++
		}
	}
	return n
}

func (m *Message) format() opinion {
	for _, name := range []string{"Date", "Message-ID"} {
		if n := m.has(name); n != 1 {
			return opinion{Unmet, "there are " + strconv.Itoa(n) + " " + name + " fields", "have the program that writes the message add one " + name + " field"}
		}
	}
	for _, f := range m.Header.Fields() {
		if longLine(f.Raw()) {
			return opinion{Unmet, "a line of " + f.Name() + " is over 998 octets", "fold the field: mail servers cut long lines, and signatures break"}
		}
	}
	if longLine(m.Body) {
		return opinion{Unmet, "a line of the body is over 998 octets", "encode the body as quoted-printable or base64: mail servers cut long lines, and signatures break"}
	}
	return opinion{Met, "", ""}
}

func longLine(text []byte) bool {
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if len(line) > maxLine {
			return true
		}
	}
	return false
}

func (m *Message) keyBits() opinion {
	o := m.onPassed("2048 bits or more", "generate a key of 2048 bits with a new selector, publish it, sign with it", func(r verifier.Result) string {
		if strings.HasPrefix(r.Algorithm, "rsa") && r.KeyBits < goodBits {
			return "an RSA key of " + strconv.Itoa(r.KeyBits) + " bits"
		}
		return ""
	})
	rsa := slices.ContainsFunc(m.passed(), func(r verifier.Result) bool { return strings.HasPrefix(r.Algorithm, "rsa") })
	if o.state == Met && !rsa {
		return opinion{Unmet, "only signatures by Ed25519 keys verify", "sign with an RSA key as well: not every receiver knows Ed25519 (RFC 8463)"}
	}
	return o
}

func (m *Message) keyTesting() opinion {
	return m.onPassed("", "remove t=y from the key's record: verifiers may treat the mail as unsigned", func(r verifier.Result) string {
		if r.Testing {
			return "its key says t=y"
		}
		return ""
	})
}

func (m *Message) bodyLength() opinion {
	return m.onPassed("", "sign without l=: others can add to the body what they like", func(r verifier.Result) string {
		if r.BodyLength >= 0 {
			return fmt.Sprintf("l=%d of %d octets", r.BodyLength, len(m.Body))
		}
		return ""
	})
}

func (m *Message) oversigned() opinion {
	return m.onPassed("", "name From twice in h= ([sign] oversign)", func(r verifier.Result) string {
		if names(r.Headers, "From") <= m.From.Fields {
			return "h= names From " + strconv.Itoa(names(r.Headers, "From")) + " times"
		}
		return ""
	})
}

func (m *Message) sevenBit() opinion {
	eightBit := func(text []byte) bool {
		return bytes.ContainsFunc(text, func(c rune) bool { return c > '~' && c != 0x7f })
	}
	for _, f := range m.Header.Fields() {
		if eightBit(f.Raw()) {
			return opinion{Unmet, f.Name() + " has octets that are not ASCII", "write encoded words (RFC 2047), unless every server on the way knows SMTPUTF8"}
		}
	}
	if !eightBit(m.Body) {
		return opinion{Met, "", ""}
	}
	declared := "7bit"
	if all := m.Header.All("Content-Transfer-Encoding"); len(all) > 0 {
		declared = strings.ToLower(strings.TrimSpace(string(all[0].Value())))
	}
	found := "the body is 8-bit"
	if declared == "7bit" && !bytes.Contains(bytes.ToLower(m.Body), []byte("8bit")) {
		found += ", and Content-Transfer-Encoding does not say so"
	}
	return opinion{Unmet, found, "encode the body as quoted-printable or base64 before it is signed: a server without 8BITMIME makes others of the octets"}
}
