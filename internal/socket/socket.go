// Package socket opens the sockets that front doors listen on: TCP, and unix
// sockets that nobody who may not connect can reach at any moment.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxSocketPath is what fits into a sockaddr_un (108 bytes with its NUL), less
// the name under which a socket is made ready.
const maxSocketPath = 107 - len(nursery) - len("/s")

// nursery is appended to a socket's path for the directory it is made in.
const nursery = ".new"

// DefaultMode are the permissions of a unix socket.
const DefaultMode = os.FileMode(0o660)

// Config says which sockets to open.
type Config struct {
	// Name is the table of dkimd.toml that faults name: "milter", "exim".
	Name string
	// Listen are the addresses: "inet:127.0.0.1:8891", "inet6:[::1]:8891", "unix:/path".
	Listen []string
	// Mode are the permissions of unix sockets; 0: 0660.
	Mode os.FileMode
	// Group owns unix sockets, by name or number; empty: the group of the process.
	Group string
}

// Listen opens every socket of the configuration, or none. All faults are
// reported, joined.
func Listen(cfg Config) ([]net.Listener, error) {
	if len(cfg.Listen) == 0 {
		return nil, fmt.Errorf("%s.listen: no address to listen on", cfg.Name)
	}
	if cfg.Mode == 0 {
		cfg.Mode = DefaultMode
	}
	var listeners []net.Listener
	var faults []error
	for _, address := range cfg.Listen {
		ln, err := listen(address, cfg)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s.listen %q: %w", cfg.Name, address, err))
			continue
		}
		listeners = append(listeners, ln)
	}
	if faults == nil {
		return listeners, nil
	}
	for _, ln := range listeners {
		_ = ln.Close()
	}
	return nil, errors.Join(faults...)
}

// Local is the address of our end of a connection, without the name under which
// its socket was made ready.
func Local(conn net.Conn) string {
	return strings.TrimSuffix(conn.LocalAddr().String(), nursery+"/s")
}

func listen(address string, cfg Config) (net.Listener, error) {
	scheme, rest, _ := strings.Cut(address, ":")
	switch scheme {
	case "inet", "inet6":
		return listenTCP(map[string]string{"inet": "tcp4", "inet6": "tcp6"}[scheme], rest)
	case "unix":
		return listenUnix(rest, cfg)
	}
	return nil, errors.New("want inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH")
}

func listenTCP(network, hostport string) (net.Listener, error) {
	if strings.Contains(hostport, "@") {
		port, host, _ := strings.Cut(hostport, "@")
		return nil, fmt.Errorf("want inet:HOST:PORT (hint: here a host comes first: inet:%s)", net.JoinHostPort(host, port))
	}
	if _, _, err := net.SplitHostPort(hostport); err != nil {
		return nil, fmt.Errorf("want inet:HOST:PORT or inet6:[HOST]:PORT: %w", err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), network, hostport)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another process listens there (hint: stop it, or choose another port): %w", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("this host has no such address: %w", err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("ports below 1024 are for root (hint: choose another port): %w", err)
	case err != nil:
		return nil, err
	}
	return ln, nil
}

// listenUnix makes a unix socket. It comes into the world in a directory nobody
// else can enter, gets its mode and group there, and is then renamed to its path:
// at no moment can someone connect who may not.
func listenUnix(path string, cfg Config) (net.Listener, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("want unix:/PATH, an absolute path")
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path has %d bytes, a socket's path at most %d (hint: choose a shorter one)", len(path), maxSocketPath)
	}
	gid := -1
	if cfg.Group != "" {
		var err error
		if gid, err = groupID(cfg.Group); err != nil {
			return nil, err
		}
	}
	if err := checkParent(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := checkVacant(path); err != nil {
		return nil, err
	}
	dir := path + nursery
	// What a process killed at this point left behind.
	_ = os.Remove(filepath.Join(dir, "s"))
	_ = os.Remove(dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the directory must be writable for dkimd (hint: chown it to dkimd's user): %w", err)
	}
	defer func() { _ = os.Remove(dir) }()
	born := filepath.Join(dir, "s")
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "unix", born)
	if err != nil {
		return nil, err
	}
	unix, ok := ln.(*net.UnixListener)
	if !ok {
		_ = ln.Close()
		return nil, fmt.Errorf("not a unix socket: %T", ln)
	}
	unix.SetUnlinkOnClose(false)
	sl := &socketListener{UnixListener: unix, path: path}
	if err := sl.settle(born, cfg.Mode, gid, cfg.Group); err != nil {
		_ = unix.Close()
		_ = os.Remove(born)
		return nil, err
	}
	return sl, nil
}

// groupID finds a group by name or number.
func groupID(name string) (int, error) {
	if id, err := strconv.Atoi(name); err == nil && id >= 0 {
		return id, nil
	}
	group, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("socket_group: no group %q on this host (hint: groupadd it, or name the MTA's group)", name)
	}
	id, err := strconv.Atoi(group.Gid)
	if err != nil {
		return 0, fmt.Errorf("socket_group: group %q: %w", name, err)
	}
	return id, nil
}

func checkParent(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the directory %s does not exist (hint: create it, owned by dkimd's user)", dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	return nil
}

// checkVacant reports why a socket may not be put at path. A socket that
// refuses connections was left behind by a killed process, and may be replaced.
func checkVacant(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something else than a socket at this path (hint: move it away, or choose another path)")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return errors.New("another process serves this socket (hint: stop it, or choose another path)")
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("there is a socket at this path, and it cannot be told whether a process serves it (hint: remove it if none does): %w", err)
}

// socketListener is a unix listener that knows the path its socket was renamed to.
type socketListener struct {
	*net.UnixListener
	path string
	own  os.FileInfo // the socket, to remove no other one
	once sync.Once
}

// settle gives the newborn socket its mode and group, and moves it to its path.
func (l *socketListener) settle(born string, mode os.FileMode, gid int, group string) error {
	// The group first: changing it may clear mode bits.
	if gid >= 0 {
		if err := os.Lchown(born, -1, gid); err != nil {
			return fmt.Errorf("socket_group: the socket cannot be given to %q (hint: make dkimd's user a member of that group): %w", group, err)
		}
	}
	if err := os.Chmod(born, mode.Perm()); err != nil {
		return err
	}
	info, err := os.Lstat(born)
	if err != nil {
		return err
	}
	l.own = info
	return os.Rename(born, l.path)
}

func (l *socketListener) Addr() net.Addr {
	return &net.UnixAddr{Name: l.path, Net: "unix"}
}

// Close also removes the socket, unless another process has replaced it.
func (l *socketListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.own) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}
