package keys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/fault"

	"golang.org/x/sys/unix"
)

// The places of the domain and of the selector in a layout.
const (
	DomainPlace   = "{domain}"
	SelectorPlace = "{selector}"
)

// layout is where another program has its keys: the path of a key file with places for the domain and the selector.
type layout struct {
	base        string   // the part before the first place
	components  []string // of the rest of the path
	selector    string   // where the path has none
	permissions *permissions
}

// place is what a layout has for one domain: a file, or a directory on the way to its files.
type place struct {
	layout   *layout
	path     string
	written  string   // the domain as it is in the path
	selector string   // empty: it is in the rest
	rest     []string // components below path
}

// CheckLayout says what is wrong with a layout.
func CheckLayout(written string) error {
	bare := strings.NewReplacer(DomainPlace, "", SelectorPlace, "").Replace(written)
	switch {
	case !strings.HasPrefix(written, "/"):
		return errors.New("begin it with /: a daemon has no working directory of its own")
	case !strings.Contains(written, DomainPlace):
		return errors.New("write {domain} where the path has the domain")
	case strings.Count(written, SelectorPlace) > 1:
		return errors.New("{selector} can stand in it once")
	case strings.ContainsAny(bare, "{}*?"):
		return errors.New("nothing but {domain} and {selector} stands for something else")
	}
	return nil
}

// LayoutBase is the directory of a layout in which its places begin.
func LayoutBase(written string) string {
	l := &layout{base: "/"}
	l.take(written)
	return l.base
}

// newLayout takes a layout apart.
func newLayout(written, selector string, c Config) *layout {
	l := &layout{base: "/", selector: selector}
	l.take(written)
	if strings.Contains(written, SelectorPlace) {
		l.selector = ""
	}
	seen, _ := stat(l.base)
	l.permissions = newPermissions(seen, c)
	return l
}

// take reads a path with places in it.
func (l *layout) take(written string) {
	for component := range strings.SplitSeq(strings.TrimPrefix(filepath.Clean(written), "/"), "/") {
		if len(l.components) == 0 && !strings.Contains(component, "{") {
			l.base = filepath.Join(l.base, component)
			continue
		}
		l.components = append(l.components, component)
	}
}

// list finds the domains of a layout. Of a directory for each domain only the list is read. The error is one of a directory
// that could not be listed: the others were.
func (l *layout) list(each func(*place)) error {
	return l.walk(place{layout: l, path: l.base, selector: l.selector, rest: l.components}, each)
}

func (l *layout) walk(p place, each func(*place)) error {
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return err
	}
	var unlisted error
	form := componentForm(p.rest[0], "")
	for _, entry := range entries {
		m, ok := match(form, entry.Name())
		if !ok {
			continue
		}
		next := place{layout: l, path: filepath.Join(p.path, entry.Name()), written: m.domain, selector: p.selector, rest: p.rest[1:]}
		if m.selector != "" {
			next.selector = m.selector
		}
		switch {
		case next.written != "":
			each(&next)
		case len(next.rest) > 0:
			// What is no directory has no domains in it.
			if err := l.walk(next, each); err != nil && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, fs.ErrNotExist) {
				unlisted = err
			}
		}
	}
	return unlisted
}

// files calls each with the key files that there are for the domain.
func (p *place) files(each func(selector, path string)) error {
	if len(p.rest) == 0 {
		each(p.selector, p.path)
		return nil
	}
	component := strings.ReplaceAll(p.rest[0], DomainPlace, p.written)
	next := *p
	next.rest = p.rest[1:]
	if !strings.Contains(component, SelectorPlace) {
		next.path = filepath.Join(p.path, component)
		return next.files(each)
	}
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return err
	}
	form := componentForm(component, p.written)
	for _, entry := range entries {
		if m, ok := match(form, entry.Name()); ok {
			next.path, next.selector = filepath.Join(p.path, entry.Name()), m.selector
			if err := next.files(each); err != nil {
				return err
			}
		}
	}
	return nil
}

