package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/logtest"
	"dkimd/internal/message"
	"dkimd/internal/publish"
	"dkimd/internal/resolver"
	"dkimd/internal/resolver/authority"
	"dkimd/internal/rotate"
	"dkimd/keys"
)

// server is a name server, our resolver, and the way records come into it.
type server map[string]string

func (s server) Place(_ context.Context, name string) (target, zone string, err error) {
	return name, "example.org", nil
}

func (s server) Look(_ context.Context, name string, _ []string) authority.View {
	said := authority.Said{Server: "ns", Name: name, TTL: time.Hour, Negative: time.Hour}
	if text, ok := s[name]; ok {
		said.Texts = []string{text}
	}
	return authority.View{Name: name, Zone: "example.org", Said: []authority.Said{said}}
}

func (s server) Ask(context.Context, string, string) authority.Said { return authority.Said{} }

func (s server) TXT(_ context.Context, name string) (resolver.Answer, error) {
	if text, ok := s[name]; ok {
		return resolver.Answer{Records: []string{text}, TTL: time.Hour}, nil
	}
	return resolver.Answer{}, resolver.ErrNotExist
}

func (s server) String() string { return "at ns" }

func (s server) Apply(_ context.Context, c publish.Change) error {
	if s[c.Name] != c.Old {
		return publish.ErrTaken
	}
	s[c.Name] = c.New
	return nil
}

// rotating is a daemon with one domain that rotates in a bubble, without sockets.
type rotating struct {
	t      *testing.T
	d      *daemon
	r      *rotation
	dns    server
	log    *logtest.Lines
	dir    string
	jump   time.Duration // by which the clock on the wall was set
	closed func()

	destroyed []bool // whether early
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	w := &rotating{t: t, dns: server{}, log: new(logtest.Lines), dir: filepath.Join(t.TempDir(), "keys")}
	g, err := keys.Generate(keys.New{Directory: w.dir, Domain: "example.org", Selector: "old", Type: keys.Ed25519})
	if err == nil {
		_, err = keys.Activate(t.Context(), keys.Activation{Directory: w.dir, Domain: "example.org", Selector: "old", Force: true})
	}
	start := time.Now()
	if err == nil {
		err = os.Chtimes(filepath.Join(w.dir, "example.org", "old.pem"), start, start)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.dns[g.Record.Name] = g.Record.Text
	w.d = newDaemon(Options{Stderr: w.log, Version: "1"})
	c := &config.Config{}
	c.Sign.Directory = w.dir
	c.Rotate = config.Rotate{Every: 10 * 24 * time.Hour, Keep: 48 * time.Hour, Patience: 24 * time.Hour, AtOnce: 1, Selector: []string{"s{date}"}}
	store, faults := keys.Open(keys.Config{Directory: w.dir})
	if err := store.Wait(t.Context()); err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	w.closed = store.Close
	w.d.current.Store(&Setup{Config: c, Keys: store})
	w.r = newRotation(w.d, func(s *Setup) *rotate.Engine {
		e := Rotation(s.Config, w.dns, nil, slog.New(slog.NewTextHandler(w.log, nil)))
		e.DNS, e.Publisher = w.dns, func(string) rotate.Publisher { return rotate.Publisher{Method: w.dns, TTL: time.Hour} }
		e.Destroyed = func(early bool) { w.destroyed = append(w.destroyed, early) }
		e.Now = func() keys.Moment {
			return keys.Moment{Wall: time.Now().Add(w.jump), Boot: "one", Up: time.Since(start)}
		}
		return e
	})
	return w
}

// pass lets the daemon attend to its keys every now and then, with mail all the time, which has to be signed by a key that DNS serves.
func (w *rotating) pass(most time.Duration, until func() bool) bool {
	w.t.Helper()
	for range most / (20 * time.Minute) {
		w.r.attend(w.t.Context())
		for _, d := range w.d.current.Load().Keys.Lookup(message.Address{Local: "joe", Domain: "example.org"}) {
			for _, k := range d.Keys {
				private, err := k.Load(w.t.Context())
				if err != nil {
					w.t.Fatal(err)
				}
				if r, _ := keys.NewRecord(k.Domain, k.Selector, private.Signer.Public()); w.dns[r.Name] != r.Text {
					w.t.Fatalf("mail is signed with %s, and DNS has %q", k, w.dns[r.Name])
				}
				k.NoteSigned(time.Now().Add(w.jump))
			}
			if len(d.Keys) == 0 {
				w.t.Fatal("mail is not signed")
			}
		}
		if until() {
			return true
		}
		time.Sleep(20 * time.Minute) //nolint:forbidigo // the clock is that of synctest
	}
	return false
}

func (w *rotating) stage(s keys.Stage) func() bool {
	return func() bool { return w.d.rotationNow().stages[string(s)] == 1 }
}

// serve begins what is due, sees it through, and shows where it is; every message is signed meanwhile.
func TestServeRotates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newRotating(t)
		defer w.closed()
		const day = 24 * time.Hour
		if !w.pass(21*day, w.stage(keys.StagePublished)) {
			t.Fatalf("nothing is begun: %s", w.log.String())
		}
		if age := time.Since(w.r.d.began); age < 5*day {
			t.Errorf("it begins after %v", age)
		}
		for _, stage := range []keys.Stage{keys.StageRetiring, keys.StageRevoked, keys.StageDestroyed} {
			if !w.pass(3*day, w.stage(stage)) {
				t.Fatalf("no key is %s: %v\n%s", stage, w.d.rotationNow().stages, w.log.String())
			}
		}
		if len(w.d.rotationNow().stuck)+w.d.rotationNow().overdue != 0 || len(w.d.rotationNow().warnings()) > 0 {
			t.Errorf("%+v", w.d.rotationNow())
		}
		if len(w.destroyed) != 1 || w.destroyed[0] {
			t.Errorf("destroyed early: %v; want one key, and not early", w.destroyed)
		}
		if w.dns["old._domainkey.example.org"] != "v=DKIM1; p=" {
			t.Errorf("DNS: %v", w.dns)
		}
	})
}

