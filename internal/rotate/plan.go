// Package rotate takes keys through their lives: a new key is made, published, waited for, and signs; the one before
// it retires, and once no mail with its signatures is under way its record is revoked and the private key destroyed.
// plan.go decides and does nothing; engine.go does it, one domain at a time, and is the same
// for commands and for the daemon. Whatever it is stopped at, the next run goes on from the files and from what DNS says.
package rotate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/resolver/authority"
	"dkimd/internal/safetext"
	"dkimd/keys"
)

const (
	// askAgain is after how long a record is asked for once more that no server has.
	askAgain = 10 * time.Minute
	// revoked is the record of a revoked key (RFC 6376 section 3.6.1).
	revoked = "v=DKIM1; p="
)

// Policy is how keys live.
type Policy struct {
	Keep     time.Duration // how long mail may be under way
	Patience time.Duration // after this, whatever holds a key up is an error
	Withdraw bool          // records go at the end; else they are revoked
	Reveal   bool          // the record of a revoked key has the private key in it
}

// Do is what is to be done with a key.
type Do uint8

// What may be done with a key.
const (
	Nothing Do = iota // for now
	Save              // only its state has changed
	Make
	Publish // bring Step.Record into DNS in place of Step.Old
	Activate
	Retire // the keys that it replaces
	Begin  // with the next type of key
	Destroy
)

// Step is what comes next for a key.
type Step struct {
	Do          Do
	Life        keys.Life     // as it is then
	Old, Record string        // of Publish
	Text        string        // what it waits for, or what is done
	Stuck       bool          // it needs somebody
	After       time.Duration // when to look again
}

// Facts are what DNS says about a key.
type Facts struct {
	Said []authority.Said // each server of the zone, of each name at which the record has to be
	View []authority.Said // recursive servers: ours, and those that were named
	Err  error            // the servers could not be found
}

// fits judges the TXT records at a name; why may say more than what is there.
type fits func(texts []string) (fit bool, why string)

// judged is what Facts are to a wish.
type judged struct {
	all      bool          // every server has it
	none     bool          // no server of the zone has it
	lacking  string        // who has something else, and what; or who does not answer
	silent   bool          // lacking is one that does not answer
	hold     time.Duration // how long caches may keep what lacking servers said
	negative time.Duration // how long they keep absences in this zone
	ttl      time.Duration // of the records
	other    string        // a record at a name of ours, of which strange is true
}

// nobody has a strange record where it does not matter whose it is.
func nobody(string) bool { return false }

// judge compares what is said with a wish. strange tells records of others.
func (f Facts) judge(wish fits, strange func(text string) bool) judged {
	j := judged{all: f.Err == nil && len(f.Said) > 0, none: true}
	lack := func(s authority.Said, silent bool, why string) {
		if j.all || j.silent && !silent { // who says something wrong is told rather than who says nothing
			j.lacking, j.silent = s.Server+" "+why, silent
		}
		j.all = false
	}
	if f.Err != nil {
		j.lacking, j.silent = f.Err.Error(), true
	}
	for _, s := range f.Said {
		j.negative, j.ttl = max(j.negative, s.Negative), max(j.ttl, s.TTL)
		if s.Err != nil {
			lack(s, true, s.Err.Error())
			continue
		}
		fit, why := wish(s.Texts)
		if fit {
			j.none = false
			continue
		}
		j.hold = max(j.hold, s.TTL)
		if len(s.Texts) == 0 {
			j.hold = max(j.hold, s.Negative)
		}
		for _, text := range s.Texts {
			if !s.Wildcard && strange(text) {
				j.other = text
			}
		}
		lack(s, false, has(s, why))
	}
	for _, s := range f.View {
		if s.Err != nil {
			lack(s, true, s.Err.Error())
		} else if fit, why := wish(s.Texts); !fit {
			text := has(s, why)
			if j.all {
				text += ", though every server of the zone is right: it remembers, or has another view of DNS"
			}
			lack(s, false, text)
		}
	}
	return j
}

