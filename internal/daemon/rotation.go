package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"dkimd/internal/config"
	"dkimd/internal/control"
	"dkimd/internal/domain"
	"dkimd/internal/publish"
	"dkimd/internal/resolver/authority"
	"dkimd/internal/rotate"
	"dkimd/internal/safetext"
	"dkimd/keys"
)

const (
	// rotateFirst is when keys are first looked after; mail comes first at a start.
	rotateFirst = time.Second
	// rotateScan is how often domains are looked through for keys that are to be rotated, a thousand of them.
	rotateScan = time.Minute
	// rotateParallel is how many domains are worked on at once.
	rotateParallel = 8
	// stuckEvery is how often it is said that a key is stuck.
	stuckEvery = 24 * time.Hour
	// rememberEvery is how often it is written down when keys last signed that are on their way.
	rememberEvery = 5 * time.Minute
	// rotateEnd is how long that may take when dkimd stops.
	rotateEnd = 5 * time.Second
)

// Rotation makes the engine that rotates the keys of a configuration. The caller sets what tells the daemon, and what it knows.
func Rotation(c *config.Config, dns keys.Lookup, servers []string, log *slog.Logger) *rotate.Engine {
	ask := authority.Config{Recursive: servers}
	for i, s := range servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			servers[i] = net.JoinHostPort(s, "53")
		}
	}
	return &rotate.Engine{Config: rotate.Config{
		Keys:      KeySources(c),
		Policy:    rotate.Policy{Keep: c.Rotate.Keep, Patience: c.Rotate.Patience, Withdraw: c.Rotate.Withdraw, Reveal: c.Rotate.Reveal},
		Selectors: c.Rotate.Selector, CheckServers: c.Rotate.CheckServers,
		Publisher: func(name string) rotate.Publisher { return publisher(c.Publish, name, ask) },
		DNS:       ask, Resolver: dns, Now: keys.Now, Logger: log,
		Reload: func(context.Context, []domain.Name) error { return nil },
	}}
}

// publisher is the [[publish]] with the longest zone that holds a name.
func publisher(all []config.Publish, name string, dns authority.Config) rotate.Publisher {
	p := config.Publish{Method: config.ByHand, TTL: time.Hour}
	found := false
	for _, other := range all {
		if (other.Zone == "" || domain.Name(name).Within(other.Zone)) && (!found || len(other.Zone) > len(p.Zone)) {
			p, found = other, true
		}
	}
	r := rotate.Publisher{Method: publish.ByHand{}, Servers: p.Servers, TTL: p.TTL}
	switch p.Method {
	case config.ByUpdate:
		u := &publish.Update{Primary: dns.Primary, Key: p.Key, Algorithm: p.Algorithm, Secret: p.Secret}
		if u.Server = p.Server; u.Server != "" {
			if _, _, err := net.SplitHostPort(u.Server); err != nil {
				u.Server = net.JoinHostPort(u.Server, "53")
			}
		}
		r.Method = u
	case config.ByCommand:
		r.Method = publish.Command{Args: p.Command}
	case config.ByZoneFile:
		r.Method = publish.ZoneFile{Path: p.File, Args: p.Run}
	}
	return r
}

// rotation is the daemon's part of rotating keys: when each domain's turn is.
type rotation struct {
	d      *daemon
	build  func(*Setup) *rotate.Engine
	moving map[domain.Name]time.Time // when to look again at domains whose keys are not at rest
	told   map[string]time.Time      // when it was said that a key is stuck
	scan   time.Time                 // when to look through all domains
	setup  *Setup                    // that was in force then
	view   rotationView
	stuck  map[domain.Name][]stuck
	// remember is when to write down again when keys last signed.
	remember time.Time
}

// stuck is a key that needs somebody, or a domain of which that is so.
type stuck struct{ name, text string }

func (s stuck) String() string { return s.name + ": " + s.text }

// rotationView is what is shown of rotations.
type rotationView struct {
	stages  map[string]int
	stuck   []stuck
	overdue int
	paused  bool
}

func (d *daemon) rotationNow() *rotationView {
	if v := d.rotating.Load(); v != nil {
		return v
	}
	return &rotationView{}
}

// warnings are lines of /readyz and dkimd status.
func (v *rotationView) warnings() (lines []string) {
	for _, s := range v.stuck {
		lines = append(lines, "key rotation is stuck: "+s.String())
	}
	if v.paused {
		lines = append(lines, "rotations that are due are not begun: too many keys are not seen in DNS (hint: dkimd key check)")
	}
	return lines
}

