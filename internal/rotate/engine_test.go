package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/publish"
	"dkimd/internal/resolver/authority"
	"dkimd/internal/rotate"
	"dkimd/keys"
)

// step steps until all keys are at rest or most of the time is over, and looks at the world after each step.
func (w *world) step(e *rotate.Engine, most time.Duration) rotate.Report {
	w.t.Helper()
	for end := w.now.Up + most; ; {
		r, err := e.Step(w.t.Context(), org)
		if err != nil {
			w.t.Fatalf("step: %v", err)
		}
		w.look()
		if r.After == 0 || w.now.Up >= end {
			return r
		}
		w.pass(min(r.After, end-w.now.Up))
	}
}

func (w *world) begin(e *rotate.Engine) {
	w.t.Helper()
	if err := e.Begin(w.t.Context(), org, ""); err != nil {
		w.t.Fatal(err)
	}
}

func TestWholeLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("old", keys.Ed25519)
	w.look()
	e := w.engine(nil)
	w.begin(e)
	const next = "s20261130-ed25519"
	w.lags = true
	w.step(e, 2*time.Hour)
	if got, want := w.states(), "old active, "+next+" made"; got != want {
		t.Fatalf("while one server lags: %s; want %s", got, want)
	}
	w.lags, w.second = false, maps.Clone(w.primary)
	w.look()
	w.step(e, 10*time.Minute)
	if got, want := w.states(), "old active, "+next+" published"; got != want {
		t.Fatalf("while caches may remember: %s; want %s", got, want)
	}
	w.step(e, time.Hour)
	if got, want := w.states(), "old retiring, "+next+" active"; got != want {
		t.Fatalf("after that: %s; want %s", got, want)
	}
	w.step(e, keep-2*time.Hour)
	if got, want := w.states(), "old retiring, "+next+" active"; got != want {
		t.Fatalf("while mail is under way: %s; want %s", got, want)
	}
	w.step(e, 24*time.Hour)
	if got, want := w.states(), "old destroyed, "+next+" active"; got != want {
		t.Fatalf("at the end: %s; want %s", got, want)
	}
	if got := w.primary["old._domainkey."+org]; got != "v=DKIM1; p=" {
		t.Errorf("the old record is %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, org, "old.pem*")); left != nil {
		t.Errorf("the old private key is there: %v", left)
	}
	if r := w.step(e, time.Hour); len(r.Lines) > 0 || len(r.Moved) > 0 {
		t.Errorf("it does not rest: %+v", r)
	}
}

// Whatever call a run is killed at, the next one goes on, and nothing that must be so is ever not so.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	for at := 1; ; at += 1 + at/12 { // the first calls decide; of the others, more and more are left out
		w := newWorld(t)
		w.signs("old", keys.Ed25519)
		w.keep = time.Hour
		e := w.engine(nil)
		w.kill = at
		died := false
		guard := func(do func()) { died = !survives(do) || died }
		guard(func() { w.begin(e) })
		for range 30 {
			var r rotate.Report
			var err error
			guard(func() { r, err = e.Step(t.Context(), org) })
			if err != nil {
				t.Fatal(err)
			}
			w.look()
			if !strings.Contains(w.states(), "s2026") {
				guard(func() { w.begin(e) }) // the operator asks again
			}
			w.pass(max(r.After, 10*time.Minute))
		}
		w.kill = 0
		if got, want := w.states(), "old destroyed, s20261130-ed25519 active"; got != want {
			t.Fatalf("killed at call %d: %s; want %s", at, got, want)
		}
		if !died {
			if at < 30 {
				t.Errorf("only %d calls to be killed at", at)
			}
			return
		}
	}
}

