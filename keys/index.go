package keys

import (
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"dkimd/internal/tomlfile"
)

// index fills an empty store from the directory.
func (s *Store) index(c Config) {
	if c.Directory == "" {
		return
	}
	top, err := openDirectory(c.Directory)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		s.fault(noDirectory(c.Directory, err, "the directory of the keys"))
		return
	}
	defer top.close()
	if fault := checkDirectory(c.Directory, top.print); fault != nil {
		s.fault(fault)
	}
	names, err := top.names()
	if err != nil {
		s.fault(unreadable(c.Directory, err))
		return
	}
	r := &reader{rules: newRules(top.print, c.Owners), previous: c.Previous, log: s.log}
	slices.Sort(names)
	found := r.readAll(top, names)
	for i, f := range found {
		if f.fault != nil {
			s.fault(f.fault)
		}
		if f.domain != nil {
			s.add(f.domain, names[i])
		}
	}
	slices.SortFunc(s.domains, func(a, b *Domain) int { return strings.Compare(a.Name, b.Name) })
	s.finish()
}

func (s *Store) fault(f *tomlfile.Fault) { s.faults = append(s.faults, *f) }

// add takes a domain in. Of two directories for one domain that with the name in
// the form of DNS signs, or else the first one.
func (s *Store) add(d *Domain, directory string) {
	other := s.signing[d.Name]
	if other == nil {
		s.signing[d.Name] = d
		s.domains = append(s.domains, d)
		return
	}
	kept, left := other, d
	if directory == d.Name {
		kept, left = d, other
		s.signing[d.Name] = d
		s.domains[slices.Index(s.domains, other)] = d
	}
	s.fault(&tomlfile.Fault{
		Path: left.Path, Got: "a second directory for " + d.Name, Want: "one directory a domain",
		Hint: "mv -n " + quote(left.Path) + "/* " + quote(kept.Path) + "/ && rmdir " + quote(left.Path),
	})
}

// finish leaves in signing what has a .pem, and collects the keys.
func (s *Store) finish() {
	for _, d := range s.domains {
		if !d.signs {
			delete(s.signing, d.Name)
		}
		s.keys = append(s.keys, d.Keys...)
	}
}

// reader reads directories of domains.
type reader struct {
	rules    *rules
	previous *Store
	log      *slog.Logger
}

// found is what came of one entry of the directory of keys; both are nil for what is of no interest.
type found struct {
	domain *Domain
	fault  *tomlfile.Fault
}

// readAll reads directories of domains on all processors: with 100,000 of them the time goes into system calls.
func (r *reader) readAll(top *directory, names []string) []found {
	all := make([]found, len(names))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(names)) {
		workers.Go(func() {
			buf := make([]byte, listBytes)
			for i := next.Add(1) - 1; i < int64(len(names)); i = next.Add(1) - 1 {
				all[i].domain, all[i].fault = r.readEntry(top, names[i], buf)
			}
		})
	}
	workers.Wait()
	return all
}

// readEntry reads one entry of the directory of keys.
func (r *reader) readEntry(top *directory, name string, buf []byte) (*Domain, *tomlfile.Fault) {
	if ignored(name) || name == "lost+found" {
		return nil, nil
	}
	path := filepath.Join(top.path, name)
	domain, reason := domainName(name)
	dir, err := top.open(name, buf)
	switch {
	case errors.Is(err, unix.ENOTDIR) && strings.HasSuffix(name, ".pem"):
		home := filepath.Join(top.path, "DOMAIN")
		return nil, &tomlfile.Fault{
			Path: path, Got: "a key that belongs to no domain", Want: "it in a directory named after the domain",
			Hint: "mkdir -m 0750 " + quote(home) + " && mv " + quote(path) + " " + quote(filepath.Join(home, name)),
		}
	case errors.Is(err, unix.ENOTDIR):
		return nil, nil
	case err != nil && reason == "":
		// Its mail is ours to sign, only we cannot.
		return &Domain{Name: domain, Path: path, signs: true, faults: tomlfile.Faults{*unreadable(path, err)}}, nil
	case err != nil:
		return nil, unreadable(path, err)
	}
	defer dir.close()
	if reason != "" {
		return nil, &tomlfile.Fault{Path: path, Got: "a directory whose name is no domain: " + reason, Want: "a directory named after the domain"}
	}
	return r.readDomain(domain, dir), nil
}

// noDirectory is the fault of a path at which a directory should be.
func noDirectory(path string, err error, want string) *tomlfile.Fault {
	p, statErr := stat(path)
	if statErr != nil || p.directory() {
		return unreadable(path, err)
	}
	return &tomlfile.Fault{Path: path, Got: p.kind(), Want: want}
}

