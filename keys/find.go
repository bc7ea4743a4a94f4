package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
)

// ErrNoKeys says that a domain has no directory of keys.
var ErrNoKeys = errors.New("no keys")

// Find reads the directory of one domain, as Open reads them all, but its keys
// are parsed only when they are loaded. The error says why there is no such
// domain; ErrNoKeys when it has no directory.
func Find(c Config, written string) (*Domain, error) {
	name, err := dkim.ParseSDID(written)
	if err != nil {
		return nil, fmt.Errorf("domain %q: %w", written, err)
	}
	top, err := stat(c.Directory)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w for %s: there is no %s", ErrNoKeys, name, c.Directory)
	case err != nil:
		return nil, *unreadable(c.Directory, err)
	}
	path, err := locate(c.Directory, name)
	if err != nil {
		return nil, err
	}
	dir, err := openDirectory(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w for %s: there is no %s", ErrNoKeys, name, path)
	}
	if err != nil {
		return nil, *noDirectory(path, err, "the directory of the domain's keys")
	}
	dir.close()
	return newDomain(name, path).load(newReader(c, top)), nil
}

// FindAll is Find over all sources: a domain may have an entry for each of its keys in the tables.
func FindAll(c Config, written string) ([]*Domain, error) {
	d, err := Find(c, written)
	if c.KeyTable == "" && len(c.Layouts) == 0 {
		if err != nil {
			return nil, err
		}
		return []*Domain{d}, nil
	}
	name, flaw := dkim.ParseSDID(written)
	if flaw != nil {
		return nil, err
	}
	s, _ := Open(c)
	s.Close()
	found := slices.DeleteFunc(s.Domains(), func(d *Domain) bool { return d.Name != name })
	if len(found) == 0 {
		return nil, err
	}
	return found, nil
}

// Names are the domains of a directory, by name, as Open finds them. Their own directories are not read.
func Names(directory string) []domain.Name {
	top, err := stat(directory)
	if err != nil {
		return nil
	}
	var s Store
	s.index(directory, top)
	names := make([]domain.Name, len(s.domains))
	for i, d := range s.domains {
		names[i] = d.Name
	}
	return names
}

// locate is the path of a domain's directory, however its name is written there;
// where there is none, that at which it belongs.
func locate(directory string, sdid domain.Name) (string, error) {
	path := filepath.Join(directory, string(sdid))
	if _, err := stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	top, err := openDirectory(directory)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", *noDirectory(directory, err, "the directory of the keys")
	}
	defer top.close()
	names, err := top.names()
	if err != nil {
		return "", *unreadable(directory, err)
	}
	for _, name := range names {
		if other, err := dkim.ParseSDID(name); !fault.Leftover(name) && err == nil && other == sdid {
			return filepath.Join(directory, name), nil
		}
	}
	return path, nil
}

// Sharing are the domains whose keys are in one directory with those of a domain: links lead from one to the other.
// The first is the owner: the one that is no link, or the first by name.
func Sharing(directory string, d *Domain) ([]domain.Name, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	own, err := os.Stat(d.Path)
	if err != nil {
		return nil, err
	}
	all, owner := []domain.Name{d.Name}, d.Name
	for _, e := range entries {
		name, err := dkim.ParseSDID(e.Name())
		path := filepath.Join(directory, e.Name())
		isLink := e.Type() == fs.ModeSymlink
		if err != nil || fault.Leftover(e.Name()) || !isLink && !e.IsDir() {
			continue
		}
		// Few directories of a large tree are links: only where one side is one can both be the same.
		if path != d.Path && (isLink || isSymlink(d.Path)) {
			if other, err := os.Stat(path); err == nil && os.SameFile(own, other) {
				all = append(all, name)
				if !isLink {
					owner = name
				}
			}
		}
	}
	slices.Sort(all)
	if owner == d.Name && isSymlink(d.Path) {
		owner = all[0]
	}
	all = slices.DeleteFunc(all, func(n domain.Name) bool { return n == owner })
	return append([]domain.Name{owner}, all...), nil
}

func isSymlink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() == fs.ModeSymlink
}