// The clock on the wall is no measure: a jump neither shortens a wait nor makes it longer than one more.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for name, jump := range map[string]time.Duration{"forward": year, "back": -year} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.signs("old", keys.Ed25519)
			e := w.engine(nil)
			w.begin(e)
			w.step(e, 5*time.Minute)
			w.now.Wall = w.now.Wall.Add(jump)
			w.step(e, 5*time.Minute)
			if got := w.states(); !strings.Contains(got, "old active") || !strings.Contains(got, "published") {
				t.Fatalf("a jump while caches may remember: %s", got)
			}
			w.step(e, time.Hour)
			w.now.Wall = w.now.Wall.Add(jump)
			w.step(e, keep/2)
			if got := w.states(); !strings.Contains(got, "old retiring") {
				t.Fatalf("a jump while mail is under way: %s", got)
			}
			w.now.Boot, w.now.Up = "two", time.Minute // of the time before, only what was counted is certain
			w.now.Wall = w.now.Wall.Add(jump)
			w.signed, w.wrong, w.served = map[string]time.Duration{}, map[string]time.Duration{}, map[string]time.Duration{}
			w.step(e, keep/2-2*time.Hour)
			if got := w.states(); !strings.Contains(got, "old retiring") {
				t.Fatalf("a jump over a boot: %s", got)
			}
			w.step(e, 24*time.Hour)
			if got := w.states(); !strings.Contains(got, "old destroyed") {
				t.Fatalf("at the end: %s", got)
			}
		})
	}
}

// What is in the way is told, nothing moves, and the old key goes on signing.
func TestHeldUp(t *testing.T) {
	t.Parallel()
	const name = "s20261130-ed25519._domainkey." + org
	tests := map[string]struct {
		change func(w *world)
		after  time.Duration
		want   string
		stuck  bool
	}{
		"a server is down":                  {func(w *world) { w.down = true }, time.Hour, "ns2 no answer over UDP", false},
		"a server is down for days":         {func(w *world) { w.down = true }, 73 * time.Hour, "ns2 no answer over UDP", true},
		"our resolver does not see it":      {func(w *world) { w.blind = true }, 2 * time.Hour, "the resolver of dkimd has no record at " + name + ", though every server of the zone is right", false},
		"a server lags for days":            {func(w *world) { w.lags = true }, 73 * time.Hour, "ns2 has no record at " + name, true},
		"a server lags":                     {func(w *world) { w.lags = true }, time.Hour, "ns2 has no record at " + name, false},
		"the update is refused":             {func(w *world) { w.refuse = errors.New("REFUSED") }, time.Hour, "publish in the world: REFUSED", false},
		"the update is refused for days":    {func(w *world) { w.refuse = errors.New("REFUSED") }, 73 * time.Hour, "publish in the world: REFUSED", true},
		"another key has the name":          {func(w *world) { w.primary[name], w.second[name] = "v=DKIM1; p=QUJD", "v=DKIM1; p=QUJD" }, 0, "DNS has another record at its name", true},
		"the update comes too late":         {func(w *world) { w.refuse = publish.ErrTaken }, 0, "there is another record", true},
		"the daemon does not reload":        {func(w *world) { w.reload = errors.New("refused") }, time.Hour, "signs until dkimd has reloaded: refused", false},
		"the record is to be made by hand":  {func(w *world) { w.byHand = true }, 0, "waits for somebody to publish " + name + ". 3600 IN TXT", false},
		"no server knows its neighbour yet": {func(w *world) { w.down, w.lags = true, true }, time.Hour, "ns2 no answer over UDP", false},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.signs("old", keys.Ed25519)
			e := w.engine(nil)
			test.change(w)
			w.begin(e)
			r := w.step(e, test.after)
			i := slices.IndexFunc(r.Lines, func(l rotate.Line) bool { return strings.Contains(l.Text, test.want) })
			if i < 0 || r.Lines[i].Stuck != test.stuck {
				t.Errorf("got %+v; want %q, stuck %t", r.Lines, test.want, test.stuck)
			}
			if got := w.states(); !strings.HasPrefix(got, "old active") {
				t.Errorf("states: %s", got)
			}
			if _, err := os.Stat(filepath.Join(w.dir, org, "old.pem")); err != nil && test.want[:5] != "signs" {
				t.Error(err)
			}
		})
	}
}

