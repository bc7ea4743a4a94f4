package socket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// whoServes is the command that names the process of a unix socket, before its path.
const whoServes = "fstat | grep "

// credentialsOf reads SO_PEERCRED (getsockopt(2)): struct sockpeercred is uid, gid and pid, of 4 octets each.
// OpenBSD takes system calls from its C library only, and Go's way there is a call for a larger structure.
func credentialsOf(fd int) (process, error) {
	c, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return process{}, err
	}
	number := func(at int) uint32 { return binary.NativeEndian.Uint32(c.Multiaddr[at:]) }
	return process{uid: number(0), gid: number(4), pid: int32(number(8))}, nil
}
