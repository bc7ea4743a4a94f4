// Package socket reads the addresses of sockets as an operator writes them, and opens
// the sockets that front doors listen on: TCP, and unix sockets that at no moment can be
// reached by anyone who may not connect.
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

	"dkimd/internal/fault"
)

const (
	// stagingDir is appended to a socket's path for the directory in which it is made.
	stagingDir = ".new"
	// stagingSuffix makes a socket's path the one at which it is made.
	stagingSuffix = stagingDir + "/s"
)

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
	// Peers are the users and groups, by name or number, whose processes may use unix sockets; empty: all
	// that the permissions let in.
	Peers []string
}

// Listen opens every socket of the configuration, or none. All faults are
// reported, as fault.Faults without file and line.
func Listen(cfg Config) ([]net.Listener, error) {
	if len(cfg.Listen) == 0 {
		return nil, fault.Faults{{Key: cfg.Name + ".listen", Got: "no address", Want: "one to listen on"}}
	}
	if cfg.Mode == 0 {
		cfg.Mode = DefaultMode
	}
	var listeners []net.Listener
	var faults fault.Faults
	for i, address := range cfg.Listen {
		ln, err := listen(address, cfg)
		if err != nil {
			faults = append(faults, faultOf(err, cfg.Name+".listen["+strconv.Itoa(i+1)+"]", address))
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
	return nil, faults
}

// Local is the address of our end of a connection, without the suffix under which
// its socket was staged.
func Local(conn net.Conn) string {
	return strings.TrimSuffix(conn.LocalAddr().String(), stagingSuffix)
}

// faultOf is the fault of one address.
func faultOf(err error, key, address string) fault.Fault {
	f, ok := errors.AsType[fault.Fault](err)
	if !ok {
		f = fault.Fault{Want: "a socket that can be opened", Hint: err.Error()}
	}
	f.Key, f.Got = key, strconv.Quote(address)
	return f
}

func listen(address string, cfg Config) (net.Listener, error) {
	a, err := ParseListen(address)
	if err != nil {
		return nil, err
	}
	if a.network == "unix" {
		return listenUnix(a.address, cfg)
	}
	return listenTCP(a)
}

func listenTCP(a Address) (net.Listener, error) {
	_, port, err := net.SplitHostPort(a.address)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), a.network, a.address)
	var dnsErr *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, refuse("an address at which no other process listens", "ss -ltnp sport = :"+port+" names it: stop it, or choose another port")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, refuse("an address of this host", "ip address lists them; when dkimd starts before the network is up, its unit needs After=network-online.target")
	case errors.Is(err, syscall.EACCES):
		return nil, refuse("a port above 1023", "those below are for root")
	case errors.As(err, &dnsErr):
		return nil, refuse("a name that this host can look up", "write the address itself; "+dnsErr.Error())
	case err != nil:
		return nil, err
	}
	return ln, nil
}

// listenUnix makes a unix socket: in a directory that no other user can enter, where it gets its mode and
// group. Then it is renamed to its path, so that at no moment can anyone connect who may not.
func listenUnix(path string, cfg Config) (net.Listener, error) {
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
	dir, staged := path+stagingDir, path+stagingSuffix
	// What a process killed at this point left behind.
	_ = os.Remove(staged)
	_ = os.Remove(dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, notWritable(filepath.Dir(path), err)
	}
	defer func() { _ = os.Remove(dir) }()
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "unix", staged)
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
	if err := sl.publish(staged, cfg.Mode, gid, cfg.Group); err != nil {
		_ = unix.Close()
		_ = os.Remove(staged)
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
		return 0, refuse("a socket_group that this host has", fmt.Sprintf("there is no group %q: groupadd it, or name the MTA's group", name))
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
		return refuse("a socket in a directory that exists", "mkdir "+dir+", and let dkimd's user own it")
	case errors.Is(err, fs.ErrPermission):
		return notWritable(dir, err)
	case err != nil:
		return err
	case !info.IsDir():
		return refuse("a socket in a directory", dir+" is not a directory")
	}
	return nil
}

// notWritable is the refusal of a directory in which dkimd can make nothing.
func notWritable(dir string, err error) error {
	want := "a socket in a directory that dkimd's user (" + fault.User(os.Geteuid()) + ") can write"
	if errors.Is(err, fs.ErrPermission) {
		return refuse(want, "namei -l "+dir+" shows who may; chown "+fault.User(os.Geteuid())+" "+dir)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return refuse(want, dir+": "+err.Error())
}

// notMember is the refusal of a group to which dkimd cannot give a socket.
func notMember(group, reason string) error {
	return refuse("a socket_group that dkimd's user is a member of",
		fmt.Sprintf("the socket cannot be given to %q (%s): usermod -aG GROUP USER, then restart dkimd", group, reason))
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
		return refuse("a path at which there is nothing but a socket", "move away what is there, or choose another path")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		defer func() { _ = conn.Close() }()
		return refuse("a socket that no other process serves", servedBy(conn, path)+": stop it, or choose another path")
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return refuse("a path at which no socket is in use", "whether a process serves the one that is there cannot be told ("+err.Error()+"): remove it if none does")
}

// servedBy says which process is at the other end.
func servedBy(conn net.Conn, path string) string {
	who, err := credentials(conn)
	if err != nil || who.pid == 0 { // 0: in a namespace that we do not see
		return whoServes + path + " names it"
	}
	pid := strconv.Itoa(int(who.pid))
	if name, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil { //nolint:gosec // a number of the kernel's
		return "process " + pid + " (" + strings.TrimSpace(string(name)) + ") does"
	}
	return "process " + pid + " does"
}

// socketListener is a unix listener that knows the path its socket was renamed to.
type socketListener struct {
	*net.UnixListener
	path string
	own  os.FileInfo // the socket, to remove no other one
	once sync.Once
}

// publish gives the staged socket its mode and group, and moves it to its path.
func (l *socketListener) publish(staged string, mode os.FileMode, gid int, group string) error {
	// The group first: changing it may clear mode bits.
	if gid >= 0 {
		if err := os.Lchown(staged, -1, gid); err != nil {
			return notMember(group, errors.Unwrap(err).Error())
		}
	}
	if err := os.Chmod(staged, mode.Perm()); err != nil {
		return err
	}
	info, err := os.Lstat(staged)
	if err != nil {
		return err
	}
	l.own = info
	return os.Rename(staged, l.path)
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