// A wildcard's record is nobody's at the name itself.
func TestWildcardIsNoRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wild = "v=spf1 -all"
	w.signs("old", keys.Ed25519)
	e := w.engine(nil)
	w.begin(e)
	w.step(e, 30*time.Minute)
	if got := w.states(); !strings.Contains(got, "published") {
		t.Fatalf("before its time is over: %s", got)
	}
	w.step(e, 45*time.Minute) // what the wildcard said is remembered for its TTL
	if got := w.states(); !strings.HasPrefix(got, "old retiring") {
		t.Errorf("after it: %s", got)
	}
}

// The record goes behind our back: before the key signs its wait begins anew, and then nothing retires.
func TestRecordGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("old", keys.Ed25519)
	e := w.engine(nil)
	w.begin(e)
	w.step(e, 10*time.Minute)
	const name = "s20261130-ed25519._domainkey." + org
	record := w.primary[name]
	delete(w.primary, name)
	delete(w.second, name)
	w.look()
	r := w.step(e, 5*time.Minute)
	if got := w.states(); !strings.Contains(got, "old active") || !strings.Contains(got, " made") {
		t.Fatalf("%s: %+v", got, r)
	}
	w.primary[name], w.second[name] = record, record
	w.step(e, 10*time.Minute)
	if got := w.states(); !strings.Contains(got, "old active") || !strings.Contains(got, "published") {
		t.Fatalf("back again: %s", got)
	}
	w.step(e, time.Hour)
	if got := w.states(); !strings.HasPrefix(got, "old retiring") {
		t.Errorf("after its time: %s", got)
	}
}

// A record is ours by its key and not to the letter: it neither counts as gone, nor as that of somebody else.
func TestRecordIsOursByItsKey(t *testing.T) {
	t.Parallel()
	const next = "s20261130-ed25519"
	for name, test := range map[string]struct {
		write func(record string) string
		signs bool   // verifiers take it for what it is to be
		waits string // what is told otherwise
	}{
		"a note":        {func(r string) string { return r + "; n=by hand" }, true, ""},
		"other order":   {func(r string) string { return strings.TrimPrefix(r, "v=DKIM1; ") + "; t=s; s=email" }, true, ""},
		"folded base64": {func(r string) string { return r[:40] + "  " + r[40:] }, true, ""},
		"testing":       {func(r string) string { return r + "; t=y" }, false, "t=y has verifiers treat its mail as unsigned"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.signs("old", keys.Ed25519)
			e := w.engine(nil)
			w.begin(e)
			w.step(e, time.Minute)
			rewrite := func(selector string) {
				at := selector + "._domainkey." + org
				w.primary[at], w.second[at] = test.write(w.primary[at]), test.write(w.second[at])
			}
			rewrite(next)
			r := w.step(e, time.Hour)
			if got := w.states(); strings.HasPrefix(got, "old retiring") != test.signs {
				t.Fatalf("the new key: %s, %+v", got, r)
			}
			if i := slices.IndexFunc(r.Lines, func(l rotate.Line) bool { return l.Selector == next }); test.waits != "" && !strings.Contains(r.Lines[i].Text, test.waits) {
				t.Errorf("it waits for %q; want %q", r.Lines[i].Text, test.waits)
			}
			if !test.signs {
				at := next + "._domainkey." + org
				w.primary[at] = strings.TrimSuffix(w.primary[at], "; t=y")
				w.second[at] = w.primary[at]
				w.step(e, 2*time.Hour)
			}
			rewrite("old")
			w.step(e, keep+24*time.Hour)
			if got := w.states(); !strings.HasPrefix(got, "old destroyed") {
				t.Fatalf("the old key: %s", got)
			}
			if got := w.primary["old._domainkey."+org]; got != "v=DKIM1; p=" {
				t.Errorf("its record was left: %q", got)
			}
		})
	}
}

