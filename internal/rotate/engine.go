package rotate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/publish"
	"dkimd/internal/resolver"
	"dkimd/internal/resolver/authority"
	"dkimd/internal/safetext"
	"dkimd/keys"
)

// remindEvery is how often somebody is told again of what is to be done by hand.
const remindEvery = 24 * time.Hour

// DNS finds and asks servers. An authority.Config does.
type DNS interface {
	Place(ctx context.Context, name string) (target, zone string, err error)
	Look(ctx context.Context, name string, servers []string) authority.View
	Ask(ctx context.Context, server, name string) authority.Said
}

// Publisher is how the records of a zone come into DNS.
type Publisher struct {
	Method  publish.Method
	Servers []string // the authoritative servers to ask; none: those of the zone
	TTL     time.Duration
}

// Config is all that rotation needs.
type Config struct {
	Keys   keys.Config
	Policy Policy
	// Selectors of new keys: one with {date} in it, or several that are used in turn. A domain.toml may have others.
	Selectors []string
	Publisher func(name string) Publisher // of a record's name, at the end of aliases
	DNS       DNS
	Resolver  keys.Lookup // that dkimd verifies with
	// CheckServers are recursive servers that have to see the record, too.
	CheckServers []string
	// Reload has the daemon read the keys of these domains. Its error: it goes on with those that it has.
	Reload func(ctx context.Context, names []domain.Name) error
	// Elsewhere are the files of keys outside Keys.Directory that the daemon signs with, which tables on disk may no more name. Its
	// error: nobody knows. Nil: it signs with what is on disk.
	Elsewhere func(ctx context.Context) ([]string, error)
	// Wait is how long to wait for another process that works on the keys of a domain; 0: not at all.
	Wait time.Duration
	// Signed is when a key last signed, as far as this process knows; nil: it does not.
	Signed func(name domain.Name, selector string) time.Time
	// Destroyed is told of each private key that was destroyed, and whether it had signed less than Keep before; nil: nobody is.
	Destroyed func(early bool)
	Now       func() keys.Moment
	Logger    *slog.Logger
}

// Engine rotates keys. Its methods may be called from any goroutine, and by several processes.
type Engine struct {
	Config

	claims claims
}

// Line is where a key is.
type Line struct {
	Domain   domain.Name `json:"domain"`
	Selector string      `json:"selector"`
	Stage    keys.Stage  `json:"state"`
	Text     string      `json:"text"`             // what it waits for
	Stuck    bool        `json:"stuck,omitempty"`  // somebody has to look
	Record   string      `json:"record,omitempty"` // to be published by hand
}

// Report is where the keys of a domain are that are not at rest.
type Report struct {
	Lines []Line
	After time.Duration // when to step again; 0: all are at rest
	// Moved is what was done.
	Moved []string
}

// Signs reports whether no key is on its way to sign any more.
func (r Report) Signs() bool {
	return !slices.ContainsFunc(r.Lines, func(l Line) bool { return l.Stage == keys.StageMade || l.Stage == keys.StagePublished })
}

// maxMoves bounds what one Step does.
const maxMoves = 50

// job is one domain being worked on.
type job struct {
	*Engine
	domain *keys.Domain
	names  []domain.Name // whose keys these are
	held   []keys.Held
	report *Report
}

