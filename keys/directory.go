package keys

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// listBytes is how much of a directory is read at once.
const listBytes = 8 << 10

// directory is an open directory. Domains are read through these and not through
// os.File, with one buffer for many, because 100,000 domains are 100,000
// directories: it takes half the time.
type directory struct {
	path  string
	print fingerprint
	fd    int
}

// openDirectory opens the directory at a path. Links are followed. The error is
// ENOTDIR for anything else.
func openDirectory(path string) (*directory, error) {
	d := &directory{path: path}
	err := again(func() (err error) {
		// Without O_DIRECTORY a pipe would be opened; with it nothing but a directory is.
		d.fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(d.fd, &st) }); err != nil {
		d.close()
		return nil, err
	}
	d.print = fingerprintOf(&st)
	return d, nil
}

//nolint:gochecknoglobals // listBytes at a time, of use to any directory
var listBuffers = sync.Pool{New: func() any { return new([listBytes]byte) }}

// names are the names in the directory, in no order.
func (d *directory) names() ([]string, error) {
	buf := listBuffers.Get().(*[listBytes]byte)
	defer listBuffers.Put(buf)
	var names []string
	for {
		n := 0
		err := again(func() (err error) {
			n, err = unix.ReadDirent(d.fd, buf[:])
			return err
		})
		if err != nil || n <= 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// stat follows links.
func (d *directory) stat(name string) (fingerprint, error) { return statAt(d.fd, name) }

func (d *directory) close() { _ = unix.Close(d.fd) }

// stat follows links: what counts is the target.
func stat(path string) (fingerprint, error) { return statAt(unix.AT_FDCWD, path) }

func statAt(at int, name string) (fingerprint, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstatat(at, name, &st, 0) }); err != nil {
		return fingerprint{}, err
	}
	return fingerprintOf(&st), nil
}

// again repeats a system call that a signal interrupted, as package os does.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// syncDirectory makes what was created or renamed in a directory last.
func syncDirectory(path string) error {
	d, err := os.Open(path) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
