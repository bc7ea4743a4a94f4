// Package dmarc decides whether a message is authenticated as its author's domain, and what that domain
// asks for where it is not (RFC 9989). It finds the policy record and organizational domains by the DNS
// tree walk, and knows which identifiers are aligned. It does not verify signatures or check SPF, and it does not
// decide what happens to the message: a policy of "reject" is a wish, on which alone nobody may reject
// (sections 5.4 and 7.4). It sends no reports.
package dmarc

import (
	"errors"
	"fmt"

	"dkimd/internal/domain"
	"dkimd/internal/resolver"
)

// Result is a word of RFC 9989 section 9.1.
type Result uint8

// The results. Unknown stands for a message that is not aligned by DKIM where nobody looked at SPF.
const (
	Unknown   Result = iota
	None             // no policy record: DMARC does not apply
	Pass             // an identifier that is authenticated is aligned
	Fail             // there is a policy, and none is
	TempError        // DNS left it open
	PermError        // a record of no use, or not one author domain
)

var resultWords = [...]string{"", "none", "pass", "fail", "temperror", "permerror"} //nolint:gochecknoglobals // a table

// String is the word, empty for Unknown.
func (r Result) String() string { return resultWords[r] }

// Parse is the Result of a word; ok is false where it is none.
func Parse(word string) (r Result, ok bool) {
	for r := None; r <= PermError; r++ {
		if r.String() == word {
			return r, true
		}
	}
	return Unknown, false
}

// MarshalText writes what String says.
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Alignment says how an identifier relates to the domain of From (RFC 9989 section 3.2.10).
type Alignment uint8

// The alignments, weakest first.
const (
	AlignNone    Alignment = iota
	AlignRelaxed           // the same organizational domain
	AlignStrict            // the same domain
)

// String is "none", "relaxed" or "strict".
func (a Alignment) String() string { return [...]string{"none", "relaxed", "strict"}[a] }

// MarshalText writes what String says.
func (a Alignment) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Method is what authenticates an identifier.
type Method uint8

// The methods (RFC 9989 section 4.4).
const (
	DKIM Method = iota // d= of a signature
	SPF                // the domain of MAIL FROM
)

// String is "dkim" or "spf".
func (m Method) String() string { return [...]string{"dkim", "spf"}[m] }

// Identifier is a domain that is authenticated, or would be if DNS had answered.
type Identifier struct {
	Method Method
	Domain domain.Name
	Open   bool // DNS did not answer
}

// Verdict is what DMARC says of a message.
type Verdict struct {
	Result Result
	// Policy is what the domain asks for, after np=, sp= and t=. It is absent where there is no usable record.
	Policy Policy
	// Published is the same before t=.
	Published Policy
	Testing   bool        // t=y
	Author    domain.Name // the domain of From
	At        domain.Name // where the record is; empty: nowhere
	Org       domain.Name // the organizational domain of Author, where it was needed
	AlignedBy Identifier  // for a pass
	Reason    string      // for temperror and permerror
}

// maxWalks bounds the identifiers for which DNS is walked. A further one is not aligned.
const maxWalks = 5

// Discovery is what DNS says about an author domain, and about identifiers in relation to it.
type Discovery struct {
	walker
	author    domain.Name
	policy    stand // the policy record
	word      Policy
	err       error // nobody could tell which record it is
	wordErr   error // nobody could tell which of its words counts
	org       domain.Name
	orgFound  []stand
	orgErr    error
	walks     int
	relations []relation
}

// relation is that of an identifier to the author domain.
type relation struct {
	id        domain.Name
	alignment Alignment
	err       error
}

// Discover looks up the policy of an author domain (RFC 9989 section 4.10.1), and how identifiers are aligned
// with it (section 4.10.2): those that matter most first. It asks no more than it must. A domain that DNS cannot hold has no record
// and does not exist; like any other such name it has the policy of what is above it, whose name readers see at its end.
func Discover(lookup Lookup, author domain.Name, identifiers []domain.Name) *Discovery {
	d := &Discovery{author: author, relations: make([]relation, 0, len(identifiers))}
	d.lookup = lookup
	d.findPolicy()
	for _, id := range identifiers {
		d.align(id)
	}
	return d
}

// findPolicy prefers the record of the author domain, then that of its organizational domain, then that of the public
// suffix above. A record between these is not used (RFC 9989 section 4.10.1).
func (d *Discovery) findPolicy() {
	d.policy = d.ask(d.author, "policy", d.author)
	if d.err = d.policy.err; d.err != nil {
		return
	}
	if d.policy.found {
		d.word = d.policy.word(false, true)
		return
	}
	d.walkAuthor()
	if d.err = d.orgErr; d.err != nil {
		return
	}
	for _, s := range d.orgFound {
		if s.name == d.org || s.is('y') && !d.policy.found {
			d.policy = s
		}
	}
	if !d.policy.found {
		return
	}
	if d.word = d.policy.word(true, true); d.policy.word(true, false) == d.word {
		return
	}
	var exists bool
	if exists, d.wordErr = d.exists(); !exists {
		d.word = d.policy.word(true, exists)
	}
}

