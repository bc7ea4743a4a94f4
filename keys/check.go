package keys

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/internal/safetext"
)

// Lookup asks DNS. A *resolver.Resolver does.
type Lookup interface {
	// TXT is the TXT records at a name. Errors are resolver.ErrNotExist, ErrNoData and ErrTemporary.
	TXT(ctx context.Context, name string) (resolver.Answer, error)
}

// State is what DNS says about a key.
type State uint8

// The states of a key in DNS.
const (
	Unusable    State = iota // the private key itself cannot be used: DNS was not asked
	Published                // DNS serves this key
	Weak                     // DNS serves this key, but it is an RSA key of less than 2048 bits (RFC 8301 section 3.2)
	Testing                  // DNS serves this key with t=y: verifiers treat the mail as unsigned (RFC 6376 section 3.6.1)
	Absent                   // there is no record
	Different                // DNS serves another key
	Revoked                  // the record has an empty p= (RFC 6376 section 3.6.1)
	Several                  // more than one record: what a verifier takes is undefined (RFC 6376 section 3.6.2.2)
	Invalid                  // the record is not a key record, or not one for rsa-sha256 or ed25519-sha256 mail signatures
	Unreachable              // DNS could not be asked: nothing is known
)

// String is one word.
func (s State) String() string {
	switch s {
	case Unusable:
		return "unusable"
	case Published:
		return "published"
	case Weak:
		return "weak"
	case Testing:
		return "testing"
	case Absent:
		return "absent"
	case Different:
		return "different"
	case Revoked:
		return "revoked"
	case Several:
		return "several"
	case Invalid:
		return "invalid"
	case Unreachable:
		return "unreachable"
	}
	return "state " + strconv.Itoa(int(s))
}

// CheckResult compares a key with DNS.
type CheckResult struct {
	Key     *Key
	Private *Private // nil when Unusable
	State   State
	Record  Record   // what DNS should serve; its text is empty when Unusable
	Found   []string // the TXT records DNS serves
	// Alias is the end of a chain of CNAME records at which there is no TXT record.
	Alias string
	// Misplaced is another name, where DNS has this key's record. Seek finds it.
	Misplaced dkim.Misplaced
	Err       error // why the state is Unusable, Invalid or Unreachable
	// Strict is set when the record says t=s: i= must be in the domain itself.
	Strict bool
	// Authenticated is set when the resolver vouches for the answer (DNSSEC).
	Authenticated bool
}

// Serves reports whether verifiers can verify what the key signs.
func (r CheckResult) Serves() bool {
	return r.State == Published || r.State == Weak || r.State == Testing
}

// Words say what is found and, where something is wrong, what to do. They are one line.
func (r CheckResult) Words() string {
	switch r.State {
	case Unusable:
		return fmt.Sprint(r.Err)
	case Published:
		return "DNS serves this key"
	case Weak:
		return "DNS serves this key, but it is an RSA key of " + bitsOf(r.Private.Bits) + ", and some receivers ignore those below 2048 (RFC 8301 section 3.2): generate a new one"
	case Testing:
		return "DNS serves this key with t=y: verifiers treat the mail as if it were unsigned (RFC 6376 section 3.6.1); remove t=y once mail verifies"
	case Absent:
		return r.absent()
	case Different:
		return "DNS serves another key at " + r.Record.Name + ": " + r.found() + "; publish this key's record, or sign with the key that belongs to the published one"
	case Revoked:
		return "DNS says at " + r.Record.Name + " that the key is revoked (empty p=); generate a key with a new selector"
	case Several:
		return "DNS has " + strconv.Itoa(len(r.Found)) + " TXT records at " + r.Record.Name + ", and " + r.several()
	case Invalid:
		return "DNS serves something at " + r.Record.Name + " that verifiers cannot use: " + fmt.Sprint(r.Err) + ": " + r.found()
	case Unreachable:
		return "DNS could not be asked for " + r.Record.Name + ": " + fmt.Sprint(r.Err)
	}
	return r.State.String()
}

// absent says where the record is missing, and where it is instead.
func (r CheckResult) absent() string {
	switch {
	case r.Alias != "":
		return r.Record.Name + " is an alias (CNAME) of " + safetext.Domain(r.Alias) + ", which has no TXT record; publish it there, or put the TXT record in the place of the CNAME: the two cannot stand side by side"
	case r.Misplaced.Name != "":
		return "DNS has no TXT record at " + r.Record.Name + ", and has this key's at " + r.Misplaced.Name + ": " + r.Misplaced.Why
	}
	return "DNS has no TXT record at " + r.Record.Name + "; publish it, and give resolvers that have remembered its absence some minutes"
}

// several says what the records of a name with more than one are to the key.
func (r CheckResult) several() string {
	const law = ": verifiers take any of them (RFC 6376 section 3.6.2.2)"
	switch {
	case slices.ContainsFunc(r.Found, r.matches):
		return "one of them is this key's; leave only that one" + law
	case slices.ContainsFunc(orders(r.Found), r.matches):
		return "together they are this key's: it was cut into records; publish one record of several strings"
	}
	return "none of them is this key's; publish this key's record alone" + law
}