// foreignAbove is the fault of a directory between the layout's base and a key that belongs to somebody else: what is in it
// is that user's doing, whoever owns the files. Links, for one.
func (l *layout) foreignAbove(path string) *fault.Fault {
	for dir := filepath.Dir(path); len(dir) > len(l.base); dir = filepath.Dir(dir) {
		if p, err := stat(dir); err == nil && !l.permissions.owns(p.uid) {
			return l.permissions.foreign(dir, p)
		}
	}
	return nil
}

type named struct{ domain, selector string }

// componentForm is what names a component of a layout can have. Beside a domain a selector has no dot, so
// that example.com.dkim.key is read in one way only.
func componentForm(component, written string) *regexp.Regexp {
	selector := `(?P<selector>[^.].*)`
	if strings.Contains(component, DomainPlace) || written != "" && strings.Contains(component, written) {
		selector = `(?P<selector>[^.]+?)`
	}
	form := regexp.QuoteMeta(component)
	form = strings.Replace(form, regexp.QuoteMeta(DomainPlace), `(?P<domain>[^.].*)`, 1)
	form = strings.ReplaceAll(form, regexp.QuoteMeta(DomainPlace), `.+`)
	form = strings.Replace(form, regexp.QuoteMeta(SelectorPlace), selector, 1)
	return regexp.MustCompile("^" + form + "$")
}

// match reads a name by the form of its component.
func match(form *regexp.Regexp, name string) (named, bool) {
	m := form.FindStringSubmatch(name)
	if m == nil || fault.Leftover(name) {
		return named{}, false
	}
	var n named
	if i := form.SubexpIndex("domain"); i >= 0 {
		n.domain = m[i]
	}
	if i := form.SubexpIndex("selector"); i >= 0 {
		n.selector = m[i]
	}
	return n, true
}

// openLayouts lists the domains of the layouts. One that the directory has already gets its options there, and
// its keys where the directory has none.
func (s *Store) openLayouts(c Config) {
	for _, written := range c.Layouts {
		if CheckLayout(written) != nil {
			continue // internal/config says so
		}
		l := newLayout(written, c.Selector, c)
		err := l.list(func(p *place) {
			name, err := dkim.ParseSDID(p.written)
			if err != nil {
				s.overlooked = append(s.overlooked, fault.Fault{Path: p.path, Got: "a name that cannot sign: " + err.Error(), Want: "the name of a domain"})
				return
			}
			s.place(name, p)
		})
		if err != nil {
			path := l.base
			if below, ok := errors.AsType[*fs.PathError](err); ok {
				path = below.Path
			}
			s.unlist(noDirectory(path, err, "the directory of the keys"))
		}
	}
}

// place adds what a layout has for a domain.
func (s *Store) place(name domain.Name, p *place) {
	d := s.named[name]
	if d == nil {
		d = newDomain(name, p.path)
		d.elsewhere = true
		if s.named == nil {
			s.named = map[domain.Name]*Domain{}
		}
		s.named[name] = d
		s.domains = append(s.domains, d)
	}
	d.places = append(d.places, p)
}

// readPlaces reads the keys that layouts have for a domain.
func (r *reader) readPlaces(d *Domain) {
	for i, p := range d.places {
		if len(d.Keys) > 0 && p.layout != d.places[i-1].layout {
			return // the first layout that has keys
		}
		err := p.files(func(selector, path string) {
			now, err := stat(path)
			if errors.Is(err, os.ErrNotExist) {
				if _, err := os.Lstat(path); err != nil {
					return // a domain without a key
				}
			}
			d.signs = true
			if foreign := p.layout.foreignAbove(path); foreign != nil {
				d.faults = append(d.faults, *foreign)
				return
			}
			if k := r.readKeyAt(d, path, selector, now, err, p.layout.permissions); k != nil {
				d.Keys = append(d.Keys, k)
			}
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			d.signs, d.faults = true, append(d.faults, *unreadable(p.path, err))
		}
	}
}