// open locks a domain.
func (e *Engine) open(ctx context.Context, name string) (j *job, unlock func(), err error) {
	d, err := keys.Find(e.Keys, name)
	if err != nil {
		return nil, nil, err
	}
	if unlock, err = d.Lock(ctx, e.Wait); err != nil {
		return nil, nil, err
	}
	j = &job{Engine: e, domain: d, report: &Report{}}
	if j.names, err = keys.Sharing(e.Keys.Directory, d); err == nil && j.names[0] != d.Name {
		err = fmt.Errorf("%s is a link to the keys of %s: rotate that", d.Name, j.names[0])
	}
	if err == nil {
		err = j.read()
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return j, unlock, nil
}

// read reads the directory anew.
func (j *job) read() (err error) {
	if j.domain, err = keys.Find(j.Keys, string(j.domain.Name)); err != nil {
		return err
	}
	held, faults := j.domain.Held()
	j.held = held
	return faults.Err()
}

// Step does for a domain what can be done now, and reports what the rest waits for.
func (e *Engine) Step(ctx context.Context, name string) (Report, error) {
	j, unlock, err := e.open(ctx, name)
	if err != nil {
		return Report{}, err
	}
	defer unlock()
	for range maxMoves {
		moved, err := j.pass(ctx)
		if err == nil && moved {
			err = j.read()
		}
		if err != nil || !moved {
			return *j.report, err
		}
	}
	return *j.report, nil
}

// pass looks at all keys and does the first thing that is to be done.
func (j *job) pass(ctx context.Context) (moved bool, err error) {
	j.report.Lines, j.report.After = nil, 0
	for _, k := range j.held {
		if !k.Recorded || !k.Life.Rotating || j.retiresWith(k) {
			continue
		}
		if err := j.complete(ctx, &k); err != nil {
			return false, err
		}
		now := j.Now()
		var facts Facts
		if Needs(k, j.Policy, now) {
			facts = j.facts(ctx, k.Selector)
		}
		s := Next(k, facts, j.Policy, j.Now())
		line := Line{Domain: j.domain.Name, Selector: k.Selector, Stage: s.Life.Stage, Text: s.Text, Stuck: s.Stuck}
		moved, err := j.do(ctx, k, &s, &line)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err != nil:
			line.Text = err.Error()
			line.Stuck = line.Stuck || now.Wall.Sub(k.Life.Since) > j.Policy.Patience || errors.Is(err, publish.ErrTaken)
			s.After = time.Minute
			s.Life = k.Life
			s.Life.Trouble = line.Text
			if saving := j.domain.SaveLife(k.Selector, s.Life); saving != nil {
				return false, errors.Join(err, saving)
			}
		case moved:
			j.report.Moved = append(j.report.Moved, k.Selector+": "+s.Text)
			j.Logger.Info("key moved on", "domain", string(j.domain.Name), "selector", k.Selector, "state", string(s.Life.Stage), "what", s.Text)
			return true, nil
		}
		j.report.Lines = append(j.report.Lines, line)
		if s.Life.Rotating && s.Life.Stage != keys.StageActive || len(s.Life.Replaces) > 0 {
			after := max(s.After, time.Second)
			if j.report.After == 0 || after < j.report.After {
				j.report.After = after
			}
		}
	}
	return false, nil
}

// retiresWith reports whether a key that has been renamed is still to be retired by the one that replaces it:
// only once the daemon has reloaded does its time begin.
func (j *job) retiresWith(k keys.Held) bool {
	return k.Life.Stage == keys.StageActive && k.Place == keys.Retired && slices.ContainsFunc(j.held, func(other keys.Held) bool {
		return slices.Contains(other.Life.Replaces, k.Selector)
	})
}

// complete adds what the state file does not know: the record, where a run was killed before it was written, and the last
// signature. The record of a key that may sign is that of its file: somebody may have put another key there.
func (j *job) complete(ctx context.Context, k *keys.Held) error {
	var private *keys.Private
	var err error
	switch {
	case k.Place == keys.Waiting, k.Place == keys.Signing:
		private, err = j.load(ctx, k.Selector)
	case k.Place == keys.Retired && k.Life.Record == "":
		private, err = j.domain.Retired(k.Selector)
	}
	if err != nil {
		return err
	}
	if private != nil {
		record, err := keys.NewRecord(j.domain.Name, k.Selector, private.Signer.Public())
		if err != nil {
			return err
		}
		if !dkim.SameKey(k.Life.Record, record.Text) {
			k.Life.Record, k.Life.Type = record.Text, private.Type
		}
	}
	if j.Signed != nil {
		if last := j.Signed(j.domain.Name, k.Selector); last.After(k.Life.Signed) {
			k.Life.Signed = last
			if k.Life.Stage == keys.StageRetiring && k.Life.Asked.IsZero() {
				k.Life.Waited, k.Life.Looked = 0, j.Now()
			}
		}
	}
	return nil
}

