package policy

import (
	"strings"

	"dkimd/internal/dmarc"
	"dkimd/internal/spf"
	"dkimd/internal/tomlfile"
	"dkimd/verifier"
)

// asked is what a rule asks of SPF and DMARC: sets with one bit for each word; 0: whatever it is.
type asked struct {
	dmarc     uint8
	spf       uint8
	published uint8
	testing   ternary
}

// facts are what SPF and DMARC say.
type facts struct {
	dmarc     dmarc.Result
	published dmarc.Policy
	testing   bool
	spf       spf.Result
}

// assumption is one way in which it can be what DNS has left open.
type assumption struct {
	keys    verifier.Status // of signatures whose keys could not be fetched
	aligned bool            // whether those are that it is not known of
	facts
}

func (r *rule) compileAsked(t *tomlfile.Table) {
	dmarcBit := func(word string) uint8 {
		result, _ := dmarc.Parse(word)
		return 1 << result
	}
	spfBit := func(word string) uint8 {
		result, _ := spf.Parse(word)
		return 1 << result
	}
	r.asked.dmarc = r.words(t, "dmarc", dmarcBit, "pass", "fail", "none", "permerror", "temperror")
	if not := r.words(t, "not_dmarc", dmarcBit, "pass", "fail", "none", "permerror"); not != 0 {
		if r.asked.dmarc != 0 {
			t.Fault("not_dmarc", "dmarc or not_dmarc", "one of the two is enough")
		}
		r.asked.dmarc = (1<<dmarc.None | 1<<dmarc.Pass | 1<<dmarc.Fail | 1<<dmarc.PermError) &^ not
	}
	r.asked.spf = r.words(t, "spf", spfBit, "none", "neutral", "pass", "fail", "softfail", "permerror", "temperror")
	policies := map[string]uint8{"none": 1 << dmarc.PolicyNone, "quarantine": 1 << dmarc.PolicyQuarantine, "reject": 1 << dmarc.PolicyReject}
	r.asked.published = r.words(t, "published", func(word string) uint8 { return policies[word] }, "none", "quarantine", "reject")
	r.asked.testing = fact(t, "published_testing")
	if t.Has("without_spf") {
		t.Fault("without_spf", "no such key any more", `SPF is checked now: write dmarc = ["fail"] beside published, and remove it`)
	}
}

// words reads a list of words as a set. What DNS left open decides nothing, but that the message comes again.
func (r *rule) words(t *tomlfile.Table, key string, bit func(string) uint8, known ...string) (set uint8) {
	for i, word := range t.EnumList(key, nil, known...) {
		if word == "temperror" && r.action != TempFail {
			t.FaultItem(key, i, strings.Join(known[:len(known)-1], ", "), `what DNS left open decides nothing: where it matters the message is answered 451 4.7.5, and comes again; with action = "tempfail", `+key+` may name temperror`)
		}
		set |= bit(word)
	}
	refuseEmpty(t, key)
	return set
}

// unmet names the condition that does not hold, and what is there in its place. What is open is so whatever is assumed of it.
func (a asked) unmet(f, found facts) string {
	not := func(set, is, was uint8) bool { return set != 0 && set&(1<<is|1<<was) == 0 }
	switch {
	case not(a.dmarc, uint8(f.dmarc), uint8(found.dmarc)):
		return "dmarc: it is " + f.dmarc.String()
	case not(a.spf, uint8(f.spf), uint8(found.spf)):
		return "spf: it is " + f.spf.String()
	case a.published != 0 && a.published&(1<<f.published) == 0:
		return "published: the policy of From is " + f.policy()
	case !a.testing.allows(f.testing):
		return "published_testing: the policy of From " + map[bool]string{true: "is tested (t=y)", false: "is not tested"}[f.testing]
	}
	return ""
}

func (f facts) policy() string {
	if f.published == dmarc.PolicyAbsent {
		return "absent"
	}
	return f.published.String()
}

// left says why there is more than one way in which it can be.
type left uint8

const (
	openNow     left = iota // DNS will say later
	openForever             // nobody can tell
	notAsked                // the message was not judged by these rules, and nobody asked then
)

// possible are the facts that there may be, given what was found: only that where nothing is left open.
func (e *evidence) possible(f *file) (list []facts, why left) {
	found := e.found()
	list = []facts{found}
	if f.asksDMARC {
		list, why = e.possibleDMARC(found)
	}
	unasked := e.gaps&GapSPF != 0
	if f.asksSPF && (found.spf == spf.TempError || unasked) {
		var all []facts
		for _, one := range list {
			for _, one.spf = range []spf.Result{spf.None, spf.Neutral, spf.Pass, spf.Fail, spf.SoftFail, spf.PermError} {
				all = append(all, one)
			}
		}
		if list = all; unasked {
			why = notAsked
		}
	}
	return list, why
}

func (e *evidence) possibleDMARC(found facts) ([]facts, left) {
	d := e.report.DMARC
	switch {
	case e.gaps&GapDMARC != 0:
		return found.everything(), notAsked
	case e.gaps&GapSPF != 0 && d.Result == dmarc.Unknown:
		return found.results(dmarc.Pass, dmarc.Fail), notAsked
	case d.Result == dmarc.TempError && d.Policy != dmarc.PolicyAbsent: // the record is known
		return found.results(dmarc.Pass, dmarc.Fail), openNow
	case d.Result == dmarc.TempError:
		return found.everything(), openNow
	case d.Result == dmarc.Unknown && d.Policy != dmarc.PolicyAbsent:
		return found.results(dmarc.Pass, dmarc.Fail), openForever
	case d.Result == dmarc.Unknown && d.Author == "" && e.authors > 0: // nobody asked
		return found.everything(), openForever
	case d.Result == dmarc.PermError && d.Author == "" && e.authors > 0: // several authors, each with a policy of its own (RFC 9989 section 11.5)
		found.dmarc = dmarc.Fail // a second author must not help a forger past what is asked for the first
		return append(found.policies(false), e.found().policies(false)...), openForever
	case d.Result == dmarc.PermError && e.multiple: // From fields
		return found.results(dmarc.PermError, dmarc.Fail), openForever
	}
	return []facts{found}, openNow
}

func (f facts) results(results ...dmarc.Result) (list []facts) {
	for _, f.dmarc = range results {
		list = append(list, f)
	}
	return list
}

// policies are all that may be published.
func (f facts) policies(testing bool) (list []facts) {
	f.testing = testing
	for f.published = dmarc.PolicyAbsent; f.published <= dmarc.PolicyReject; f.published++ {
		list = append(list, f)
	}
	return list
}

// everything is all that may be where nothing is known of the record.
func (f facts) everything() (list []facts) {
	f.published, f.testing = dmarc.PolicyAbsent, false
	list = f.results(dmarc.None, dmarc.PermError)
	for _, f = range f.results(dmarc.Pass, dmarc.Fail) {
		for _, testing := range []bool{false, true} {
			list = append(list, f.policies(testing)[1:]...)
		}
	}
	return list
}
