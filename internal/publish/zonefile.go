package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// zoneHead begins the files that ZoneFile writes: it touches no other.
const zoneHead = "; Records of DKIM keys. dkimd writes this file: $INCLUDE it, and change nothing."

// ZoneFile keeps records in a file that a zone takes in by $INCLUDE, and then runs a program that has the
// server read it.
type ZoneFile struct {
	Path string
	Args []string      // of the program; none: nobody is told
	Time time.Duration // 0: one minute
}

func (z ZoneFile) String() string { return "in " + z.Path }

// Apply is Method. The program runs also where the file has the record already: it may have failed before.
func (z ZoneFile) Apply(ctx context.Context, c Change) error {
	if err := z.write(c); err != nil {
		return err
	}
	if len(z.Args) == 0 {
		return nil
	}
	return run(ctx, z.Args, nil, z.Time)
}

func (z ZoneFile) write(c Change) (err error) {
	dir, err := os.Open(filepath.Dir(z.Path))
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // only read
	// Another domain may be written at the same time, by another process, too.
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	before, err := os.ReadFile(z.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(before), "\n"), "\n")
	switch {
	case err != nil || len(before) == 0:
		lines = []string{zoneHead}
	case lines[0] != zoneHead:
		return fmt.Errorf("%s: %w: it does not begin as a file of dkimd does", z.Path, ErrTaken)
	}
	own := func(line string) bool { return strings.HasPrefix(line, c.Name+". ") }
	i := slices.IndexFunc(lines, own)
	if i < 0 && c.Old != "" && c.New != "" {
		return fmt.Errorf("%s: %w: what is to be replaced is not in this file; take it out of the zone: %q", z.Path, ErrTaken, c.Old)
	}
	if i >= 0 {
		_, value, _ := strings.Cut(lines[i], " IN TXT ")
		if value != strings.Join(quoted(c.New), " ") && (c.Old == "" || value != strings.Join(quoted(c.Old), " ")) {
			return fmt.Errorf("%s: %w: %s", z.Path, ErrTaken, lines[i])
		}
	}
	lines = slices.DeleteFunc(lines, own)
	if c.New != "" {
		lines = append(lines, c.Line())
	}
	slices.Sort(lines[1:])
	after := strings.Join(lines, "\n") + "\n"
	if after == string(before) {
		return nil
	}
	return replace(z.Path, after)
}

// replace writes a file anew, all or nothing. It keeps owner and mode.
func replace(path, content string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
				return errors.Join(err, f.Close())
			}
		}
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