// readDomain reads the index of one domain and its options. Keys are not opened.
func (r *reader) readDomain(name string, dir *directory) *Domain {
	d := &Domain{Name: name, Path: dir.path}
	if !r.rules.owns(dir.print.uid) {
		// Everything in there is that user's doing, whoever owns the files: links, for one.
		d.signs, d.faults = true, tomlfile.Faults{*r.rules.foreign(d.Path, dir.print)}
		return d
	}
	if fault := checkDirectory(d.Path, dir.print); fault != nil {
		d.faults = append(d.faults, *fault)
	}
	names, err := dir.names()
	if err != nil {
		d.signs, d.faults = true, append(d.faults, *unreadable(d.Path, err))
		return d
	}
	slices.Sort(names)
	var options bool
	var foreign []string // keys as other programs name them
	for _, file := range names {
		selector, isKey := strings.CutSuffix(file, ".pem")
		pending, isPending := strings.CutSuffix(file, pendingSuffix)
		switch {
		case file == optionsFile:
			options = true
		case isPending && !ignored(pending):
			if k := r.readKey(d, dir, file, pending); k != nil {
				d.Pending = append(d.Pending, k)
			}
		case ignored(file):
		case isKey:
			d.signs = true
			if k := r.readKey(d, dir, file, selector); k != nil {
				d.Keys = append(d.Keys, k)
			}
		case strings.HasSuffix(file, ".private") || strings.HasSuffix(file, ".key"):
			foreign = append(foreign, file)
		}
	}
	d.unique()
	if !d.signs && len(d.Pending) == 0 {
		d.unnamed(foreign)
	}
	if options {
		r.applyOptions(d)
	}
	return d
}

// readKey is the key of one file, from the previous store if the file is the same.
func (r *reader) readKey(d *Domain, dir *directory, file, written string) *Key {
	path := filepath.Join(d.Path, file)
	selector, reason := selectorName(written, d.Name, asPublished)
	if reason != "" {
		d.faults = append(d.faults, tomlfile.Fault{
			Path: path, Got: "a file whose name is no selector: " + reason, Want: "SELECTOR.pem, with letters, digits, hyphens and dots in SELECTOR",
		})
		return nil
	}
	now, err := dir.stat(file)
	if err == nil {
		if k := r.previous.key(d.Name, path); k != nil && k.fits(now) {
			return k
		}
	}
	k := newKey(d.Name, selector, path, now, r.rules, r.log)
	if err != nil {
		k.refuse(unreadable(path, err))
	} else if fault := r.rules.checkKey(path, now); fault != nil {
		k.refuse(fault)
	}
	return k
}

// key is the signing key at a path, or nil.
func (s *Store) key(domain, path string) *Key {
	if s == nil || s.signing[domain] == nil {
		return nil
	}
	keys := s.signing[domain].Keys
	i := slices.IndexFunc(keys, func(k *Key) bool { return k.Path == path })
	if i < 0 {
		return nil
	}
	return keys[i]
}

// unique leaves one key a selector: DNS does not tell S1 from s1. The file named as DNS has it stays.
func (d *Domain) unique() {
	asNamed := func(k *Key) bool { return filepath.Base(k.Path) == k.Selector+".pem" }
	var kept []*Key
	for _, k := range d.Keys {
		i := slices.IndexFunc(kept, func(other *Key) bool { return other.Selector == k.Selector })
		if i < 0 {
			kept = append(kept, k)
			continue
		}
		left := k
		if asNamed(k) {
			kept[i], left = k, kept[i]
		}
		d.faults = append(d.faults, tomlfile.Fault{
			Path: left.Path, Got: "a second key for selector " + k.Selector, Want: "one file a selector",
			Hint: "mv " + quote(left.Path) + " " + quote(left.Path+".old"),
		})
	}
	slices.SortFunc(kept, func(a, b *Key) int { return strings.Compare(a.Selector, b.Selector) })
	d.Keys = kept
}

// unnamed reports keys that would sign under another name: those of opendkim-genkey end in .private.
func (d *Domain) unnamed(files []string) {
	for _, file := range files {
		path := filepath.Join(d.Path, file)
		as := strings.TrimSuffix(path, filepath.Ext(path)) + ".pem"
		d.faults = append(d.faults, tomlfile.Fault{
			Path: path, Got: "a file that does not sign because of its name", Want: "SELECTOR.pem",
			Hint: "mv -n " + quote(path) + " " + quote(as),
		})
	}
}

// applyOptions reads domain.toml and leaves only the keys it selects.
func (r *reader) applyOptions(d *Domain) {
	path := filepath.Join(d.Path, optionsFile)
	data, _, fault := r.rules.read(path, r.rules.checkOptions)
	if fault != nil {
		d.faults, d.Keys = append(d.faults, *fault), nil
		return
	}
	options, faults, broken := readOptions(d, path, data)
	d.Options, d.faults = options, append(d.faults, faults...)
	switch {
	case broken:
		d.Keys = nil
	case options.Selectors != nil:
		d.Keys = slices.DeleteFunc(d.Keys, func(k *Key) bool { return !slices.Contains(options.Selectors, k.Selector) })
	}
}

// ignored reports names that are no keys and no domains on purpose: hidden files
// (Kubernetes' ..data, .git), and what editors and administrators leave behind.
func ignored(name string) bool {
	for _, end := range []string{"~", ".bak", ".old", ".orig", ".disabled"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return strings.HasPrefix(name, ".")
}