// A clock that is set by a year shortens no wait and stops nothing, and mail is signed all the time.
func TestServeRotatesThroughClockJumps(t *testing.T) {
	t.Parallel()
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	for _, jumps := range [][]time.Duration{{year, -2 * year}, {-year, 2 * year}} {
		synctest.Test(t, func(t *testing.T) {
			w := newRotating(t)
			defer w.closed()
			if !w.pass(21*day, w.stage(keys.StagePublished)) {
				t.Fatal(w.log.String())
			}
			w.d.current.Load().Config.Rotate.Every = 0 // one rotation is enough
			w.jump = jumps[0]
			published := time.Now()
			if !w.pass(day, w.stage(keys.StageRetiring)) || time.Since(published) < 40*time.Minute {
				t.Fatalf("%v: retiring after %v: %v\n%s", jumps, time.Since(published), w.d.rotationNow().stages, w.log.String())
			}
			w.jump = jumps[1]
			retired := time.Now()
			if !w.pass(4*day, w.stage(keys.StageRevoked)) || time.Since(retired) < 48*time.Hour {
				t.Fatalf("%v: revoked after %v: %v\n%s", jumps, time.Since(retired), w.d.rotationNow().stages, w.log.String())
			}
			if !w.pass(day, w.stage(keys.StageDestroyed)) || w.destroyed[0] {
				t.Errorf("%v: %v, early %v", jumps, w.d.rotationNow().stages, w.destroyed)
			}
		})
	}
}

// What holds a key up for longer than patience is shown, and what is due is put off while DNS does not serve the keys.
func TestRotationIsHeldUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newRotating(t)
		defer w.closed()
		const day = 24 * time.Hour
		w.d.compared.Store(&comparison{keys: 10, missing: 1, unknown: 1})
		if w.pass(21*day, w.stage(keys.StagePublished)) || !strings.Contains(w.log.String(), "key rotation pauses") {
			t.Fatalf("it begins while DNS does not serve the keys: %s", w.log.String())
		}
		if !w.pass(11*day, func() bool { return w.d.rotationNow().paused && w.d.rotationNow().overdue == 1 }) {
			t.Fatalf("it is not shown: %+v", w.d.rotationNow())
		}
		w.d.compared.Store(&comparison{keys: 10, missing: 1})
		if !w.pass(day, w.stage(keys.StagePublished)) || !strings.Contains(w.log.String(), "key rotation goes on") {
			t.Fatalf("it does not begin then: %s", w.log.String())
		}
		for name := range w.dns {
			if !strings.HasPrefix(name, "old.") {
				w.dns[name] = "v=DKIM1; k=ed25519; p=" + strings.Repeat("A", 43) + "="
			}
		}
		if !w.pass(2*day, func() bool { return len(w.d.rotationNow().stuck) == 1 }) {
			t.Fatalf("it is not stuck: %v\n%s", w.dns, w.log.String())
		}
		status := w.d.rotationNow().status(nil)
		if len(status.Stuck) != 1 || !strings.HasPrefix(status.Stuck[0], "example.org/s") || !strings.Contains(strings.Join(w.d.rotationNow().warnings(), ""), "another record") {
			t.Errorf("%+v, %v", status, w.d.rotationNow().warnings())
		}
	})
}

// When a key on its way last signed is written down every few minutes, and when dkimd stops.
func TestLastSignatureIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newRotating(t)
		defer w.closed()
		if !w.pass(21*24*time.Hour, w.stage(keys.StagePublished)) {
			t.Fatal(w.log.String())
		}
		signed := func() time.Time {
			d, err := keys.Find(keys.Config{Directory: w.dir}, "example.org")
			if err != nil {
				t.Fatal(err)
			}
			held, _ := d.Held()
			for _, h := range held {
				if h.Selector == "old" {
					return h.Life.Signed
				}
			}
			return time.Time{}
		}
		if last := signed(); time.Since(last) > 40*time.Minute {
			t.Errorf("after some minutes: %v, and it is %v", last, time.Now())
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the clock is that of synctest
		at := time.Now().Truncate(time.Second)
		w.d.current.Load().Keys.Lookup(message.Address{Domain: "example.org"})[0].Keys[0].NoteSigned(at)
		w.r.attend(t.Context())
		if signed().Equal(at) {
			t.Error("a file is written too often")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w.r.run(ctx)
		if !signed().Equal(at) {
			t.Errorf("at the end: %v; want %v", signed(), at)
		}
	})
}

// A first key is made while DNS does not serve others: without it mail stays unsigned, and it waits for DNS by itself.
func TestFirstKeyIsNotHeldUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newRotating(t)
		defer w.closed()
		if err := os.Mkdir(filepath.Join(w.dir, "new.example"), 0o750); err != nil {
			t.Fatal(err)
		}
		w.d.current.Load().Config.Rotate.NewDomains = true
		w.d.compared.Store(&comparison{keys: 10, missing: 2})
		w.r.attend(t.Context())
		made, _ := filepath.Glob(filepath.Join(w.dir, "new.example", "*.pem.new"))
		if len(made) != 1 || w.d.rotationNow().paused {
			t.Errorf("%q: %s", made, w.log.String())
		}
	})
}
