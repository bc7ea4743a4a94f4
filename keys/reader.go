package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/openssl"
)

// reader reads the domains and keys of one store.
type reader struct {
	permissions *permissions
	log         *slog.Logger
	meter       Meter
	parsed      *parsed
	open        openEngine
	previous    atomic.Pointer[Store] // nil once all is read: it must not be kept
}

func newReader(c Config, directory fingerprint) *reader {
	r := &reader{permissions: newPermissions(directory, c), log: c.Logger, meter: c.Meter, parsed: &parsed{max: c.MaxParsed}, open: openssl.SHA256Signer}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.meter == nil {
		r.meter = unmetered{}
	}
	if r.parsed.max == 0 {
		r.parsed.max = maxParsed
	}
	if c.Previous != nil {
		r.previous.Store(c.Previous)
		r.parsed = c.Previous.reader.parsed
	}
	return r
}

// engage lets the engine of this build sign with a key.
func (r *reader) engage(k *Key, p *Private) {
	if p.engage == nil {
		return
	}
	engaged := p.engage(r.open, func(err error) {
		r.meter.EngineFailed()
		r.log.Error("engine failed: crypto/rsa signs with this key from now on",
			"engine", engineLibcrypto, "domain", string(k.Domain), "selector", k.Selector, "error", err.Error())
	})
	if engaged {
		p.Engine = engineLibcrypto
	}
}

// readDomain reads the directory of a domain and its options. Keys are not opened.
func (r *reader) readDomain(d *Domain) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("panic in reading a domain", "path", d.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			d.signs, d.unread, d.Keys = true, true, nil
			d.faults = append(d.faults, fault.Fault{Path: d.Path, Got: "a directory that makes dkimd fail", Want: "the keys of a domain", Hint: "report it with the stack in the log"})
		}
	}()
	if d.elsewhere {
		r.readPlaces(d)
		d.unique()
		return
	}
	dir, err := openDirectory(d.Path)
	if err != nil {
		if _, gone := os.Lstat(d.Path); errors.Is(gone, fs.ErrNotExist) {
			return // since it was listed
		}
		// Its mail is ours to sign, only we cannot.
		d.signs, d.unread, d.faults = true, true, fault.Faults{*unreadable(d.Path, err)}
		return
	}
	defer dir.close()
	r.readDirectory(d, dir)
}

// besideKey are the names of records and public keys, as the tools of others write them beside a key.
var besideKey = regexp.MustCompile(`^[^.]+\.(txt|pub|dns)$`)

// readDirectory reads the open directory of a domain.
func (r *reader) readDirectory(d *Domain, dir *directory) {
	if !r.permissions.owns(dir.print.uid) {
		// Everything in there is that user's doing, whoever owns the files: links, for one.
		d.signs, d.unread, d.faults = true, true, fault.Faults{*r.permissions.foreign(d.Path, dir.print)}
		return
	}
	if fault := checkDirectory(d.Path, dir.print); fault != nil {
		d.faults = append(d.faults, *fault)
	}
	names, err := dir.names()
	if err != nil {
		d.signs, d.unread, d.faults = true, true, append(d.faults, *unreadable(d.Path, err))
		return
	}
	slices.Sort(names)
	var options bool
	var foreign []string // names that are not those of keys here
	for _, file := range names {
		selector, isKey := strings.CutSuffix(file, ".pem")
		pending, isPending := strings.CutSuffix(file, pendingSuffix)
		switch {
		case file == optionsFile:
			options = true
		case isPending && !fault.Leftover(pending):
			if k := r.readKey(d, dir, file, pending); k != nil {
				d.Pending = append(d.Pending, k)
			}
		case fault.Leftover(file):
		case isKey:
			d.signs = true
			if k := r.readKey(d, dir, file, selector); k != nil {
				d.Keys = append(d.Keys, k)
			}
		case besideKey.MatchString(file), strings.HasSuffix(file, stateSuffix) && file != optionsFile && isState(filepath.Join(d.Path, file)):
		default:
			if p, err := dir.stat(file); err != nil || !p.directory() {
				foreign = append(foreign, file)
			}
		}
	}
	if !d.signs {
		r.readPlaces(d)
	}
	d.unique()
	d.unnamed(foreign)
	if options {
		r.applyOptions(d)
	}
}

