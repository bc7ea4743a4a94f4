// Package events writes the log stream: one record a message, as JSON, as a
// line for people, or as the lines that Exim writes. It never makes mail wait:
// what cannot be written is lost, counted and reported.
//
// All text in an Event may come from a stranger's message. In every format it
// is bounded and escaped, so that it can forge no line and no field.
package events

import (
	"strings"
	"time"
)

// Bounds of a record.
const (
	// MaxValue is how many bytes of any text are kept; longer text ends in "...".
	MaxValue = 1024
	// MaxList is how many elements of any list are kept.
	MaxList = 100
	// maxListBytes is after how many bytes a list takes no further element.
	maxListBytes = 32 << 10
)

// The modes of a message.
const (
	ModeSign     = "sign"     // ours, at least one signature was added
	ModeUnsigned = "unsigned" // ours, none was added
	ModeVerify   = "verify"
	ModeTrusted  = "trusted" // verified and recorded, not judged
	ModeSkipped  = "skipped" // neither signed nor verified, and unchanged
	ModeAborted  = "aborted" // the MTA left before the end
)

// Event is the one record of a message. Its JSON keys are a promise to those
// who read the stream: docs/events.md describes each, and a test compares.
// Every key is in every record; times of day are UTC, spans are milliseconds.
type Event struct {
	Time       time.Time     `json:"time"`       // end of the message
	ID         string        `json:"id"`         // the MTA's queue id
	MessageID  string        `json:"message_id"` // the Message-ID field's value
	Front      string        `json:"front"`      // milter, exim, command
	Mode       string        `json:"mode"`
	ReasonCode string        `json:"reason_code"` // of a closed set
	Reason     string        `json:"reason"`      // why it was signed, was not, or was verified instead
	Client     string        `json:"client"`      // address, "local" or "unreadable"
	Helo       string        `json:"helo"`
	Auth       string        `json:"auth"`   // login name
	Sender     string        `json:"sender"` // MAIL FROM; empty: the null sender
	From       []string      `json:"from"`   // addresses of all From fields
	Originator Originator    `json:"originator"`
	RcptTo     []string      `json:"rcpt_to"` // addresses of RCPT TO
	Recipients int           `json:"recipients"`
	List       bool          `json:"list"`  // there is a List-Id field
	Bytes      int64         `json:"bytes"` // header and body as received
	Signatures []Signature   `json:"signatures"`
	SPF        SPF           `json:"spf"`
	DMARC      DMARC         `json:"dmarc"`
	Signed     []Signed      `json:"signed"`
	Stripped   int           `json:"stripped"` // Authentication-Results fields removed
	Policy     []Decision    `json:"policy"`
	Verdict    string        `json:"verdict"`  // accept, quarantine, discard, tempfail, reject; aborted
	DNS        time.Duration `json:"dns_ms"`   // longest wait for lookups
	Total      time.Duration `json:"total_ms"` // from MAIL to the end
	Warnings   []string      `json:"warnings"`
	Error      string        `json:"error"` // a fault of dkimd's own

	// What only commands show: what DNS was asked for DMARC, a line each.
	Walk []string `json:"-"`

	// What only metrics show.
	Finish    time.Duration `json:"-"` // from the end of the body to the answer; 0: there is none
	LongField bool          `json:"-"` // it was signed with a line over 998 octets in the header
	LongBody  bool          `json:"-"` // or in the body
}

// Originator is what rules ask of From beside its addresses, so that they can be tried on the record: message.Originator.
type Originator struct {
	Faults  []string `json:"faults"`  // missing, unreadable, multiple, incomplete, unread
	Domains []string `json:"domains"` // that a reader may take for the author's; nil: the record is older than this key
	Sender  []string `json:"sender"`  // those of the Sender fields, where From names none
	Shows   string   `json:"shows"`   // a domain of others that a name in From shows
}

// What may be wrong with From.
const (
	FromMissing    = "missing"
	FromUnreadable = "unreadable"
	FromMultiple   = "multiple"   // more than one field
	FromIncomplete = "incomplete" // there is more in it than is read
	FromUnread     = "unread"     // Shows is not known
)

