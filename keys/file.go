package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkimd/internal/fault"

	"golang.org/x/sys/unix"
)

// maxFileBytes is the size of the largest key file and the largest domain.toml that is read.
const maxFileBytes = 64 << 10

// fingerprint is what makes us believe that a file is the one we have read.
type fingerprint struct {
	device, inode  uint64
	size           int64
	mtime, ctime   unix.Timespec
	mode, uid, gid uint32
}

func fingerprintOf(st *unix.Stat_t) fingerprint {
	return fingerprint{
		device: uint64(st.Dev), inode: st.Ino, size: st.Size, //nolint:unconvert // Dev is an int32 on some systems
		mtime: st.Mtim, ctime: st.Ctim, mode: uint32(st.Mode), uid: st.Uid, gid: st.Gid, //nolint:unconvert // Mode is a uint16 on some systems
	}
}

func (p fingerprint) regular() bool   { return p.mode&unix.S_IFMT == unix.S_IFREG }
func (p fingerprint) directory() bool { return p.mode&unix.S_IFMT == unix.S_IFDIR }

// kind names the type of a file that should have been another one.
func (p fingerprint) kind() string {
	switch p.mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a named pipe"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	}
	return "something that is not a regular file"
}

// permissions say which files of one directory of keys may be read.
type permissions struct {
	owners []uint32 // who may own a key: root, ourselves, the owner of the directory, and others that the configuration names
	group  uint32   // the directory's group: the one the daemon reads by
	mode   uint32   // one that is accepted besides those of the rule; 0: none
}

// newPermissions trusts the owner of what the operator named: of the directory of keys, or of a table.
func newPermissions(named fingerprint, c Config) *permissions {
	perms := &permissions{owners: []uint32{0, uint32(os.Geteuid()), named.uid}, group: named.gid, mode: uint32(c.AllowMode)} //nolint:gosec // an id fits
	for _, uid := range c.Owners {
		perms.owners = append(perms.owners, uint32(uid)) //nolint:gosec // an id fits
	}
	return perms
}

func (perms *permissions) owns(uid uint32) bool { return slices.Contains(perms.owners, uid) }

// checkKey is the fault that keeps a key file from being opened, or nil.
func (perms *permissions) checkKey(path string, p fingerprint) *fault.Fault {
	if !p.regular() {
		return &fault.Fault{Path: path, Got: p.kind(), Want: "a key file", Hint: notKey(path)}
	}
	if fault := perms.checkMode(path, p); fault != nil {
		return fault
	}
	switch {
	case !perms.owns(p.uid):
		return perms.foreign(path, p)
	case p.size == 0:
		return otherType(path, "an empty file")
	case p.size > maxFileBytes:
		return tooLarge(path)
	}
	return nil
}

// checkMode is the fault of a mode that lets others than the owner at a key.
func (perms *permissions) checkMode(path string, p fingerprint) *fault.Fault {
	const want = "a key file that others cannot read and only its owner can write"
	mode := "mode " + octal(p.mode)
	switch {
	case perms.mode != 0 && p.mode&0o7777 == perms.mode:
		return nil
	case p.mode&0o002 != 0:
		return &fault.Fault{Path: path, Got: mode + ", with which everybody can write the key", Want: want, Hint: perms.mend(path, p)}
	case p.mode&0o004 != 0:
		return &fault.Fault{Path: path, Got: mode + ", with which everybody can read the key", Want: want, Hint: perms.mend(path, p)}
	case p.mode&0o020 != 0:
		return &fault.Fault{Path: path, Got: mode + ", with which the group can write the key", Want: want, Hint: perms.mend(path, p)}
	}
	return nil
}

// mend is the command that makes a key file's mode right, and its owner too where that is wrong.
func (perms *permissions) mend(path string, p fingerprint) string {
	if perms.owns(p.uid) {
		return "chmod 0640 " + quote(path)
	}
	return "chown " + perms.owner() + " " + quote(path) + " && chmod 0640 " + quote(path)
}

func (perms *permissions) foreign(path string, p fingerprint) *fault.Fault {
	want := "root as the owner"
	if us := os.Geteuid(); us != 0 {
		want += ", or the user dkimd runs as (" + fault.User(us) + ")"
	}
	hint := "chown " + perms.owner() + " " + quote(path)
	if p.regular() {
		hint = perms.mend(path, p)
	}
	return &fault.Fault{Path: path, Got: "owner " + fault.User(int(p.uid)), Want: want, Hint: hint}
}

// owner is the user and group a file should belong to, so that the daemon can read it at mode 0640.
func (perms *permissions) owner() string { return "root:" + fault.Group(int(perms.group)) }