// Nothing retires while the new key's record is gone again, and a key that has signed meanwhile waits anew.
func TestRecordGoesBeforeTheOldKeyRetires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("old", keys.Ed25519)
	late := time.Time{}
	e := w.engine(func(c *rotate.Config) {
		c.Signed = func(_ domain.Name, selector string) time.Time {
			if selector == "old" {
				return late
			}
			return time.Time{}
		}
	})
	w.begin(e)
	w.reload = errors.New("refused")
	w.step(e, time.Hour)
	const name = "s20261130-ed25519._domainkey." + org
	if got := w.states(); got != "old active, s20261130-ed25519 active" { // its file signs; the daemon has not read it
		t.Fatal(got)
	}
	record := w.primary[name]
	w.reload = nil
	delete(w.primary, name)
	delete(w.second, name)
	w.kill = 0
	for range 10 {
		if _, err := e.Step(t.Context(), org); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
	}
	if got := w.states(); !strings.HasPrefix(got, "old active") {
		t.Fatalf("it retires though the new key has no record: %s", got)
	}
	w.primary[name], w.second[name] = record, record
	w.pass(2 * time.Hour)
	w.step(e, time.Hour)
	if got := w.states(); !strings.HasPrefix(got, "old retiring") {
		t.Fatal(got)
	}
	w.step(e, keep-2*time.Hour)
	late = w.now.Wall // another process has signed with it
	w.step(e, keep)
	if got := w.states(); !strings.HasPrefix(got, "old retiring") {
		t.Errorf("%v after it last signed: %s", keep, got)
	}
	w.step(e, 3*time.Hour)
	if got := w.states(); !strings.HasPrefix(got, "old destroyed") {
		t.Errorf("at the end: %s", got)
	}
}

// Each life of a selector that is used in turn ends with its record revoked, not only the first.
func TestPairEndsEachTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("s1", keys.Ed25519)
	e := w.engine(func(c *rotate.Config) { c.Selectors = []string{"s1", "s2"} })
	ends := "s1"
	for turn, signs := range []string{"s1-ed25519", "s2-ed25519", "s1-ed25519", "s2-ed25519"} {
		w.begin(e)
		w.step(e, keep+48*time.Hour)
		if got := w.states(); !strings.Contains(got, ends+" destroyed") || !strings.Contains(got, signs+" active") {
			t.Fatalf("turn %d: %s", turn, got)
		}
		if got := w.primary[ends+"._domainkey."+org]; got != "v=DKIM1; p=" {
			t.Errorf("turn %d: the record of %s was left: %q", turn, ends, got)
		}
		ends = signs
	}
}

// The key of a file counts, not what the state beside it says of one that was there before.
func TestStateOfAnotherKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("old", keys.Ed25519)
	e := w.engine(nil)
	w.begin(e)
	w.step(e, 10*time.Minute)
	if got := w.states(); !strings.Contains(got, "published") {
		t.Fatal(got)
	}
	const next = "s20261130-ed25519"
	other, err := keys.Generate(keys.New{Directory: w.dir, Domain: "other.example", Selector: next, Type: keys.Ed25519})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other.Path, filepath.Join(w.dir, org, next+".pem.new")); err != nil {
		t.Fatal(err)
	}
	r := w.step(e, 2*time.Hour)
	if got := w.states(); !strings.HasPrefix(got, "old active") || !strings.Contains(r.Lines[len(r.Lines)-1].Text, "another record") {
		t.Errorf("it signs with a key that DNS does not have: %s, %+v", got, r)
	}
}

// Of a retired key whose record nobody knows nothing is destroyed; the key tells where it is.
func TestRetiredWithoutRecord(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"the key tells": false, "the key is gone": true} {
		w := newWorld(t)
		w.signs("old", keys.Ed25519)
		w.signs("new", keys.Ed25519)
		at := filepath.Join(w.dir, org, "old.pem")
		if err := os.Rename(at, at+".old"); err != nil {
			t.Fatal(err)
		}
		if gone {
			if err := os.Remove(at + ".old"); err != nil {
				t.Fatal(err)
			}
		}
		w.write(org+"/old.toml", "state = \"retiring\"\nrotating = true\n")
		r := w.step(w.engine(nil), keep+48*time.Hour)
		want := "old destroyed"
		if gone {
			want = "old retiring"
		}
		if got := w.states(); !strings.Contains(got, want) || gone == (len(r.Lines) == 0) {
			t.Errorf("%s: %s, %+v", name, got, r)
		}
		if got := w.primary["old._domainkey."+org]; (got == "v=DKIM1; p=") == gone {
			t.Errorf("%s: its record is %q", name, got)
		}
	}
}