func (v *rotationView) status(withheld []string) control.Rotation {
	count := func(s keys.Stage) int { return v.stages[string(s)] }
	r := control.Rotation{
		Stages: control.Stages{
			Made: count(keys.StageMade), Published: count(keys.StagePublished), Active: count(keys.StageActive), Retiring: count(keys.StageRetiring),
			Revoked: count(keys.StageRevoked), Withdrawn: count(keys.StageWithdrawn), Destroyed: count(keys.StageDestroyed),
		},
		Stuck: []string{}, Overdue: v.overdue, Paused: v.paused, Withheld: append([]string{}, withheld...),
	}
	for _, s := range v.stuck {
		r.Stuck = append(r.Stuck, s.name)
	}
	return r
}

func newRotation(d *daemon, build func(*Setup) *rotate.Engine) *rotation {
	return &rotation{d: d, build: build, moving: map[domain.Name]time.Time{}, told: map[string]time.Time{}, stuck: map[domain.Name][]stuck{}}
}

// watchRotation rotates keys until ctx ends. Mail never waits for it.
func (d *daemon) watchRotation(ctx context.Context) {
	r := newRotation(d, func(s *Setup) *rotate.Engine {
		e := Rotation(s.Config, currentDNS{d}, s.Resolver.Servers(), d.log)
		e.Destroyed = d.metrics.Keys.Destroyed
		return e
	})
	r.run(ctx)
}