func (j *job) load(ctx context.Context, selector string) (*keys.Private, error) {
	for _, k := range slices.Concat(j.domain.Keys, j.domain.Pending) {
		if k.Selector == selector {
			return k.Load(ctx)
		}
	}
	return nil, fmt.Errorf("%s/%s: no key that could sign: is it left out by domain.toml?", j.domain.Name, selector)
}

// facts asks DNS about the record of a selector, below each domain whose keys these are.
func (j *job) facts(ctx context.Context, selector string) (f Facts) {
	for _, name := range j.names {
		record := dkim.RecordName(selector, name)
		target, _, err := j.DNS.Place(ctx, record)
		if err != nil {
			f.Err = err
			continue
		}
		view := authority.View{}
		if servers := j.Publisher(target).Servers; len(servers) > 0 {
			view = j.DNS.Look(ctx, target, servers)
		} else {
			view = j.DNS.Look(ctx, record, nil)
		}
		if view.Err != nil {
			f.Err = view.Err
		}
		f.Said = append(f.Said, view.Said...)
		answer, err := j.Resolver.TXT(ctx, record)
		if errors.Is(err, resolver.ErrNotExist) || errors.Is(err, resolver.ErrNoData) {
			err = nil
		}
		f.View = append(f.View, authority.Said{Server: "the resolver of dkimd", Name: record, Texts: answer.Records, TTL: answer.TTL, Err: err})
		for _, server := range j.CheckServers {
			f.View = append(f.View, j.DNS.Ask(ctx, server, record))
		}
	}
	return f
}