// Signature is what came of one DKIM-Signature field of a verified message.
type Signature struct {
	Domain           string   `json:"d"`
	Selector         string   `json:"s"`
	Algorithm        string   `json:"a"`
	Canonicalization string   `json:"c"`
	Result           string   `json:"result"` // RFC 8601 section 2.7.1
	Reason           string   `json:"reason"`
	KeyBits          int      `json:"key_bits"`
	Testing          bool     `json:"testing"`
	Aligned          string   `json:"aligned"`      // none, relaxed, strict
	AlignedOpen      bool     `json:"aligned_open"` // DNS did not say whether it is
	DNSSEC           bool     `json:"dnssec"`       // the name server vouches for the key record
	Duplicates       []string `json:"duplicates"`   // fields that may occur once, and occur more often than h= covers

	// What only the format exim writes.
	Code          Code   `json:"-"`
	Identity      string `json:"-"` // i=; not written where it is empty or "@" and the domain
	SignatureBits int    `json:"-"` // length of b=
	Timestamp     int64  `json:"-"` // t=; below 1: absent
	Expiration    int64  `json:"-"` // x=; below 1: absent
	BodyLength    int64  `json:"-"` // l=; -1: absent
}

// SPF is what SPF says of a verified message; empty where it was not asked.
type SPF struct {
	Result string `json:"result"` // RFC 7208 section 2.6
	Domain string `json:"domain"` // of MAIL FROM, or of HELO where there is no sender
	Reason string `json:"reason"`
}

// Why is the reason of a result other than pass.
func (s *SPF) Why() string {
	if s.Result == "pass" {
		return ""
	}
	return s.Reason
}

// DMARC is what DMARC says of a verified message (RFC 9989); empty where it was not asked.
type DMARC struct {
	Result    string `json:"result"`
	Policy    string `json:"policy"`    // what the domain asks for, t= applied
	Published string `json:"published"` // the same before t=
	Domain    string `json:"domain"`    // where the record is
	Org       string `json:"org"`       // the organizational domain of From, where it was needed
	Testing   bool   `json:"testing"`
	AlignedBy string `json:"aligned_by"` // dkim or spf, and the domain
	Reason    string `json:"reason"`
}

// Why says what a result rests on.
func (d *DMARC) Why() string {
	switch d.Result {
	case "pass":
		return "by " + d.AlignedBy
	case "fail":
		return "policy " + d.Policy
	}
	return d.Reason
}

// Signed is one signature that was added.
type Signed struct {
	Domain    string `json:"d"`
	Selector  string `json:"s"`
	Algorithm string `json:"a"`
}

// Decision is what the matched rule of one rules file said, also where the
// file only monitors.
type Decision struct {
	File   string `json:"file"`
	Rule   string `json:"rule"`
	Mode   string `json:"mode"` // monitor, enforce
	Action string `json:"action"`
	Reply  string `json:"reply"`
}

// Code says more closely than the result why a signature did not pass, for
// formats that have words of their own for it.
type Code uint8

// The codes, as far as Exim tells them apart.
const (
	CodeNone           Code = iota // passed, or nothing below
	CodeBodyHash                   // the body hash does not match
	CodeSignature                  // the signature does not match
	CodeKeyUnavailable             // the key is not there, or could not be fetched
	CodeKeyTooLong                 // the key record is longer than is read
	CodeKeySyntax                  // the key record cannot be used: syntax, type, revoked
	CodeKeySize                    // the key is too short
	CodeTags                       // a tag of the signature is missing or invalid
	CodeVersion                    // v= is not 1
	CodeSkipped                    // not looked at: over the limit
)

// ProbeID begins the queue ids of messages that dkimd probe shows to a milter. Those of mail servers do not:
// Postfix's long ones have no vowels, its short ones no letter past F, and Sendmail's begin with a digit.
const ProbeID = "PROBE"

// IsProbe reports whether the message came from dkimd probe, and from no mail server.
func (e *Event) IsProbe() bool { return strings.HasPrefix(e.ID, ProbeID) }

// Why is the reason with its code, as people read it.
func (e *Event) Why() string {
	if e.ReasonCode == "" {
		return e.Reason
	}
	return e.ReasonCode + ": " + e.Reason
}

// rule is the decision that the verdict comes from, if one does.
func (e *Event) rule() *Decision {
	for i := range e.Policy {
		if d := &e.Policy[i]; d.Action == e.Verdict && d.Mode != "monitor" {
			return d
		}
	}
	return nil
}