// matches reports whether a TXT record is this key's.
func (r CheckResult) matches(text string) bool {
	one := CheckResult{Private: r.Private}
	one.compare(text)
	return one.Serves()
}

// orders are a few texts joined in every order. DNS keeps none.
func orders(texts []string) []string {
	const most = 4
	if len(texts) == 1 {
		return texts
	}
	var all []string
	for i := range texts[:min(len(texts), most)] {
		if len(texts) > most {
			break
		}
		for _, rest := range orders(slices.Delete(slices.Clone(texts), i, i+1)) {
			all = append(all, texts[i]+rest)
		}
	}
	return all
}

// found is the first record, harmless to print.
func (r CheckResult) found() string {
	if len(r.Found) == 0 {
		return `""`
	}
	return strconv.QuoteToASCII(safetext.Clip(r.Found[0], 200))
}

// String is one line: the key, whether it signs, the state and Words.
func (r CheckResult) String() string {
	role := "signs"
	if r.Key.Pending() {
		role = "not yet active"
	}
	return fmt.Sprintf("%s (%s): %s: %s", r.Key, role, r.State, r.Words())
}

// Check asks DNS for the record of a key and compares.
func Check(ctx context.Context, lookup Lookup, key *Key) CheckResult {
	r := CheckResult{Key: key, Record: Record{Name: dkim.RecordName(key.Selector, key.Domain)}}
	private, err := key.Load(ctx)
	if err != nil {
		r.Err = err
		return r
	}
	r.Private = private
	if r.Record, err = NewRecord(key.Domain, key.Selector, private.Signer.Public()); err != nil {
		r.Err = err
		return r
	}
	answer, err := lookup.TXT(ctx, r.Record.Name)
	r.Found, r.Authenticated = answer.Records, answer.Authenticated
	switch {
	case errors.Is(err, resolver.ErrNotExist), errors.Is(err, resolver.ErrNoData), err == nil && len(r.Found) == 0:
		r.State = Absent
		if alias, ok := errors.AsType[*resolver.Dangling](err); ok {
			r.Alias = alias.Target
		}
	case err != nil:
		r.State, r.Err = Unreachable, err
	case len(r.Found) > 1:
		r.State = Several
	default:
		r.compare(r.Found[0])
	}
	return r
}

// Seek finds out where a record is that is not at its name. It asks about ten names.
func (r *CheckResult) Seek(ctx context.Context, lookup Lookup) {
	if r.State != Absent || r.Alias != "" {
		return
	}
	for _, m := range dkim.MisplacedNames(r.Key.Selector, r.Key.Domain) {
		answer, err := lookup.TXT(ctx, m.Name)
		if errors.Is(err, resolver.ErrTemporary) {
			return // the others would take as long
		}
		if slices.ContainsFunc(answer.Records, r.matches) {
			r.Misplaced = m
			return
		}
	}
}

// CheckDomain checks the keys of a domain, those that sign and those that wait;
// with a selector only these of that name. Unlike Check it also sees when the
// identity of domain.toml goes against the record.
func CheckDomain(ctx context.Context, lookup Lookup, d *Domain, selector string) []CheckResult {
	var results []CheckResult
	if d.AnySender() { // no record is its
		return nil
	}
	for _, k := range slices.Concat(d.Keys, d.Pending) {
		if selector == "" || k.Selector == selector {
			r := Check(ctx, lookup, k)
			if r.Serves() && r.Strict && d.Options.Identity != "" && message.DomainOf(d.Options.Identity) != d.Name {
				r.State = Invalid
				r.Err = fmt.Errorf("it says t=s, and the identity %s of domain.toml is not in %s itself (RFC 6376 section 3.6.1)", d.Options.Identity, d.Name)
			}
			results = append(results, r)
		}
	}
	return results
}

// compare sets what one TXT record is to the key.
func (r *CheckResult) compare(text string) {
	record, err := dkim.ParseKeyRecord(text)
	ours, ok := r.Private.Signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case errors.Is(err, dkim.ErrKeyRevoked):
		r.State = Revoked
		return
	case err != nil:
		r.State, r.Err = Invalid, errors.New(dkim.KeyFlaw(text, err))
		return
	case !ok || !ours.Equal(record.PublicKey):
		r.State = Different
	case record.Testing:
		r.State = Testing
	case r.Private.Type == RSA && r.Private.Bits < defaultRSABits:
		r.State = Weak
	default:
		r.State = Published
	}
	r.Strict = record.Strict
}

// names lists selectors for people.
func names(keys []*Key) string {
	var all []string
	for _, k := range keys {
		all = append(all, k.Selector)
	}
	return strings.Join(all, ", ")
}