// has is what a server has at a name, and what is wrong with it.
func has(s authority.Said, why string) string {
	text := "has " + shown(s.Texts) + " at " + s.Name
	if why != "" {
		text += ": " + why
	}
	return text
}

func shown(texts []string) string {
	switch len(texts) {
	case 0:
		return "no record"
	case 1:
		return safetext.Quote(safetext.Clip(texts[0], 60))
	}
	return fmt.Sprintf("%d records", len(texts))
}

// serves judges whether verifiers take the key of a record from what is at its name: one record, which need not be
// the same to the letter.
func serves(record string) fits {
	return func(texts []string) (bool, string) {
		if len(texts) != 1 || !dkim.SameKey(texts[0], record) {
			return false, ""
		}
		why := flaw(texts[0])
		return why == "", why
	}
}

// flaw is why verifiers do not take a key record for what it is to be; empty: they do.
func flaw(text string) string {
	switch record, err := dkim.ParseKeyRecord(text); {
	case err != nil:
		return dkim.KeyFlaw(text, err)
	case record.Testing:
		return "t=y has verifiers treat its mail as unsigned: take that tag out"
	}
	return ""
}

func isRevoked(text string) bool {
	_, err := dkim.ParseKeyRecord(text)
	return errors.Is(err, dkim.ErrKeyRevoked)
}

// Next is what comes next for a key. Facts are needed where Needs says so.
func Next(k keys.Held, f Facts, p Policy, now keys.Moment) Step {
	s := Step{Life: k.Life, After: time.Minute}
	if s.settle(k, now) {
		return s
	}
	switch k.Life.Stage {
	case keys.StageMade:
		s.made(f, p, now)
	case keys.StagePublished:
		s.published(f, p, now)
	case keys.StageActive:
		s.active(f, p, now)
	case keys.StageRetiring:
		s.retiring(f, p, now)
	case keys.StageRevoked, keys.StageWithdrawn:
		s.gone(k, now)
	case keys.StageDestroyed:
		s.Life.Rotating = false
	}
	return s
}

// Needs reports whether Next has to know what DNS says.
func Needs(k keys.Held, p Policy, now keys.Moment) bool {
	l := k.Life
	switch l.Stage {
	case keys.StageMade, keys.StagePublished:
		return k.Place == keys.Waiting
	case keys.StageActive:
		return k.Place == keys.Signing && len(l.Replaces) > 0
	case keys.StageRetiring:
		return k.Place != keys.Signing && (!l.Asked.IsZero() || l.Waited+now.Since(l.Looked) >= p.Keep+l.TTL)
	case keys.StageRevoked, keys.StageWithdrawn, keys.StageDestroyed:
	}
	return false
}

// settle brings the state in line with the file that the key has: an earlier run may have been
// killed between the two, or somebody has renamed the file. It reports whether there was something to do.
func (s *Step) settle(k keys.Held, now keys.Moment) bool {
	early := s.Life.Stage == keys.StageMade || s.Life.Stage == keys.StagePublished
	switch {
	case early && k.Place == keys.NoFile:
		s.Do, s.Text = Make, "make the key"
	case early && k.Place == keys.Signing:
		s.enter(keys.StageActive, now)
		s.Do, s.Text = Save, "signs"
	case early && k.Place == keys.Retired, s.Life.Stage == keys.StageActive && k.Place == keys.Retired:
		s.enter(keys.StageRetiring, now)
		s.Do, s.Text = Save, "signs no more"
	case s.Life.Stage == keys.StageActive && k.Place == keys.Waiting:
		s.enter(keys.StageMade, now)
		s.Do, s.Text = Save, "waits to be activated again"
	case !early && s.Life.Stage != keys.StageActive && k.Place == keys.Signing:
		s.enter(keys.StageActive, now)
		s.Life.Rotating = false
		s.Do, s.Text = Save, "signs again: somebody renamed it"
	case s.Life.Stage == keys.StageActive && k.Place == keys.NoFile:
		s.trouble("its private key is gone")
		s.Stuck = true
		return true
	default:
		return false
	}
	return true
}