// Remember writes down when the keys of a domain that have a state file last signed: else a restart would forget it.
func (e *Engine) Remember(ctx context.Context, name string) error {
	j, unlock, err := e.open(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	for _, k := range j.held {
		before := k.Life.Signed
		if err := j.complete(ctx, &k); err != nil || !k.Recorded || k.Life.Signed.Equal(before) {
			continue
		}
		if err := j.domain.SaveLife(k.Selector, k.Life); err != nil {
			return err
		}
	}
	return nil
}

// Gone reports whether DNS does not have the record of a key: every server of the zone has answered, and neither they nor those
// that have to see the record have one with that key. known is false where one has not answered.
func (e *Engine) Gone(ctx context.Context, name domain.Name, selector, record string) (gone, known bool) {
	f := (&job{Engine: e, names: []domain.Name{name}}).facts(ctx, selector)
	if seen := (Facts{Said: f.View}); f.have(record) || seen.have(record) {
		return false, true
	}
	silent := func(s authority.Said) bool { return s.Err != nil }
	known = f.Err == nil && len(f.Said) > 0 && !slices.ContainsFunc(f.Said, silent) && !slices.ContainsFunc(f.View, silent)
	return known, known
}

// do carries out a step. moved: there is something new, and the keys are to be looked at again.
func (j *job) do(ctx context.Context, k keys.Held, s *Step, line *Line) (moved bool, err error) {
	switch s.Do {
	case Nothing:
		return false, nil
	case Save:
		return s.Life.Stage != k.Life.Stage, j.domain.SaveLife(k.Selector, s.Life)
	case Make:
		_, err = keys.Generate(keys.New{Directory: j.Keys.Directory, Domain: string(j.domain.Name), Selector: k.Selector, Type: s.Life.Type, Bits: s.Life.Bits})
		return true, err
	case Publish:
		return j.publish(ctx, k, s, line)
	case Activate:
		if _, err = keys.Activate(ctx, keys.Activation{Directory: j.Keys.Directory, Domain: string(j.domain.Name), Selector: k.Selector, Force: true}); err != nil {
			return false, err
		}
		if err := j.Reload(ctx, j.names); err != nil {
			return false, fmt.Errorf("it signs once dkimd has reloaded: %w", err)
		}
		s.enter(keys.StageActive, j.Now())
		return true, j.domain.SaveLife(k.Selector, s.Life)
	case Retire:
		return true, j.retire(ctx, k, s)
	case Begin:
		if err := j.begin(ctx, s.Life.Then, ""); err != nil {
			return false, err
		}
		s.Life.Then, s.Life.Rotating = nil, false
		return true, j.domain.SaveLife(k.Selector, s.Life)
	case Destroy:
		if err := j.claimed(ctx, k.Selector); err != nil {
			return false, err
		}
		if err := j.reveal(ctx, k, s); err != nil {
			return false, err
		}
		err := j.domain.Destroy(k.Selector)
		if err == nil && j.Destroyed != nil {
			age := j.Now().Wall.Sub(k.Life.Signed)
			j.Destroyed(!k.Life.Signed.IsZero() && age >= 0 && age < j.Policy.Keep)
		}
		return true, err
	}
	return false, fmt.Errorf("step %d: not known", s.Do)
}

// publish brings a record into DNS, or says who has to.
func (j *job) publish(ctx context.Context, k keys.Held, s *Step, line *Line) (bool, error) {
	byHand := false
	for _, name := range j.names {
		change, method, err := j.change(ctx, dkim.RecordName(k.Selector, name), name, k.Selector, s)
		if err != nil {
			return false, err
		}
		switch err := method.Apply(ctx, change); {
		case errors.Is(err, publish.ErrByHand):
			byHand = true
			line.Record += change.String() + "\n"
		case err != nil:
			return false, fmt.Errorf("%s %s: %w", change.Op(), method, err)
		}
	}
	now := j.Now()
	if byHand {
		line.Text = "waits for somebody to " + safetext.Printable(line.Record[:len(line.Record)-1])
		if now.Wall.Sub(s.Life.Reminded).Abs() >= remindEvery {
			s.Life.Reminded = now.Wall
			j.Logger.Warn("a DNS record is to be changed by hand", "domain", string(j.domain.Name), "selector", k.Selector, "what", line.Record[:len(line.Record)-1])
		}
	}
	again := !s.Life.Asked.IsZero()
	s.Life.Asked, s.Life.Trouble = now.Wall, ""
	return !byHand && !again, j.domain.SaveLife(k.Selector, s.Life)
}

// change is what is to be done with the record at a name, and how.
func (j *job) change(ctx context.Context, record string, name domain.Name, selector string, s *Step) (publish.Change, publish.Method, error) {
	target, zone, err := j.DNS.Place(ctx, record)
	if err != nil {
		return publish.Change{}, nil, err
	}
	p := j.Publisher(target)
	return publish.Change{
		Domain: string(name), Selector: selector, Name: target, Zone: zone, Old: s.Old, New: s.Record, TTL: p.TTL,
	}, p.Method, nil
}

// retire has the keys sign no more that this one replaces. Their time begins when the daemon has reloaded.
func (j *job) retire(ctx context.Context, k keys.Held, s *Step) error {
	replaced := slices.DeleteFunc(slices.Clone(j.held), func(h keys.Held) bool { return !slices.Contains(s.Life.Replaces, h.Selector) })
	for _, old := range replaced {
		if old.Place == keys.Signing {
			if err := j.claimed(ctx, old.Selector); err != nil {
				return err
			}
			if err := j.domain.Retire(old.Selector); err != nil {
				return err
			}
		}
	}
	if err := j.Reload(ctx, j.names); err != nil {
		return fmt.Errorf("%s signs until dkimd has reloaded: %w", s.Life.Replaces[0], err)
	}
	for _, old := range replaced {
		if old.Life.Stage == keys.StageActive {
			o := Step{Life: old.Life}
			o.enter(keys.StageRetiring, j.Now())
			if err := j.domain.SaveLife(old.Selector, o.Life); err != nil {
				return err
			}
		}
	}
	s.Life.Replaces, s.Life.Trouble, s.Life.Rotating = nil, "", len(s.Life.Then) > 0
	return j.domain.SaveLife(k.Selector, s.Life)
}

// reveal publishes the private key of a revoked key, if it is to be: then old signatures prove nothing any more.
func (j *job) reveal(ctx context.Context, k keys.Held, s *Step) error {
	if !j.Policy.Reveal || s.Life.Stage != keys.StageRevoked {
		return nil
	}
	private, err := j.domain.Reveal(k.Selector)
	if err != nil {
		return err
	}
	s.Old, s.Record = revoked, revoked+"; n="+dkim.EncodeQuotedPrintable(private)
	s.Life.Record = s.Record
	var line Line
	_, err = j.publish(ctx, k, s, &line)
	return err
}
