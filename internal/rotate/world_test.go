package rotate_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/publish"
	"dkimd/internal/resolver"
	"dkimd/internal/resolver/authority"
	"dkimd/internal/rotate"
	"dkimd/keys"
)

const (
	org      = "example.org"
	negative = 15 * time.Minute
	ttl      = time.Hour
	keep     = 48 * time.Hour
)

// world is a directory of keys and a zone with two servers, of which the second follows the first. Its clock stands still.
type world struct {
	t   *testing.T
	dir string

	now     keys.Moment
	primary map[string]string // name -> text
	second  map[string]string
	lags    bool // the second does not follow
	down    bool // the second does not answer
	blind   bool // our resolver sees no record of a new key
	refuse  error
	byHand  bool
	wild    string // text of a wildcard
	reload  error
	kill    int // panic at the n-th call into the world from now; 0: never
	changes []string

	clock   time.Duration // that nobody sets
	keep    time.Duration
	wrong   map[string]time.Duration // when a server last did not have the record of a key, by selector
	signed  map[string]time.Duration // when a key last signed
	served  map[string]time.Duration // when a server last had its record
	records map[string]string        // of each key
	running []string                 // the selectors that the daemon signs with; nil: those of the directory
	foreign map[string]string        // records of others
}

type killed struct{}

func newWorld(t *testing.T) *world {
	t.Helper()
	top := t.TempDir()
	if memory, err := os.MkdirTemp("/dev/shm", "rotate"); err == nil { // states are written to disk often
		top = memory
		t.Cleanup(func() { _ = os.RemoveAll(memory) })
	}
	w := &world{
		t: t, dir: filepath.Join(top, "keys"), primary: map[string]string{}, second: map[string]string{},
		now:  keys.Moment{Wall: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), Boot: "one", Up: time.Hour},
		keep: keep, wrong: map[string]time.Duration{}, signed: map[string]time.Duration{}, served: map[string]time.Duration{},
		records: map[string]string{}, foreign: map[string]string{},
	}
	return w
}