// checkOptions is the fault that keeps a domain.toml from being believed: it says who may sign.
func (perms *permissions) checkOptions(path string, p fingerprint) *fault.Fault {
	switch {
	case !p.regular():
		return &fault.Fault{Path: path, Got: p.kind(), Want: "a TOML file", Hint: "move it away"}
	case p.mode&0o022 != 0:
		return writable(path, p)
	case !perms.owns(p.uid):
		return perms.foreign(path, p)
	case p.size > maxFileBytes:
		return tooLarge(path)
	}
	return nil
}

func writable(path string, p fingerprint) *fault.Fault {
	return &fault.Fault{
		Path: path, Got: "mode " + octal(p.mode) + ", with which others than its owner can write it",
		Want: "a file only its owner can write", Hint: "chmod go-w " + quote(path),
	}
}

// checkDirectory is what is wrong with a directory's mode. Such a directory still
// signs: whoever can write in it can take keys away, but cannot bring any, since
// the owner of each file is checked, and so not to sign would help nobody. A sticky bit
// makes it fit: Kubernetes mounts secrets with mode 1777.
func checkDirectory(path string, p fingerprint) *fault.Fault {
	if p.mode&0o022 == 0 || p.mode&unix.S_ISVTX != 0 {
		return nil
	}
	who := "the group"
	if p.mode&0o002 != 0 {
		who = "everybody"
	}
	return &fault.Fault{
		Path: path, Got: "mode " + octal(p.mode) + ", with which " + who + " can exchange the keys in it",
		Want: "a directory only its owner can write", Hint: "chmod go-w " + quote(path),
	}
}

func tooLarge(path string) *fault.Fault {
	return &fault.Fault{Path: path, Got: "more than 64 KiB", Want: "a file of at most 64 KiB", Hint: "is this the file you mean?"}
}

// read opens a file, lets check judge what was really opened, and reads it. A
// pipe or device at the path neither blocks us nor is read. The caller clears what it gets.
func (perms *permissions) read(path string, check func(string, fingerprint) *fault.Fault) ([]byte, fingerprint, *fault.Fault) {
	// Only regular files are opened: opening a device can have an effect.
	p, err := stat(path)
	if err != nil {
		return nil, p, unreadable(path, err)
	}
	if fault := check(path, p); fault != nil {
		return nil, p, fault
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0) //nolint:gosec // the operator names the directory
	if err != nil {
		return nil, p, unreadable(path, err)
	}
	defer f.Close() //nolint:errcheck // only read
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, p, unreadable(path, err)
	}
	p = fingerprintOf(&st)
	if fault := check(path, p); fault != nil {
		return nil, p, fault
	}
	// Of the file's size: ReadAll would leave copies of a key behind as it grows.
	data := make([]byte, p.size)
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		clear(data)
		return nil, p, unreadable(path, err)
	}
	return data[:n], p, nil
}

// unreadable is the fault of a path that the system does not let us read.
func unreadable(path string, err error) *fault.Fault {
	f := &fault.Fault{Path: path, Got: reason(err)}
	var st unix.Stat_t
	switch {
	case errors.Is(err, unix.ELOOP):
		f.Got, f.Want, f.Hint = "a link that leads in a circle", "a file", "rm "+quote(path)
	case errors.Is(err, fs.ErrNotExist):
		f.Want = "a file"
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			f.Got = "a link that leads nowhere"
			f.Hint = "rm " + quote(path)
		}
	case errors.Is(err, fs.ErrPermission):
		us := fault.User(os.Geteuid()) + ":" + fault.Group(os.Getegid())
		f.Want = "read permission for the user dkimd runs as (" + us + ")"
		p, closed := nearest(path)
		mode := "0640"
		switch {
		case closed != path:
			f.Got += " in " + closed
			mode = "g+x"
		case p.directory():
			mode = "0750"
		}
		f.Got += fmt.Sprintf(" (mode %s, owner %s:%s)", octal(p.mode), fault.User(int(p.uid)), fault.Group(int(p.gid)))
		f.Hint = fmt.Sprintf("chgrp %s %s && chmod %s %s", fault.Group(os.Getegid()), quote(closed), mode, quote(closed))
	default:
		f.Want, f.Hint = "a file that dkimd can read", "namei -l "+quote(path)+" shows what is there"
	}
	return f
}

// nearest is the path, or the directory on the way to it or to where it links,
// that keeps us from getting there.
func nearest(path string) (p fingerprint, at string) {
	for range 100 { // more than any path that the system follows
		p, err := stat(path)
		parent := filepath.Dir(path)
		if err == nil || parent == path {
			return p, path
		}
		target, err := os.Readlink(path)
		switch {
		case err != nil:
			path = parent
		case filepath.IsAbs(target):
			path = target
		default:
			path = filepath.Join(parent, target)
		}
	}
	return p, path
}

// reason is the system's words without the path, which the fault names itself.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

func octal(mode uint32) string { return fmt.Sprintf("%04o", mode&0o7777) }

// quote writes a path as one word of a shell command.
func quote(path string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+@:,%=", r) || r > 0x7f
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
