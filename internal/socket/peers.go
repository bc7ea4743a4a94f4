package socket

import (
	"errors"
	"net"
	"os/user"
	"slices"
	"strconv"

	"dkimd/internal/fault"
)

// peers are the users and groups whose processes may use a unix socket.
type peers struct{ uids, gids []uint32 }

// CheckPeer reports what is wrong with a name of a user or group, as a fault.Fault.
func CheckPeer(name string) error {
	var p peers
	return p.add(name)
}

// add takes a user or group, by name or number. Where both have the name, both may connect.
func (p *peers) add(name string) error {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		p.uids, p.gids = append(p.uids, uint32(id)), append(p.gids, uint32(id))
		return nil
	}
	before := len(p.uids) + len(p.gids)
	if u, err := user.Lookup(name); err == nil {
		p.uids = appendID(p.uids, u.Uid)
	}
	if g, err := user.LookupGroup(name); err == nil {
		p.gids = appendID(p.gids, g.Gid)
	}
	if len(p.uids)+len(p.gids) == before {
		return refuse("a user or a group of this host", "getent passwd and getent group list them; name the one the mail server runs as")
	}
	return nil
}

func appendID(ids []uint32, id string) []uint32 {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return ids
	}
	return append(ids, uint32(n))
}

// findPeers looks names up once, so that no connection waits for it. Without names it is nil: anyone may connect.
func findPeers(cfg Config) (*peers, error) {
	if len(cfg.Peers) == 0 {
		return nil, nil //nolint:nilnil // nobody is kept out
	}
	p := &peers{}
	var faults fault.Faults
	for i, name := range cfg.Peers {
		if err := p.add(name); err != nil {
			faults = append(faults, faultOf(err, cfg.Name+".peers["+strconv.Itoa(i+1)+"]", name))
		}
	}
	if faults != nil {
		return nil, faults
	}
	return p, nil
}

// process is one that connected. That is what the kernel noted then: it cannot be forged.
type process struct {
	pid      int32 // 0: it cannot be told
	uid, gid uint32
}

// allow reports whether a process may use the connection.
func (p *peers) allow(who process) bool {
	return slices.Contains(p.uids, who.uid) || slices.Contains(p.gids, who.gid)
}

// credentials are those of the process at the other end; an error where they cannot be told, as with TCP.
func credentials(conn net.Conn) (who process, err error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return who, errors.ErrUnsupported
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return who, err
	}
	failed := raw.Control(func(fd uintptr) { who, err = credentialsOf(int(fd)) })
	return who, errors.Join(failed, err)
}