func (r *rotation) run(ctx context.Context) {
	for wait := rotateFirst; sleep(ctx, wait); wait = time.Second {
		r.hear()
		r.attend(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rotateEnd)
	defer cancel()
	r.rememberSigned(ctx, r.engine()) // messages have ended by now
}

// hear takes in what commands have begun.
func (r *rotation) hear() {
	for {
		select {
		case names := <-r.d.begun:
			for _, name := range names {
				r.moving[name] = time.Time{}
			}
		default:
			return
		}
	}
}

// engine is the engine of the setup in force.
func (r *rotation) engine() *rotate.Engine {
	engine := r.build(r.d.current.Load())
	engine.Reload = r.renew
	engine.Elsewhere = func(context.Context) ([]string, error) { return controlled{r.d}.Elsewhere(), nil }
	engine.Signed = func(name domain.Name, selector string) time.Time {
		return r.d.current.Load().Keys.Signed(name, selector)
	}
	return engine
}

// rememberSigned writes down when the keys last signed that are on their way. Who restarts dkimd does not shorten the wait for their mail.
func (r *rotation) rememberSigned(ctx context.Context, e *rotate.Engine) {
	for name := range r.moving {
		if ctx.Err() != nil {
			return
		}
		if err := e.Remember(ctx, string(name)); err != nil && !errors.Is(err, keys.ErrLocked) && r.news(string(name)+" signed") {
			r.d.log.Warn("could not write down when keys last signed", "domain", string(name), "error", err.Error())
		}
	}
}

// attend does what is due.
func (r *rotation) attend(ctx context.Context) {
	defer func() {
		if p := recover(); p != nil {
			r.d.log.Error("panic in rotating keys", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	now := time.Now()
	s := r.d.current.Load()
	engine := r.engine()
	if s != r.setup || !now.Before(r.scan) {
		names := keys.Names(s.Config.Sign.Directory)
		r.setup, r.scan = s, now.Add(max(rotateScan, rotateScan*time.Duration(len(names)/1000)))
		r.look(ctx, engine, names)
	}
	var due []domain.Name
	for name, at := range r.moving {
		if !now.Before(at) {
			due = append(due, name)
		}
	}
	slices.Sort(due)
	reports := make([]rotate.Report, len(due))
	faults := make([]error, len(due))
	var work errgroup.Group
	work.SetLimit(rotateParallel)
	for i, name := range due {
		work.Go(func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					faults[i] = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			reports[i], faults[i] = engine.Step(ctx, string(name))
			r.follow(ctx, engine.Keys, name)
			return nil
		})
	}
	_ = work.Wait()
	if ctx.Err() != nil {
		return
	}
	for i, name := range due {
		r.settle(name, reports[i], faults[i])
	}
	if !now.Before(r.remember) {
		r.remember = now.Add(rememberEvery)
		r.rememberSigned(ctx, engine)
	}
	r.show()
}

// show has the rest of the daemon see where rotations are.
func (r *rotation) show() {
	view := r.view
	for _, name := range slices.Sorted(maps.Keys(r.stuck)) {
		view.stuck = append(view.stuck, r.stuck[name]...)
	}
	r.d.rotating.Store(&view)
}

// look looks through all domains: for rotations that were begun elsewhere or before a restart, and for those that are due.
func (r *rotation) look(ctx context.Context, e *rotate.Engine, names []domain.Name) {
	c := r.setup.Config.Rotate
	view := rotationView{stages: map[string]int{}}
	waiting, held := 0, 0
	bad := r.d.compared.Load().bad()
	for _, name := range names {
		if ctx.Err() != nil {
			return
		}
		due, err := e.Look(string(name), c.Every, c.NewDomains)
		if err != nil {
			continue // the store has told
		}
		for _, stage := range due.Stages {
			view.stages[string(stage)]++
		}
		switch {
		case due.Moving:
			if _, known := r.moving[name]; !known {
				r.moving[name] = time.Time{}
			}
			if due.Waiting {
				waiting++
			}
		case due.First == "" && !due.Due:
			delete(r.stuck, name)
		case bad && due.First == "": // a first key can only help
			held++
			view.overdue++
		case waiting >= c.AtOnce:
			view.overdue++
		default:
			if err := e.Begin(ctx, string(name), due.First); err != nil {
				view.overdue++
				r.stick(name, err)
				if r.news(string(name)) {
					r.d.log.Error("could not begin to rotate keys", "domain", string(name), "error", err.Error())
				}
				continue
			}
			waiting++
			r.moving[name] = time.Time{}
		}
	}
	maps.DeleteFunc(r.stuck, func(name domain.Name, _ []stuck) bool {
		_, there := slices.BinarySearch(names, name)
		return !there
	})
	view.paused = held > 0
	if view.paused != r.view.paused {
		r.tellPause(held)
	}
	r.view = view
}

// tellPause tells that rotations by schedule are put off, or are no more.
func (r *rotation) tellPause(held int) {
	if held == 0 {
		r.d.log.Info("key rotation goes on")
		return
	}
	c := r.d.compared.Load()
	r.d.log.Warn("key rotation pauses: too many keys are not seen in DNS", "domains", held, "keys", c.keys, "not_published", c.missing, "unknown", c.unknown,
		"hint", "dkimd key check")
}

// stick notes that a domain's rotation needs somebody.
func (r *rotation) stick(name domain.Name, err error) {
	r.stuck[name] = []stuck{{string(name), safetext.Printable(err.Error())}}
}

// settle takes note of what came of a step.
func (r *rotation) settle(name domain.Name, report rotate.Report, err error) {
	switch {
	case errors.Is(err, keys.ErrNoKeys):
		delete(r.moving, name)
		delete(r.stuck, name)
		return
	case errors.Is(err, keys.ErrLocked): // a command does it
		r.moving[name] = time.Now().Add(time.Second)
		return
	case err != nil:
		r.stick(name, err)
		if r.news(string(name)) {
			r.d.log.Error("could not rotate keys", "domain", string(name), "error", err.Error(), "hint", "may dkimd's user write in the directory of the keys?")
		}
		r.moving[name] = time.Now().Add(time.Minute)
		return
	case report.After == 0:
		delete(r.moving, name)
	default:
		r.moving[name] = time.Now().Add(report.After)
	}
	delete(r.stuck, name)
	for _, l := range report.Lines {
		if l.Stuck {
			r.stuck[name] = append(r.stuck[name], stuck{string(name) + "/" + l.Selector, l.Text})
		}
		if l.Stuck && r.news(string(name)+"/"+l.Selector) {
			r.d.log.Error("a key is stuck on its way", "domain", string(name), "selector", l.Selector, "state", string(l.Stage), "what", l.Text)
		}
	}
}

// news reports whether something that needs somebody was not told today.
func (r *rotation) news(what string) bool {
	if last, told := r.told[what]; told && time.Since(last) < stuckEvery {
		return false
	}
	r.told[what] = time.Now()
	return true
}

// follow has the store sign with what another dkimd has made of the keys of a domain: a command that could not tell us, or
// a daemon on the same directory. A key that has retired for it is not to sign here until its record is gone.
func (r *rotation) follow(ctx context.Context, c keys.Config, name domain.Name) {
	d, err := keys.Find(c, string(name))
	if err != nil || !r.d.current.Load().Keys.Differs(d) {
		return
	}
	if names, err := keys.Sharing(c.Directory, d); err == nil {
		_ = r.renew(ctx, names) // what is wrong with them, each reload tells
	}
}

// renew has the store read the keys of domains anew. A domain that it does not have comes with a reload.
func (r *rotation) renew(ctx context.Context, names []domain.Name) error {
	for _, name := range names {
		err := r.d.current.Load().Keys.Renew(name)
		if errors.Is(err, keys.ErrNoKeys) {
			done, failed := controlled{r.d}.Reload(ctx, false)
			if err = failed; err == nil && done.Result == control.Refused {
				err = errors.New("the reload was refused")
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