// RSA and Ed25519 take turns, and a pair of selectors is used in turn.
func TestTypesAndPairs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("s1", keys.RSA)
	w.signs("s1-ed25519", keys.Ed25519)
	e := w.engine(func(c *rotate.Config) { c.Selectors = []string{"s1", "s2"} })
	w.begin(e)
	w.step(e, 10*time.Minute)
	if got, want := w.states(), "s1 active, s1-ed25519 active, s2 published"; got != want {
		t.Fatalf("%s; want %s", got, want)
	}
	w.step(e, 20*time.Minute)
	if got, want := w.states(), "s1 retiring, s1-ed25519 active, s2 active, s2-ed25519 published"; got != want {
		t.Fatalf("%s; want %s", got, want)
	}
	if err := e.Begin(t.Context(), org, ""); err != nil {
		t.Fatal(err) // it is under way
	}
	w.step(e, time.Hour)
	if err := e.Begin(t.Context(), org, ""); !errors.Is(err, rotate.ErrPair) {
		t.Fatalf("while s1 retires: %v; want ErrPair", err)
	}
	w.step(e, keep+24*time.Hour)
	w.begin(e)
	w.step(e, 30*time.Minute)
	if got := w.states(); !strings.HasPrefix(got, "s1 published, ") {
		t.Fatalf("s1 again, whose revoked record caches may have: %s", got)
	}
	w.step(e, 2*time.Hour)
	if got, want := w.states(), "s1 active, s1-ed25519 active, s2 retiring, s2-ed25519 retiring"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

// Where domains share a directory, each has to have the record.
func TestSharedDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("old", keys.Ed25519)
	if err := os.Symlink(org, filepath.Join(w.dir, "alias.example")); err != nil {
		t.Fatal(err)
	}
	e := w.engine(nil)
	if err := e.Begin(t.Context(), "alias.example", ""); err == nil || !strings.Contains(err.Error(), "rotate that") {
		t.Errorf("rotating the link: %v", err)
	}
	w.begin(e)
	w.step(e, time.Minute)
	for _, name := range []string{org, "alias.example"} {
		if !strings.HasPrefix(w.primary["s20261130-ed25519._domainkey."+name], "v=DKIM1; k=ed25519") {
			t.Errorf("no record for %s: %v", name, w.changes)
		}
	}
}

// With reveal the private key is public at the end; with withdraw there is no record.
func TestEnds(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]rotate.Policy{"reveal": {Reveal: true}, "withdraw": {Withdraw: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.signs("old", keys.Ed25519)
			policy.Keep, policy.Patience = keep, keep
			e := w.engine(func(c *rotate.Config) { c.Policy = policy })
			w.begin(e)
			w.step(e, keep+48*time.Hour)
			if got := w.states(); !strings.HasPrefix(got, "old destroyed") {
				t.Fatalf("states: %s", got)
			}
			text, there := w.primary["old._domainkey."+org]
			if policy.Withdraw && there || policy.Reveal && !strings.HasPrefix(text, "v=DKIM1; p=; n=MC4CAQ") {
				t.Errorf("the record at the end: %q", text)
			}
		})
	}
}

