// Package explain says in words why a signature does not verify: it tries what
// mail systems do to messages, one change at a time, until the hash is the one
// that was signed. It needs the whole message and takes its time, so it is for
// the command line; the daemon keeps no message and never calls it. The
// searches are bounded, and what they find is exact: a hash does not match by chance.
package explain

import (
	"errors"
	"strconv"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/internal/safetext"
)

// maxSignatures is how many signatures of a message are explained.
const maxSignatures = 10

// Message is what is explained.
type Message struct {
	Header *message.Header
	Body   []byte // with CRLF line ends
	// AsRead is the body as it stood in the file; nil: like Body.
	AsRead []byte
	// Lookup fetches the TXT records of a name.
	Lookup func(name string) ([]string, error)
}

// Explanation is what there is to say about one signature.
type Explanation struct {
	Domain, Selector string // d= and s=; empty where they cannot be read
	Holds            bool   // both hashes verify
	// Findings are sentences, the most telling first of each part: body, key, header. What they
	// quote from the message is printable ASCII.
	Findings []string
	// Fields are the signed fields as they were hashed, in the order of h=.
	Fields []string
}

// Explain looks at each signature of a message, top first.
func Explain(m Message) []Explanation {
	var list []Explanation
	for i, f := range m.Header.Fields() {
		if !f.Is(dkim.SignatureField) {
			continue
		}
		if len(list) == maxSignatures {
			break
		}
		list = append(list, explain(m, i))
	}
	return list
}

func explain(m Message, index int) Explanation {
	sig, err := dkim.ParseSignature(m.Header.Fields()[index])
	e := Explanation{Domain: visible(string(sig.Domain)), Selector: visible(sig.Selector)}
	if err != nil {
		e.say("the DKIM-Signature field itself is invalid: " + visible(err.Error()))
	}
	if len(sig.BodyHash) == 0 || len(sig.Value) == 0 || len(sig.Headers) == 0 || sig.Domain == "" || sig.Selector == "" {
		return e
	}
	bodyHolds := e.body(m, sig)
	h := newHeaderCase(m.Header, index, sig)
	headerHolds := e.header(h, m.Lookup)
	e.Holds = err == nil && bodyHolds && headerHolds
	e.Fields = h.canonical()
	return e
}

func (e *Explanation) say(sentence string) { e.Findings = append(e.Findings, sentence) }

// maxShown bounds what is quoted from a message.
const maxShown = 400

// visible is text from the message on one line, byte by byte: a conversion of its charset has to show.
func visible(s string) string { return safetext.Bytes(safetext.Clip(s, maxShown)) }

func quote(s string) string { return `"` + visible(s) + `"` }

// fetch gets the keys of a signature, and says what is wrong where there is none.
func (e *Explanation) fetch(sig *dkim.Signature, lookup func(string) ([]string, error)) []*dkim.KeyRecord {
	name := dkim.RecordName(sig.Selector, sig.Domain)
	records, err := lookup(name)
	if err != nil {
		e.say("the key at " + visible(name) + " could not be fetched: " + visible(err.Error()))
		if errors.Is(err, resolver.ErrNotExist) || errors.Is(err, resolver.ErrNoData) {
			e.misplaced(sig, lookup)
		}
		return nil
	}
	var keys []*dkim.KeyRecord
	for _, txt := range records {
		key, err := dkim.ParseKeyRecord(txt)
		switch {
		case errors.Is(err, dkim.ErrKeyRevoked):
			e.say("the key at " + visible(name) + " is revoked: its p= is empty")
		case err != nil:
			e.say("a TXT record at " + visible(name) + " is not a usable key: " + visible(dkim.KeyFlaw(txt, err)) + ": " + quote(txt))
		case !strings.HasPrefix(sig.Algorithm, key.Type+"-"):
			e.say("the key at " + visible(name) + " is another one: it is of type " + key.Type + ", and the signature says a=" + visible(sig.Algorithm))
		default:
			keys = append(keys, key)
		}
	}
	if len(records) > 1 {
		e.say("there are " + strconv.Itoa(len(records)) + " TXT records at " + visible(name) + halves(records))
	}
	return keys
}

// halves says whether two records are one that was cut.
func halves(records []string) string {
	if len(records) == 2 {
		for _, text := range []string{records[0] + records[1], records[1] + records[0]} {
			_, err := dkim.ParseKeyRecord(text)
			_, first := dkim.ParseKeyRecord(records[0])
			_, second := dkim.ParseKeyRecord(records[1])
			if err == nil && first != nil && second != nil {
				return ", which together are one key: it was cut into records, and must be one record of several strings"
			}
		}
	}
	return ", and one is allowed: verifiers take any of them (RFC 6376 section 3.6.2.2)"
}

// misplaced says where a key is that is not at its name.
func (e *Explanation) misplaced(sig *dkim.Signature, lookup func(string) ([]string, error)) {
	for _, m := range dkim.MisplacedNames(sig.Selector, sig.Domain) {
		records, err := lookup(m.Name)
		if errors.Is(err, resolver.ErrTemporary) {
			return
		}
		for _, txt := range records {
			if _, err := dkim.ParseKeyRecord(txt); err == nil {
				e.say("a key is at " + visible(m.Name) + ": " + visible(m.Why))
				return
			}
		}
	}
}
