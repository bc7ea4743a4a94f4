package socket

import "golang.org/x/sys/unix"

// whoServes is the command that names the process of a unix socket, before its path.
const whoServes = "sockstat -ul | grep "

// credentialsOf reads LOCAL_PEERCRED (unix(4)); its level, SOL_LOCAL, is 0. The effective group is the first one.
// Which process it is, stands in a part of the structure that Go does not show.
func credentialsOf(fd int) (process, error) {
	const local = 0
	c, err := unix.GetsockoptXucred(fd, local, unix.LOCAL_PEERCRED)
	switch {
	case err != nil:
		return process{}, err
	case c.Ngroups < 1:
		return process{}, unix.ENOTCONN
	}
	return process{uid: c.Uid, gid: c.Groups[0]}, nil
}