// walkAuthor finds the organizational domain of the author domain, once.
func (d *Discovery) walkAuthor() {
	if d.org != "" || d.orgErr != nil {
		return
	}
	d.orgFound, d.orgErr = d.walk(d.author)
	if d.orgErr == nil {
		d.org = organizational(d.author, d.orgFound)
	}
}

// exists reports whether the author domain does: only NXDOMAIN says no (RFC 9989 section 3.2.13). A name that is
// an alias exists.
func (d *Discovery) exists() (bool, error) {
	if !d.author.Lookable() {
		return false, nil
	}
	step := Step{For: "existence", Of: d.author, Name: string(d.author), Text: "it exists"}
	_, err := d.lookup(step.Name)
	_, alias := errors.AsType[*resolver.Dangling](err)
	gone := errors.Is(err, resolver.ErrNotExist) && !alias
	switch {
	case gone:
		step.Text = "it does not exist"
	case err == nil, alias, errors.Is(err, resolver.ErrNoData):
	default:
		step.Err = err
	}
	d.steps = append(d.steps, step)
	return !gone, step.Err
}

// align finds out how an identifier relates to the author domain, with as few questions as will do: equal names are
// aligned, and so is nothing that is not at or below the author's organizational domain.
func (d *Discovery) align(id domain.Name) {
	if _, known := d.relation(id); known || id == "" {
		return
	}
	r := d.relate(id)
	r.id = id
	d.relations = append(d.relations, r)
}

func (d *Discovery) relation(id domain.Name) (r relation, known bool) {
	for _, r := range d.relations { // to the domains of a message's signatures, of which few are verified
		if r.id == id {
			return r, true
		}
	}
	return relation{}, false
}

func (d *Discovery) relate(id domain.Name) relation {
	if id == d.author {
		return relation{alignment: AlignStrict}
	}
	if !id.Lookable() || !id.Within(below("", d.author)) { // whatever DNS says: see stand.is
		return relation{}
	}
	d.walkAuthor()
	if d.orgErr != nil || !id.Within(d.org) {
		return relation{err: d.orgErr}
	}
	if d.walks++; d.walks > maxWalks {
		return relation{}
	}
	found, err := d.walk(id)
	if err != nil || organizational(id, found) != d.org {
		return relation{err: err}
	}
	return relation{alignment: AlignRelaxed}
}

// Alignment is that of an identifier that Discover was given. An error says that DNS left it open.
func (d *Discovery) Alignment(id domain.Name) (Alignment, error) {
	r, _ := d.relation(id)
	return r.alignment, r.err
}

// Steps are the names asked for, in order.
func (d *Discovery) Steps() []Step { return d.steps }

// Judge is the verdict on a message whose author domain is that of the discovery. The identifiers are those of all
// methods that say pass, and those that are open; spf is whether SPF was asked: a message that is not aligned by DKIM
// alone may be by SPF.
func (d *Discovery) Judge(identifiers []Identifier, spf SPFState) Verdict {
	v := Verdict{Author: d.author, Org: d.org}
	switch {
	case d.err != nil:
		v.Result, v.Reason = TempError, d.err.Error()
		return v
	case !d.policy.found:
		v.Result = None
		return v
	}
	v.At, v.Published, v.Testing = d.policy.name, d.word, d.policy.testing
	if v.Policy = d.policy.applied(d.word); v.Policy == PolicyAbsent {
		v.Result, v.Reason = PermError, fmt.Sprintf("the record at _dmarc.%s has no usable policy", d.policy.name)
		return v
	}
	var open error
	for _, id := range identifiers {
		needed := d.policy.adkim
		if id.Method == SPF {
			needed = d.policy.aspf
		}
		aligned, err := d.Alignment(id.Domain)
		switch {
		case err != nil && needed == AlignRelaxed:
			open = err
		case aligned < needed:
		case id.Open:
			open = fmt.Errorf("%s of %s is not known", id.Method, id.Domain)
		default:
			v.Result, v.AlignedBy = Pass, id
			return v
		}
	}
	if d.wordErr != nil { // which of its words counts is open, too
		open, v.Policy, v.Published = d.wordErr, PolicyAbsent, PolicyAbsent
	}
	switch {
	case open != nil:
		v.Result, v.Reason = TempError, open.Error()
	case spf == SPFAsked:
		v.Result = Fail
	}
	return v
}

// SPFState is whether SPF was asked.
type SPFState bool

// The states.
const (
	SPFUnasked SPFState = false
	SPFAsked   SPFState = true
)
