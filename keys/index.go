package keys

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/fault"

	"golang.org/x/sys/unix"
)

// index lists the domains of the directory. Their own directories are not opened
// yet: that would take 100,000 domains a second and more, and on a cold disk minutes.
func (s *Store) index(directory string, top fingerprint) {
	if !top.directory() {
		s.unlist(noDirectory(directory, unix.ENOTDIR, "the directory of the keys"))
		return
	}
	if fault := checkDirectory(directory, top); fault != nil {
		s.fault(fault)
	}
	entries, err := os.ReadDir(directory) // sorted
	if err != nil {
		s.unlist(unreadable(directory, err))
		return
	}
	s.named = make(map[domain.Name]*Domain, len(entries))
	s.domains = make([]*Domain, 0, len(entries))
	for _, entry := range entries {
		s.enter(directory, entry)
	}
	slices.SortFunc(s.domains, func(a, b *Domain) int { return strings.Compare(string(a.Name), string(b.Name)) })
}

func (s *Store) fault(f *fault.Fault) { s.faults = append(s.faults, *f) }

// unlist is the fault of a directory that cannot be listed.
func (s *Store) unlist(f *fault.Fault) {
	s.fault(f)
	s.unlisted = append(s.unlisted, *f)
	s.unknown = f.Path
}

// stray is the fault of what belongs to no domain: no mail is ours because of it.
func (s *Store) stray(f *fault.Fault) {
	s.fault(f)
	s.strays++
}

// enter takes in one entry of the directory of keys.
func (s *Store) enter(directory string, entry fs.DirEntry) {
	file := entry.Name()
	if fault.Leftover(file) {
		return
	}
	path := filepath.Join(directory, file)
	isDirectory := entry.IsDir()
	var err error
	if entry.Type() == fs.ModeSymlink {
		var target fingerprint
		// A link that leads nowhere may be one to a domain: its mail is ours to sign, only we cannot.
		target, err = stat(path)
		isDirectory = err != nil || target.directory()
	}
	name, reason := dkim.ParseSDID(file)
	switch {
	case !isDirectory && strings.HasSuffix(file, ".pem"):
		home := filepath.Join(directory, "DOMAIN")
		s.stray(&fault.Fault{
			Path: path, Got: "a key that belongs to no domain", Want: "it in a directory named after the domain",
			Hint: "mkdir -m 0750 " + quote(home) + " && mv " + quote(path) + " " + quote(filepath.Join(home, file)),
		})
	case !isDirectory:
		s.overlooked = append(s.overlooked, fault.Fault{
			Path: path, Got: "a file that is no domain's", Want: "directories named after domains", Hint: "move it away",
		})
	case reason != nil && err != nil:
		s.stray(unreadable(path, err))
	case reason != nil:
		s.stray(&fault.Fault{Path: path, Got: "a directory whose name cannot sign: " + reason.Error(), Want: "a directory named after the domain", Hint: "rename or remove it"})
	default:
		s.add(newDomain(name, path), file)
	}
}

// add takes a domain in. Of two directories for one domain that with the name in
// the form of DNS signs, or else the first one.
func (s *Store) add(d *Domain, directory string) {
	other := s.named[d.Name]
	if other == nil {
		s.named[d.Name] = d
		s.domains = append(s.domains, d)
		return
	}
	kept, left := other, d
	if directory == string(d.Name) {
		kept, left = d, other
		s.named[d.Name] = d
		s.domains[slices.Index(s.domains, other)] = d
	}
	s.fault(&fault.Fault{
		Path: left.Path, Got: "a second directory for " + string(d.Name), Want: "one directory a domain",
		Hint: "mv -n " + quote(left.Path) + "/* " + quote(kept.Path) + "/ && rmdir " + quote(left.Path),
	})
}

// noDirectory is the fault of a path at which a directory should be.
func noDirectory(path string, err error, want string) *fault.Fault {
	p, statErr := stat(path)
	if statErr != nil || p.directory() {
		return unreadable(path, err)
	}
	return &fault.Fault{Path: path, Got: p.kind(), Want: want, Hint: "move it away"}
}
