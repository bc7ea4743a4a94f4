package rotate

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkimd/keys"
)

// maxLinks is how long a chain of links may be, as for the system.
const maxLinks = 40

// claimed is the error of a key whose file others name: a table, a layout, or a link in the directory of another domain.
// They would lose it when it retires. A key that is a link itself is somebody else's to rotate.
func (j *job) claimed(selector string) error {
	path := filepath.Join(j.domain.Path, selector+".pem")
	for _, own := range []string{path, path + ".old"} {
		if info, err := os.Lstat(own); err == nil && info.Mode().Type() == fs.ModeSymlink {
			return fmt.Errorf("%s is a link: dkimd rotates a key only where its file is", own)
		}
	}
	j.claiming.Do(func() { j.claims = j.findClaims() })
	if who, ok := j.claims[end(path)]; ok {
		return fmt.Errorf("%s is named by %s, which would lose the key: dkimd rotates no key that others name", path, who)
	}
	return nil
}

// findClaims are the files that are named elsewhere, and who names each. With many domains it takes seconds.
func (e *Engine) findClaims() map[string]string {
	claims := map[string]string{}
	c := e.Keys
	c.Directory, c.Map, c.Logger, c.Previous = "", nil, nil, nil
	store, _ := keys.Open(c)
	store.Close()
	for _, d := range store.Domains() {
		for _, k := range d.Keys {
			if k.Line == 0 { // else it stands in the table itself
				claims[end(k.Path)] = "a table or a layout, as " + k.Path
			}
		}
	}
	entries, _ := os.ReadDir(e.Keys.Directory)
	for _, domain := range entries {
		if !domain.IsDir() {
			continue // of directories that are links, the keys rotate together
		}
		files, _ := os.ReadDir(filepath.Join(e.Keys.Directory, domain.Name()))
		for _, f := range files {
			if f.Type() == fs.ModeSymlink && strings.HasSuffix(f.Name(), ".pem") {
				link := filepath.Join(e.Keys.Directory, domain.Name(), f.Name())
				claims[end(link)] = "the link " + link
			}
		}
	}
	return claims
}

// end is where a path leads to, also where nothing is there.
func end(path string) string {
	for range maxLinks {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			path = filepath.Join(dir, filepath.Base(path))
		}
		target, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return path
}