// signs makes a key that signs and whose record is in DNS.
func (w *world) signs(selector, kind string) {
	w.t.Helper()
	bits := 0
	if kind == keys.RSA {
		bits = 1024
	}
	g, err := keys.Generate(keys.New{Directory: w.dir, Domain: org, Selector: selector, Type: kind, Bits: bits})
	if err == nil {
		_, err = keys.Activate(w.t.Context(), keys.Activation{Directory: w.dir, Domain: org, Selector: selector, Force: true})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.primary[g.Record.Name], w.second[g.Record.Name] = g.Record.Text, g.Record.Text
}

func (w *world) engine(change func(*rotate.Config)) *rotate.Engine {
	c := rotate.Config{
		Keys: keys.Config{Directory: w.dir}, Policy: rotate.Policy{Keep: w.keep, Patience: 72 * time.Hour}, Selectors: []string{"s{date}"},
		Publisher: func(string) rotate.Publisher { return rotate.Publisher{Method: w, TTL: ttl} },
		DNS:       w, Resolver: w,
		Reload: func(context.Context, []domain.Name) error { w.point(); return w.reload },
		Now:    func() keys.Moment { w.point(); return w.now },
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	return &rotate.Engine{Config: c}
}

// point is where the process may be killed.
func (w *world) point() {
	if w.kill > 0 {
		if w.kill--; w.kill == 0 {
			panic(killed{})
		}
	}
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.now.Wall, w.now.Up, w.clock = w.now.Wall.Add(d), w.now.Up+d, w.clock+d
}

func (w *world) Place(_ context.Context, name string) (target, zone string, err error) {
	w.point()
	return name, "example.org", nil
}

func (w *world) Look(_ context.Context, name string, _ []string) authority.View {
	w.point()
	v := authority.View{Name: name, Zone: "example.org"}
	for server, records := range map[string]map[string]string{"ns1": w.primary, "ns2": w.second} {
		s := authority.Said{Server: server, Name: name, Negative: negative}
		text, ok := records[name]
		if !ok && w.wild != "" {
			text, ok, s.Wildcard = w.wild, true, true
		}
		if ok {
			s.Texts, s.TTL = []string{text}, ttl
		}
		if server == "ns2" && w.down {
			s = authority.Said{Server: server, Name: name, Err: errors.New("no answer over UDP")}
		}
		v.Said = append(v.Said, s)
	}
	return v
}

func (w *world) Ask(context.Context, string, string) authority.Said { return authority.Said{} }

// TXT is the resolver's view: it sees the first server.
func (w *world) TXT(_ context.Context, name string) (resolver.Answer, error) {
	hidden := w.blind && strings.HasPrefix(name, "s2026")
	if text, ok := w.primary[name]; ok && !hidden {
		return resolver.Answer{Records: []string{text}, TTL: ttl}, nil
	}
	if w.wild != "" {
		return resolver.Answer{Records: []string{w.wild}, TTL: ttl}, nil
	}
	return resolver.Answer{}, resolver.ErrNotExist
}

func (w *world) String() string { return "in the world" }

// Apply is publish.Method, as strict as a server with prerequisites.
func (w *world) Apply(_ context.Context, c publish.Change) error {
	w.point()
	switch text, there := w.primary[c.Name]; {
	case w.byHand:
		return publish.ErrByHand
	case w.refuse != nil:
		return w.refuse
	case there && (text == c.New || dkim.SameKey(text, c.New)), !there && c.New == "":
	case there && text != c.Old:
		return publish.ErrTaken
	case c.New == "":
		delete(w.primary, c.Name)
	default:
		w.primary[c.Name] = c.New
	}
	w.changes = append(w.changes, c.Op()+" "+c.Name)
	if !w.lags {
		w.second = maps.Clone(w.primary)
	}
	w.point()
	return nil
}

// look holds what must be so at any moment: a key signs only where no cache can remember anything but its
// record, its record and its private key stay as long as its mail may be under way, some key signs always, and nobody's
// record is overwritten.
func (w *world) look() {
	w.t.Helper()
	d, err := keys.Find(keys.Config{Directory: w.dir}, org)
	if err != nil {
		w.t.Fatal(err)
	}
	held, _ := d.Held()
	for _, h := range held {
		w.lookAt(h)
		if w.signsNow(h) {
			w.signed[h.Selector] = w.clock
			if last, was := w.wrong[h.Selector]; was && w.clock-last < negative {
				w.t.Errorf("%s signs %v after a server did not have its record", h.Selector, w.clock-last)
			}
		}
	}
	if w.running == nil && len(d.Keys) == 0 || w.running != nil && len(w.running) == 0 {
		w.t.Errorf("no key signs for %s", org)
	}
	for name, text := range w.foreign {
		if w.primary[name] != text {
			w.t.Errorf("somebody's record at %s is %q now", name, w.primary[name])
		}
	}
}

// signsNow reports whether the daemon signs with a key: it has read them when it last reloaded.
func (w *world) signsNow(h keys.Held) bool {
	if w.running == nil {
		return h.Place == keys.Signing
	}
	return slices.Contains(w.running, h.Selector)
}

// lookAt compares a key with what the servers have.
func (w *world) lookAt(h keys.Held) {
	w.t.Helper()
	name := h.Selector + "._domainkey." + org
	if last, was := w.served[h.Selector]; h.Life.Stage == keys.StageDestroyed && was && w.clock-last < ttl {
		w.t.Errorf("the private key of %s went %v after its record", h.Selector, w.clock-last)
	}
	last, has := w.signed[h.Selector]
	if has && h.Place == keys.NoFile && w.clock-last < w.keep+ttl {
		w.t.Errorf("the private key of %s went %v after its last signature", h.Selector, w.clock-last)
	}
	if h.Place != keys.NoFile {
		w.records[h.Selector] = recordOf(w.t, h)
	}
	for _, records := range []map[string]string{w.primary, w.second} {
		if dkim.SameKey(records[name], w.records[h.Selector]) {
			w.served[h.Selector] = w.clock
			continue
		}
		w.wrong[h.Selector] = w.clock
		if w.signsNow(h) {
			w.t.Errorf("%s signs and is not in DNS", h.Selector)
		}
		if has && w.clock-last < w.keep+ttl {
			w.t.Errorf("the record of %s went %v after its last signature", h.Selector, w.clock-last)
		}
	}
}

// recordOf is the record of the key in a file.
func recordOf(t *testing.T, h keys.Held) string {
	t.Helper()
	data, err := os.ReadFile(h.Path)
	if err != nil {
		t.Fatal(err)
	}
	private, wrong := keys.Parse(h.Path, data)
	if wrong != nil {
		t.Fatal(wrong)
	}
	r, err := keys.NewRecord(org, h.Selector, private.Signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return r.Text
}

// states are the keys of a domain with their stages.
func (w *world) states() string {
	w.t.Helper()
	d, err := keys.Find(keys.Config{Directory: w.dir}, org)
	if err != nil {
		w.t.Fatal(err)
	}
	held, faults := d.Held()
	if faults != nil {
		w.t.Fatal(faults)
	}
	var all []string
	for _, h := range held {
		all = append(all, h.Selector+" "+string(h.Life.Stage))
	}
	return strings.Join(all, ", ")
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) link(target, path string) {
	w.t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil {
		err = os.Symlink(target, path)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
