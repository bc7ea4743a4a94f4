package rotate

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"dkimd/keys"
)

const (
	// maxLinks is how long a chain of links may be, as for the system.
	maxLinks = 40
	// claimsFor is how long is believed what was found: an engine may wait for days.
	claimsFor = time.Minute
)

// claimed is the error of a key whose file others name: a table, a layout, or a link in the directory of another domain.
// They would lose it when it retires. A key that is a link itself is somebody else's to rotate.
func (j *job) claimed(ctx context.Context, selector string) error {
	path := filepath.Join(j.domain.Path, selector+".pem")
	for _, own := range []string{path, path + ".old"} {
		if info, err := os.Lstat(own); err == nil && info.Mode().Type() == fs.ModeSymlink {
			return fmt.Errorf("%s is a link: dkimd rotates a key only where its file is", own)
		}
	}
	claims, err := j.claimsNow(ctx)
	if err != nil {
		return fmt.Errorf("who else names %s is not known: %w", path, err)
	}
	if who, ok := claims[end(path)]; ok {
		return fmt.Errorf("%s is named by %s, which would lose the key: dkimd rotates no key that others name", path, who)
	}
	return nil
}

// claims are the files that are named elsewhere, and who names each.
type claims struct {
	mu    sync.Mutex
	at    keys.Moment
	names map[string]string
}

// claimsNow are the claims as of a short time ago: to find them takes seconds with many domains.
func (e *Engine) claimsNow(ctx context.Context) (map[string]string, error) {
	e.claims.mu.Lock()
	defer e.claims.mu.Unlock()
	if now := e.Now(); e.claims.names == nil || now.Since(e.claims.at) > claimsFor {
		names, err := e.findClaims(ctx)
		if err != nil {
			return nil, err
		}
		e.claims.names, e.claims.at = names, now
	}
	return e.claims.names, nil
}

// findClaims fails where a table or a directory cannot be read, and where nobody knows what the daemon signs with.
func (e *Engine) findClaims(ctx context.Context) (map[string]string, error) {
	claims := map[string]string{}
	c := e.Keys
	c.Directory, c.Map, c.Logger, c.Previous = "", nil, nil, nil
	store, _ := keys.Open(c)
	store.Close()
	if err := store.Err(); err != nil {
		return nil, err
	}
	for _, d := range store.Domains() {
		for _, k := range d.Keys {
			if k.Line == 0 { // else it stands in the table itself
				claims[end(k.Path)] = "a table or a layout, as " + k.Path
			}
		}
	}
	if e.Elsewhere != nil {
		running, err := e.Elsewhere(ctx)
		if err != nil {
			return nil, err
		}
		for _, path := range running {
			claims[end(path)] = "the daemon, which signs with it as a table or a layout said"
		}
	}
	entries, err := os.ReadDir(e.Keys.Directory)
	if err != nil {
		return nil, err
	}
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
	return claims, nil
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
