package output

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// lineSink is a file, stdout or stderr. A record is one line or several.
type lineSink struct {
	w    io.Writer
	file *os.File // nil: stdout and stderr, which are not ours to close
	torn bool     // the last line was not written to its end
}

// openFile opens a file to append to it.
func openFile(path string) (sink, error) {
	if err := ownLink(path); err != nil {
		return nil, fmt.Errorf("log.output: %w", err)
	}
	// Administrators of a group, and log shippers, read the log: 0640.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640) //nolint:gosec // see above; O_NONBLOCK: a pipe without a reader is an error instead of a wait
	if err != nil {
		return nil, fmt.Errorf("log.output: %w", err)
	}
	return &lineSink{w: f, file: f, torn: endsTorn(path)}, nil
}

var errForeignLink = errors.New("is a symbolic link of another user; want a file, or a link of root's or dkimd's")

// ownLink refuses a path that is another user's link: he would choose the file that grows.
func ownLink(path string) error {
	var info unix.Stat_t
	err := unix.Lstat(path, &info)
	if err != nil || info.Mode&unix.S_IFMT != unix.S_IFLNK || info.Uid == 0 || int(info.Uid) == os.Geteuid() {
		return nil // what else is wrong with it, opening it says
	}
	return &fs.PathError{Op: "open", Path: path, Err: errForeignLink}
}

// reachFile says why this process could not append to a file, or make it, with a *fs.PathError. It does neither.
func reachFile(path string) error {
	if err := ownLink(path); err != nil {
		return err
	}
	err := unix.Access(path, unix.W_OK)
	if errors.Is(err, fs.ErrNotExist) {
		err = unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return nil
}

// endsTorn reports whether a file ends within a line, because a process was killed while writing or
// the disk was full.
func endsTorn(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	return err == nil && last[0] != '\n'
}

// follows takes over from the output that was written to until now. If both are the same file, endsTorn
// may have seen half of a line that was just being written.
func (o *lineSink) follows(before sink) {
	old, ok := before.(*lineSink)
	if !ok || old.file == nil || o.file == nil {
		return
	}
	now, err := o.file.Stat()
	then, thenErr := old.file.Stat()
	if err == nil && thenErr == nil && os.SameFile(now, then) {
		o.torn = old.torn
	}
}

// write writes whole lines. A torn line before them is ended first, so that no
// record is joined to half of another.
func (o *lineSink) write(p []byte, ends []int) (int, error) {
	n, err := o.writeBytes(p)
	through := 0
	for through < len(ends) && ends[through] <= n {
		through++
	}
	return through, err
}

// writeBytes returns how many bytes of p got through.
func (o *lineSink) writeBytes(p []byte) (int, error) {
	if o.torn {
		n, err := o.w.Write([]byte("\n"))
		if n != 1 || err != nil {
			return 0, shortWrite(err)
		}
		o.torn = false
	}
	// If w panics, nobody knows how much it wrote.
	o.torn = true
	n, err := o.w.Write(p)
	n = min(max(n, 0), len(p))
	o.torn = n > 0 && p[n-1] != '\n'
	if n < len(p) {
		return n, shortWrite(err)
	}
	return n, nil
}

func shortWrite(err error) error {
	if err == nil {
		return io.ErrShortWrite
	}
	return err
}

func (o *lineSink) close() error {
	if o.file == nil {
		return nil
	}
	if err := o.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