// Two at once exclude each other; a state file that is none stops the domain's rotation, not its keys.
func TestLockedAndBroken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("old", keys.Ed25519)
	e := w.engine(nil)
	d, err := keys.Find(keys.Config{Directory: w.dir}, org)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := d.Lock(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Step(t.Context(), org); !errors.Is(err, keys.ErrLocked) {
		t.Errorf("a second one: %v", err)
	}
	unlock()
	w.write(org+"/old.toml", "state = \"asleep\"\n")
	if err := e.Begin(t.Context(), org, ""); err == nil || !strings.Contains(err.Error(), `old.toml:1: state: got "asleep"`) {
		t.Errorf("a broken state file: %v", err)
	}
	w.look()
	if err := e.Begin(t.Context(), "none.example", ""); !errors.Is(err, keys.ErrNoKeys) {
		t.Errorf("no directory: %v", err)
	}
}

// What no name in DNS has room for is told before anything is made, for each type of key that is to rotate.
func TestSelectorsThatAreTooLong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		selectors []string
		types     []string
		alias     string
		refused   bool
	}{
		"a label of 63 octets":                       {[]string{strings.Repeat("a", 63)}, []string{keys.RSA}, "", false},
		"a label of 63 octets, in turn":              {[]string{strings.Repeat("a", 63), "b"}, []string{keys.RSA}, "", false},
		"with -ed25519 after it":                     {[]string{strings.Repeat("a", 63)}, []string{keys.Ed25519}, "", true},
		"with -ed25519 after it, in the second turn": {[]string{strings.Repeat("a", 63)}, []string{keys.RSA, keys.Ed25519}, "", true},
		"in turn, in the second turn":                {[]string{strings.Repeat("a", 56), "b"}, []string{keys.RSA, keys.Ed25519}, "", true},
		"with a date":                                {[]string{strings.Repeat("a", 56) + "{date}"}, []string{keys.RSA}, "", true},
		"a name of more than 253 octets":             {[]string{strings.Repeat(strings.Repeat("a", 50)+".", 4) + "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, []string{keys.RSA}, "", true},
		"below a domain with the same keys":          {[]string{strings.Repeat("a", 63)}, []string{keys.RSA}, strings.Repeat(strings.Repeat("b", 60)+".", 3) + "example", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, kind := range test.types {
				w.signs("old-"+kind, kind)
			}
			if test.alias != "" {
				w.link(org, filepath.Join(w.dir, test.alias))
			}
			before := w.states()
			e := w.engine(func(c *rotate.Config) { c.Selectors = test.selectors })
			err := e.Begin(t.Context(), org, "")
			if (err != nil) != test.refused || test.refused && !strings.Contains(err.Error(), "selector \"a") {
				t.Errorf("got %v; refused %t", err, test.refused)
			}
			if got := w.states(); test.refused && got != before {
				t.Errorf("states: %s; before: %s", got, before)
			}
		})
	}
}

// How long absences are remembered in a zone counts also where nobody has seen that the record was not there.
func TestAbsenceThatNobodySaw(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("s", keys.Ed25519)
	record := w.primary["s._domainkey."+org]
	has := authority.Said{Server: "ns", Name: "s", Texts: []string{record}, TTL: ttl, Negative: negative}
	k := keys.Held{Selector: "s", Place: keys.Waiting, Life: keys.Life{Stage: keys.StageMade, Since: w.now.Wall, Looked: w.now, Record: record}}
	s := rotate.Next(k, rotate.Facts{Said: []authority.Said{has}}, rotate.Policy{Keep: keep, Patience: keep}, w.now)
	if s.Life.Stage != keys.StagePublished || s.Life.Hold != negative {
		t.Errorf("%+v", s.Life)
	}
}

// domain.toml decides which keys sign: a key that would not is not made.
func TestSelectorsOfTheDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("old", keys.Ed25519)
	w.write(org+"/domain.toml", "selectors = [\"old\"]\n")
	e := w.engine(nil)
	if err := e.Begin(t.Context(), org, ""); err == nil || !strings.Contains(err.Error(), "would not sign") {
		t.Errorf("got %v", err)
	}
	if got := w.states(); got != "old active" {
		t.Errorf("states: %s", got)
	}
}