// enter begins a stage.
func (s *Step) enter(stage keys.Stage, now keys.Moment) {
	l := &s.Life
	l.Stage, l.Since, l.Asked, l.Reminded, l.Trouble = stage, now.Wall, time.Time{}, time.Time{}, ""
	l.Waited, l.Looked = 0, now
	if stage == keys.StageActive || stage == keys.StageRetiring {
		l.Before = "" // of the selector's last life: what comes now is about this key
	}
	s.Do = Save
}

// count adds what has passed to the wait under way.
func (s *Step) count(now keys.Moment) {
	s.Life.Waited += now.Since(s.Life.Looked)
	s.Life.Looked = now
}

// restart begins the wait under way anew.
func (s *Step) restart(now keys.Moment) { s.Life.Waited, s.Life.Looked = 0, now }

// left is how much of a wait is left. A step that only counts is saved, too: what is not saved is waited for again.
func (s *Step) left(wait time.Duration) time.Duration { return max(wait-s.Life.Waited, 0) }

func (s *Step) trouble(text string) { s.Life.Trouble, s.Text, s.Do = text, text, Save }

// held says what holds the key up, and after patience that somebody has to look.
func (s *Step) held(what string, p Policy, now keys.Moment) {
	s.trouble(what)
	s.Stuck = now.Wall.Sub(s.Life.Since) > p.Patience
	// In the beginning a look costs little and saves a person's time.
	s.After = min(max(now.Wall.Sub(s.Life.Since)/10, time.Second), 10*time.Minute)
}

func (s *Step) made(f Facts, p Policy, now keys.Moment) {
	l := &s.Life
	j := f.judge(serves(l.Record), func(text string) bool {
		return !dkim.SameKey(text, l.Record) && text != l.Before && (l.Before == "" || !isRevoked(text))
	})
	s.count(now)
	l.Hold = max(l.Hold, j.hold, j.negative)
	switch {
	case j.all:
		s.enter(keys.StagePublished, now)
		l.TTL = max(l.TTL, j.ttl)
		s.Text = "every server has its record"
		s.After = 0
	case j.other != "":
		s.held("DNS has another record at its name, which is never overwritten: "+safetext.Quote(safetext.Clip(j.other, 60))+
			"; remove it, or rotate with another selector", p, now)
		s.Stuck = true
	case l.Asked.IsZero() && f.Err != nil:
		s.held(f.Err.Error(), p, now)
	case l.Asked.IsZero(), j.none && !j.silent && !f.have(l.Record) && l.Waited >= askAgain:
		s.Do, s.Old, s.Record, s.Text = Publish, inPlace(f, l.Before), l.Record, "publish its record"
		s.restart(now)
	default:
		s.held(j.lacking, p, now)
	}
}

// have reports whether a server has a record of this key, be it one that verifiers do not take.
func (f Facts) have(record string) bool {
	return slices.ContainsFunc(f.Said, func(s authority.Said) bool {
		return slices.ContainsFunc(s.Texts, func(text string) bool { return dkim.SameKey(text, record) })
	})
}

// inPlace is what is to be replaced: what DNS has, if it may be.
func inPlace(f Facts, before string) string {
	for _, s := range f.Said {
		for _, text := range s.Texts {
			if before != "" && !s.Wildcard && (text == before || isRevoked(text)) {
				return text
			}
		}
	}
	return ""
}

func (s *Step) published(f Facts, p Policy, now keys.Moment) {
	l := &s.Life
	j := f.judge(serves(l.Record), nobody)
	l.Hold, l.TTL = max(l.Hold, j.hold, j.negative), max(l.TTL, j.ttl)
	s.count(now)
	switch {
	case !j.all && !j.silent:
		asked := l.Asked
		s.enter(keys.StageMade, now)
		if l.Asked = asked; asked.IsZero() {
			l.Asked = now.Wall
		}
		s.trouble(j.lacking)
		s.After = time.Second
	case !j.all: // it may have forgotten the record, or never have had it
		s.held(j.lacking, p, now)
	case s.left(l.Hold+time.Second) > 0:
		left := s.left(l.Hold + time.Second)
		s.Do, l.Trouble = Save, ""
		s.Text = "caches may remember for " + span(left) + " that the record was not there"
		s.After = min(left, time.Minute)
	default:
		s.Do, s.Text, l.Trouble = Activate, "sign with it", ""
	}
}

