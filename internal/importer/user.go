package importer

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// User is whom dkimd runs as.
type User struct {
	Name     string
	UID, GID int
}

// ServiceUser is the user of that name or number; with an error it is root.
func ServiceUser(name string) (User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return User{"root", 0, 0}, fmt.Errorf("no user %s on this host", name)
		}
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	return User{u.Username, uid, gid}, errors.Join(errUID, errGID)
}

// reads reports whether the user can read a file: every directory above it lets it through.
func (u User) reads(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	if u.UID == 0 {
		return true
	}
	for want := os.FileMode(4); ; want = 1 {
		info, err := os.Stat(path)
		if err != nil || !u.may(info, want) {
			return false
		}
		if path == "/" {
			return true
		}
		path = filepath.Dir(path)
	}
}

// may reports whether the user has a right, 4 to read and 1 to enter.
func (u User) may(info os.FileInfo, right os.FileMode) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	switch {
	case int(stat.Uid) == u.UID:
		right <<= 6
	case int(stat.Gid) == u.GID:
		right <<= 3
	}
	return info.Mode().Perm()&right != 0
}

// uses reports whether dkimd takes a key where it is: docs/keys.md, Who may read and write what.
func (u User) uses(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().Perm()&0o026 == 0 && (stat.Uid == 0 || int(stat.Uid) == u.UID) && u.reads(path)
}