// A key that others name is neither replaced nor destroyed under them.
func TestNamedElsewhere(t *testing.T) {
	t.Parallel()
	const never = "" // refused
	for name, test := range map[string]struct {
		change func(w *world, c *rotate.Config)
		want   string // of the error; empty: it rotates
	}{
		"a key table": {func(w *world, c *rotate.Config) {
			w.write("KeyTable", "a example.net:old:"+w.dir+"/"+org+"/old.pem\n")
			w.write("SigningTable", "example.net a\n")
			c.Keys.KeyTable, c.Keys.SigningTable = w.dir+"/KeyTable", w.dir+"/SigningTable"
		}, "a table or a layout"},
		"a table that names another key": {func(w *world, c *rotate.Config) {
			w.write("KeyTable", "a example.net:old:"+w.dir+"/"+org+"/other.pem\n")
			w.write("SigningTable", "example.net a\n")
			c.Keys.KeyTable, c.Keys.SigningTable = w.dir+"/KeyTable", w.dir+"/SigningTable"
		}, never},
		"a signing table that cannot be read": {func(w *world, c *rotate.Config) {
			w.write("KeyTable", "a example.net:old:"+w.dir+"/"+org+"/old.pem\n")
			c.Keys.KeyTable, c.Keys.SigningTable = w.dir+"/KeyTable", w.dir+"/SigningTable"
		}, "is not known"},
		"a directory of a layout that is not there": {func(_ *world, c *rotate.Config) {
			c.Keys.Layouts = []string{"/nowhere/{domain}/{selector}.pem"}
		}, "is not known"},
		"a layout through a link": {func(w *world, c *rotate.Config) {
			w.link(w.dir, filepath.Dir(w.dir)+"/other")
			c.Keys.Layouts = []string{filepath.Dir(w.dir) + "/other/{domain}/{selector}.pem"}
		}, "a table or a layout"},
		"the daemon, as a table said before": {func(w *world, c *rotate.Config) {
			c.Elsewhere = func(context.Context) ([]string, error) { return []string{w.dir + "/" + org + "/old.pem"}, nil }
		}, "the daemon, which signs with it"},
		"the daemon, with other keys": {func(_ *world, c *rotate.Config) {
			c.Elsewhere = func(context.Context) ([]string, error) { return []string{"/elsewhere/old.pem"}, nil }
		}, never},
		"perhaps the daemon": {func(_ *world, c *rotate.Config) {
			c.Elsewhere = func(context.Context) ([]string, error) { return nil, errors.New("it does not tell") }
		}, "is not known: it does not tell"},
		"a link of another domain": {func(w *world, _ *rotate.Config) {
			w.link("../"+org+"/old.pem", w.dir+"/b.example/s1.pem")
		}, "b.example/s1.pem"},
		"a link to another key of another domain": {func(w *world, _ *rotate.Config) {
			w.link("../"+org+"/new.pem", w.dir+"/b.example/s1.pem")
		}, never},
		"a key that is a link": {func(w *world, _ *rotate.Config) {
			at := filepath.Join(w.dir, org, "old.pem")
			if err := os.Rename(at, w.dir+"/elsewhere"); err != nil {
				w.t.Fatal(err)
			}
			w.link(w.dir+"/elsewhere", at)
		}, "is a link"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.signs("old", keys.Ed25519)
			e := w.engine(func(c *rotate.Config) { test.change(w, c) })
			err := e.Begin(t.Context(), org, "")
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v; want %q", err, test.want)
			}
			if test.want == "" {
				return
			}
			if got := w.states(); got != "old active" {
				t.Errorf("states: %s", got)
			}
			if _, err := e.Retire(t.Context(), org, "old", true); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("by hand: %v", err)
			}
		})
	}
}

// A table that comes when a key has retired already is told, and the key stays.
func TestNamedElsewhereAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("old", keys.Ed25519)
	e := w.engine(nil)
	w.begin(e)
	w.step(e, 3*time.Hour)
	if got := w.states(); !strings.HasPrefix(got, "old retiring") {
		t.Fatal(got)
	}
	w.link("../"+org+"/old.pem", w.dir+"/b.example/s1.pem")
	r := w.step(e, keep+24*time.Hour)
	if len(r.Lines) == 0 || !strings.Contains(r.Lines[0].Text, "b.example/s1.pem") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(filepath.Join(w.dir, org, "old.pem.old")); err != nil {
		t.Error(err)
	}
}

