package socket

import "golang.org/x/sys/unix"

// whoServes is the command that names the process of a unix socket, before its path.
const whoServes = "ss -lxp src "

// credentialsOf reads SO_PEERCRED (unix(7)).
func credentialsOf(fd int) (process, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return process{}, err
	}
	return process{pid: c.Pid, uid: c.Uid, gid: c.Gid}, nil
}