// readKey is the key of one file in the directory of the domain.
func (r *reader) readKey(d *Domain, dir *directory, file, selector string) *Key {
	now, err := dir.stat(file)
	return r.readKeyAt(d, filepath.Join(d.Path, file), selector, now, err, r.permissions)
}

// readKeyAt is the key of a file that is now so, or cannot be looked at; from the previous store if the file is the same.
func (r *reader) readKeyAt(d *Domain, path, written string, now fingerprint, unseen error, perms *permissions) *Key {
	selector, err := dkim.ParseSelector(written, d.Name, dkim.AsPublished)
	if err != nil {
		d.faults = append(d.faults, fault.Fault{
			Path: path, Got: "a file whose name is not a selector: " + err.Error(), Want: "SELECTOR.pem, with letters, digits, hyphens and dots in SELECTOR",
			Hint: "rename it to the selector that its record in DNS has",
		})
		return nil
	}
	if unseen == nil {
		if k := r.previous.Load().key(d.Name, path); k != nil && k.fits(now) {
			return k
		}
	}
	k := newKey(d.Name, selector, path, now, r)
	k.permissions = perms
	if unseen != nil {
		k.refuse(now, unreadable(path, unseen))
	} else if fault := perms.checkKey(path, now); fault != nil {
		k.refuse(now, fault)
	}
	return k
}

// key is the signing key at a path, or nil if the store has none, or none yet.
func (s *Store) key(name domain.Name, path string) *Key {
	if s == nil || s.named[name] == nil || !s.named[name].reading.done.Load() {
		return nil
	}
	keys := s.named[name].current().Keys
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
		d.faults = append(d.faults, fault.Fault{
			Path: left.Path, Got: "a second key for selector " + k.Selector, Want: "one file a selector",
			Hint: "mv " + quote(left.Path) + " " + quote(left.Path+".old"),
		})
	}
	slices.SortFunc(kept, func(a, b *Key) int { return strings.Compare(a.Selector, b.Selector) })
	d.Keys = kept
}

// unnamed reports files whose name keeps them out of use: keys of opendkim-genkey end in .private. Where no
// key signs or waits, such a key is a fault.
func (d *Domain) unnamed(files []string) {
	for _, file := range files {
		path := filepath.Join(d.Path, file)
		end := strings.ToLower(filepath.Ext(file))
		stem := strings.TrimSuffix(path, filepath.Ext(path))
		f := fault.Fault{Path: path, Got: "a file that is not read because of its name", Want: "SELECTOR.pem or " + optionsFile, Hint: "rename it, or move it away"}
		isKey := end == ".private" || end == ".key" || end == ".pem"
		switch {
		case isKey:
			f.Got, f.Want = "a file that does not sign because of its name", "SELECTOR.pem"
			f.Hint = "mv -n " + quote(path) + " " + quote(stem+".pem")
		case strings.HasPrefix(end, ".tom") || end == ".tml" || strings.HasPrefix(file, optionsFile):
			f.Want = optionsFile
			f.Hint = "mv -n " + quote(path) + " " + quote(filepath.Join(d.Path, optionsFile))
		}
		if isKey && !d.signs && len(d.Pending) == 0 {
			d.faults = append(d.faults, f)
		} else {
			d.overlooked = append(d.overlooked, f)
		}
	}
}

// applyOptions reads domain.toml and leaves only the keys it selects.
func (r *reader) applyOptions(d *Domain) {
	path := filepath.Join(d.Path, optionsFile)
	data, _, fault := r.permissions.read(path, r.permissions.checkOptions)
	if fault != nil {
		d.faults, d.unread, d.Keys = append(d.faults, *fault), true, nil
		return
	}
	options, faults, broken := readOptions(d, path, data)
	d.Options, d.faults = options, append(d.faults, faults...)
	switch {
	case broken:
		d.Keys, d.unread = nil, true
		d.signs = d.signs || saysSignAs.Match(data)
	case options.Selectors != nil:
		d.Keys = slices.DeleteFunc(d.Keys, func(k *Key) bool { return !slices.Contains(options.Selectors, k.Selector) })
	}
}
