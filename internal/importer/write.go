package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// file is one to be written, by its path below the directory.
type file struct {
	path    string
	content []byte
}

// keyCopy is a private key to be copied.
type keyCopy struct {
	from   string // the file it is in
	inline []byte // or the key itself, as PEM
	to     string // below the directory
}

// configFile is the file that is written last: without it nothing was imported.
const configFile = "dkimd.toml"

// Write writes the plan to a directory, all of it or nothing. The directory may be there, what is written may not. Before it is
// written for good, check is called with the path of a dkimd.toml that is like it, beside it.
func (p *Plan) Write(dir string, u User, check func(config string) error) (written []string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if path := filepath.Join(dir, configFile); exists(path) {
		return nil, fmt.Errorf("%s is there already: nothing is overwritten; name another directory with --to", path)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // a directory like /etc
		return nil, err
	}
	abandoned := filepath.Join(parent, "."+filepath.Base(dir)+".import-")
	removeAbandoned(abandoned)
	stage, err := os.MkdirTemp(parent, filepath.Base(abandoned))
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(stage) //nolint:errcheck // what is left of it is of no use
	lock, err := lockDirectory(stage)
	if err != nil {
		return nil, err
	}
	defer lock.Close() //nolint:errcheck // nothing was written to it
	w := writer{stage: stage, user: u}
	if err := w.own(stage, 0o750); err != nil {
		return nil, err
	}
	if err := w.all(p, stage); err != nil {
		return nil, err
	}
	if check != nil {
		if err := check(filepath.Join(stage, configFile)); err != nil {
			return nil, err
		}
	}
	w.again = true
	if err := w.texts(p, dir); err != nil {
		return nil, err
	}
	return w.moveTo(dir)
}

// removeAbandoned removes what a run that was killed left behind, whose lock nobody holds: copies of private keys are in it.
func removeAbandoned(prefix string) {
	found, _ := filepath.Glob(prefix + "*") // a name with a bad pattern has none
	for _, stage := range found {
		if lock, err := lockDirectory(stage); err == nil {
			_ = os.RemoveAll(stage)
			_ = lock.Close()
		}
	}
}

// lockDirectory takes a lock that ends with the process.
func lockDirectory(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0) //nolint:gosec // beside the directory that is written
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// writer writes files into a directory beside the one they are for.
type writer struct {
	stage string
	user  User
	again bool // the files are there and are written anew
	paths []string
}

// all writes the plan as it is in a directory dir.
func (w *writer) all(p *Plan, dir string) error {
	for _, d := range slices.Concat(p.directories, []string{"rules"}) {
		if err := w.directory(d); err != nil {
			return err
		}
	}
	for _, k := range p.keys {
		content := k.inline
		if k.from != "" {
			var err error
			if content, err = os.ReadFile(k.from); err != nil {
				return err
			}
		}
		mode := fs.FileMode(0o640)
		if w.user.GID == 0 {
			mode = 0o600
		}
		if err := w.file(k.to, content, mode); err != nil {
			return err
		}
	}
	for _, f := range p.files {
		if err := w.file(f.path, f.content, 0o640); err != nil {
			return err
		}
	}
	return w.texts(p, dir)
}

// texts writes the files that name paths in dir.
func (w *writer) texts(p *Plan, dir string) error {
	for _, tables := range p.tables {
		for _, f := range tables(dir) {
			if err := w.file(f.path, f.content, 0o640); err != nil {
				return err
			}
		}
	}
	p.config.set("policy", "directory", below("rules"), "")
	return w.file(configFile, []byte(p.config.render(p.head(), dir)), 0o640)
}

func (p *Plan) head() string {
	return "# Made by dkimd import " + p.Source + " from " + p.From + ".\n" +
		"# What is not here has its default: dkimd config --defaults prints all keys and what they mean.\n\n"
}

// directory makes one below the stage, with those above it.
func (w *writer) directory(path string) error {
	at := w.stage
	for part := range strings.SplitSeq(path, "/") {
		if at = filepath.Join(at, part); exists(at) {
			continue
		}
		if err := os.Mkdir(at, 0o750); err != nil {
			return err
		}
		if err := w.own(at, 0o750); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) file(path string, content []byte, mode fs.FileMode) error {
	if dir := filepath.Dir(path); dir != "." {
		if err := w.directory(dir); err != nil {
			return err
		}
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if w.again {
		flags = os.O_WRONLY | os.O_TRUNC
	}
	at := filepath.Join(w.stage, path)
	f, err := os.OpenFile(at, flags, 0o600) //nolint:gosec // a name of the plan's
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if !slices.Contains(w.paths, path) {
		w.paths = append(w.paths, path)
	}
	return w.own(at, mode)
}

// own gives a file of root's to the group that dkimd reads by, and its mode.
func (w *writer) own(path string, mode fs.FileMode) error {
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 0, w.user.GID); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}

// moveTo brings the files to where they belong, dkimd.toml last. What is there already is an error, after which nothing of them
// is there.
func (w *writer) moveTo(dir string) (written []string, err error) {
	if !exists(dir) {
		if err := os.Rename(w.stage, dir); err != nil {
			return nil, err
		}
		return w.in(dir), nil
	}
	var made []string
	defer func() {
		for _, path := range slices.Backward(made) {
			if err != nil {
				_ = os.Remove(path)
			}
		}
	}()
	err = filepath.WalkDir(w.stage, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == w.stage || entry.Name() == configFile && filepath.Dir(path) == w.stage {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, w.stage))
		if entry.IsDir() {
			if exists(to) {
				return nil
			}
			made = append(made, to)
			if err := os.Mkdir(to, 0o750); err != nil {
				return err
			}
			return w.own(to, 0o750)
		}
		if exists(to) {
			return fmt.Errorf("%s is there already: nothing is overwritten; move it away, or name another directory with --to", to)
		}
		made = append(made, to)
		return os.Rename(path, to) //nolint:gosec // a directory that nobody else can write
	})
	if err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(w.stage, configFile), filepath.Join(dir, configFile)); err != nil {
		return nil, err
	}
	return w.in(dir), nil
}

// in is what was written, by its path in dir.
func (w *writer) in(dir string) []string {
	paths := make([]string, len(w.paths))
	for i, path := range w.paths {
		paths[i] = filepath.Join(dir, path)
	}
	slices.Sort(paths)
	return paths
}