func (s *Step) active(f Facts, p Policy, now keys.Moment) {
	l := &s.Life
	switch {
	case !l.Rotating:
	case len(l.Replaces) > 0:
		j := f.judge(serves(l.Record), nobody)
		if l.TTL = max(l.TTL, j.ttl); !j.all {
			s.held("what it replaces does not retire: "+j.lacking, p, now)
			return
		}
		s.Do, s.Text = Retire, "retire "+strings.Join(l.Replaces, ", ")
	case len(l.Then) > 0:
		s.Do, s.Text = Begin, "rotate "+l.Then[0]
	default: // it waits for the key that replaces it
		s.Text = "signs until the next key does"
	}
}

// retiring waits until no mail is under way that the key has signed, and then sees its record revoked or gone.
func (s *Step) retiring(f Facts, p Policy, now keys.Moment) {
	l := &s.Life
	s.count(now)
	keep := p.Keep + l.TTL
	if left := s.left(keep); left > 0 && l.Asked.IsZero() {
		s.Do, s.Text = Save, "mail that it has signed may be under way for another "+span(left)
		s.After = min(left, time.Hour)
		return
	}
	record, wanted := revoked, l.Record
	if l.Before != "" { // l.Record is the revoked one already
		wanted = l.Before
	}
	if !dkim.SameKey(wanted, wanted) { // then no record would be its own, and its end would come at once
		s.held("the record that it had is not known; dkimd has no way to see it revoked", p, now)
		s.Stuck = true
		return
	}
	if p.Withdraw {
		record = ""
	}
	j := f.judge(func(texts []string) (bool, string) {
		return !slices.ContainsFunc(texts, func(text string) bool { return dkim.SameKey(text, wanted) }), ""
	}, nobody)
	switch {
	case j.all:
		stage := keys.StageWithdrawn
		for _, said := range f.Said {
			if len(said.Texts) == 1 && isRevoked(said.Texts[0]) {
				stage = keys.StageRevoked
			}
		}
		s.enter(stage, now)
		l.Hold, s.After = max(l.TTL, j.ttl), 0
		s.Text = "its record is " + string(stage)
	case l.Asked.IsZero() && f.Err != nil:
		s.held(f.Err.Error(), p, now)
	case l.Asked.IsZero() && j.ttl > l.TTL: // nobody has looked at it before
		l.TTL = j.ttl
		s.Do, s.Text, s.After = Save, "mail that it has signed may be under way for another "+span(j.ttl), time.Second
	case l.Asked.IsZero(), j.none && !j.silent && now.Wall.Sub(l.Asked).Abs() >= askAgain:
		s.Do, s.Old, s.Record, s.Text = Publish, found(f, wanted), record, "revoke its record"
		l.Before, l.Record = wanted, revoked
	default:
		s.held(j.lacking, p, now)
	}
}

// found is the record of a key as DNS has it.
func found(f Facts, record string) string {
	for _, s := range f.Said {
		for _, text := range s.Texts {
			if dkim.SameKey(text, record) {
				return text
			}
		}
	}
	return record
}

func (s *Step) gone(k keys.Held, now keys.Moment) {
	l := &s.Life
	s.count(now)
	if left := s.left(l.Hold); left > 0 {
		s.Do, s.Text = Save, "caches may have its record for another "+span(left)
		s.After = min(left, time.Hour)
		return
	}
	if k.Place == keys.Retired {
		s.Do, s.Text = Destroy, "destroy the private key"
		return
	}
	s.enter(keys.StageDestroyed, now)
	l.Rotating, l.Bits, l.Hold = false, 0, 0
	s.Text = "its private key is destroyed"
}

// span is a duration for people.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Round(24*time.Hour)/(24*time.Hour)))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Round(time.Hour)/time.Hour))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", int(d.Round(time.Minute)/time.Minute))
	}
	return fmt.Sprintf("%d seconds", int(max(d.Round(time.Second)/time.Second, 1)))
}
