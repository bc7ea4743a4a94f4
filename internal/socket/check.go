package socket

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"dkimd/internal/fault"

	"golang.org/x/sys/unix"
)

// Check reports what would keep this process from opening the unix sockets of a configuration, as far as
// that shows without opening them, as fault.Faults without file and line. Whether one is in use is not
// asked: it may be ours, in a dkimd that runs.
func Check(cfg Config) fault.Faults {
	var faults fault.Faults
	for i, address := range cfg.Listen {
		a, err := ParseListen(address)
		if err == nil && a.network == "unix" {
			err = checkUnix(a.address, cfg.Group)
		}
		if err != nil {
			faults = append(faults, faultOf(err, cfg.Name+".listen["+strconv.Itoa(i+1)+"]", address))
		}
	}
	return faults
}

func checkUnix(path, group string) error {
	gid := -1
	if group != "" {
		var err error
		if gid, err = groupID(group); err != nil {
			return err
		}
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(dir, "/run/") {
		return nil // systemd makes it when it starts dkimd: RuntimeDirectory=
	}
	if err := checkParent(dir); err != nil {
		return err
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return notWritable(dir, err)
	}
	// A socket in a set-group-ID directory is of its group already.
	if inherited := info.Mode()&fs.ModeSetgid != 0 && groupOf(info) == gid; gid >= 0 && !inherited && !inGroup(gid) {
		return notMember(group, "not a member")
	}
	return nil
}

// inGroup reports whether this process may give a file of its own to a group.
func inGroup(gid int) bool {
	groups, err := os.Getgroups()
	return os.Geteuid() == 0 || os.Getegid() == gid || err != nil || slices.Contains(groups, gid)
}

func groupOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Gid)
	}
	return -1
}