// So does a table of the map: the keys that it names are not taken from it.
func TestSelectorsOfTheMap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		table   keys.Mapping
		refused bool
	}{
		"names the key":           {keys.Mapping{SignAs: org, Selectors: []string{"old"}}, true},
		"names another key":       {keys.Mapping{SignAs: org, Selectors: []string{"other"}}, false},
		"names none":              {keys.Mapping{SignAs: org}, false},
		"is about another domain": {keys.Mapping{SignAs: "b.example", Selectors: []string{"old"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.signs("old", keys.Ed25519)
			e := w.engine(func(c *rotate.Config) { c.Keys.Map = []keys.Mapping{test.table} })
			if err := e.Begin(t.Context(), org, ""); (err != nil) != test.refused || err != nil && !strings.Contains(err.Error(), "sign.map") {
				t.Errorf("got %v", err)
			}
			if got := w.states(); (got == "old active") != test.refused {
				t.Errorf("states: %s", got)
			}
		})
	}
}

// A domain.toml may have a schedule of its own.
func TestScheduleOfTheDomain(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for options, want := range map[string][2]bool{"": {true, false}, "rotate_every = \"0\"\n": {false, false}, "rotate_every = \"20d\"\n": {true, true}} {
		w := newWorld(t)
		w.signs("old", keys.Ed25519)
		w.write(org+"/domain.toml", options)
		made := time.Now()
		for i, every := range []time.Duration{20 * day, 0} {
			due := false
			for n := range 40 {
				w.now.Wall = made.Add(time.Duration(n) * day)
				turn, err := w.engine(nil).Look(org, every, false)
				if err != nil {
					t.Fatal(err)
				}
				due = due || turn.Due
			}
			if due != want[i] {
				t.Errorf("%q, every %v: due %t; want %t", options, every, due, want[i])
			}
		}
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("old", keys.Ed25519)
	before := w.states()
	plan, err := w.engine(nil).Plan(t.Context(), org, "")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(plan, "\n")
	for _, want := range []string{
		"make an ed25519 key with selector s20261130-ed25519", "publish s20261130-ed25519._domainkey.example.org in the zone example.org, in the world",
		"15 minutes later", "retire old then, revoke its record 2 days later, not before 2026-12-02 13:15 UTC",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the plan:\n%s", want, text)
		}
	}
	if w.states() != before || len(w.changes) > 0 {
		t.Error("the plan has changed something")
	}
}

// seen is a world in which a server that was named has a record that those of the zone do not have.
type seen struct {
	*world
	text string
}

func (s seen) Ask(context.Context, string, string) authority.Said {
	return authority.Said{Texts: []string{s.text}}
}

// A record that one of check_servers has is not gone, whatever the servers say that we see of the zone.
func TestGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signs("old", keys.Ed25519)
	name := "old._domainkey." + org
	record := w.primary[name]
	look := func(text string) string {
		e := w.engine(func(c *rotate.Config) { c.DNS, c.CheckServers = seen{w, text}, []string{"192.0.2.53"} })
		gone, known := e.Gone(t.Context(), org, "old", record)
		return fmt.Sprint(gone, " ", known)
	}
	if got := look(record); got != "false true" {
		t.Errorf("served: %s", got)
	}
	delete(w.primary, name)
	delete(w.second, name)
	if got := look("v=DKIM1; p="); got != "true true" {
		t.Errorf("revoked everywhere: %s", got)
	}
	if got := look(record); got != "false true" {
		t.Errorf("served elsewhere: %s", got)
	}
	w.down = true
	if got := look("v=DKIM1; p="); got != "false false" {
		t.Errorf("a server is silent: %s", got)
	}
}
