package filter

import (
	"errors"
	"io"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// conn is a connection to the daemon, every wait on which ends at the deadline.
type conn struct {
	fd       int
	deadline time.Time
}

// dial connects to a socket, by its path or its address.
func dial(address string, deadline time.Time) (*conn, error) {
	family, to, err := parse(address)
	if err != nil {
		return nil, err
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &conn{fd, deadline}
	err = c.wait(syscall.SO_SNDTIMEO, func() error { return syscall.Connect(fd, to) })
	if err != nil {
		c.close()
		return nil, failed("connect", err)
	}
	return c, nil
}

// parse reads the forms of socket.ParseDial. The name of a host is none of them: looking it up would cost as much as the rest.
func parse(address string) (family int, to syscall.Sockaddr, err error) {
	scheme, rest, _ := strings.Cut(address, ":")
	switch {
	case path.IsAbs(address):
		return syscall.AF_UNIX, &syscall.SockaddrUnix{Name: address}, nil
	case scheme == "unix" || scheme == "local":
		return syscall.AF_UNIX, &syscall.SockaddrUnix{Name: rest}, nil
	case scheme == "inet" || scheme == "inet6":
	default:
		rest = address
	}
	if port, host, opendkim := strings.Cut(rest, "@"); opendkim {
		rest = host + ":" + port
		if strings.Contains(host, ":") {
			rest = "[" + strings.Trim(host, "[]") + "]:" + port
		}
	}
	if port, ok := strings.CutPrefix(rest, "localhost:"); ok {
		rest = "127.0.0.1:" + port
	}
	to4, err := netip.ParseAddrPort(rest)
	switch {
	case err != nil:
		return 0, nil, errors.New("want a path or ADDRESS:PORT, not " + strconv.Quote(address))
	case to4.Addr().Is4():
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: int(to4.Port()), Addr: to4.Addr().As4()}, nil
	}
	return syscall.AF_INET6, &syscall.SockaddrInet6{Port: int(to4.Port()), Addr: to4.Addr().As16()}, nil
}

// wait makes a call that ends at the deadline; option is what bounds it.
func (c *conn) wait(option int, call func() error) error {
	late := errors.New("it took too long")
	for {
		left := time.Until(c.deadline)
		if left <= 0 {
			return late
		}
		t := syscall.NsecToTimeval(max(left, time.Millisecond).Nanoseconds())
		if err := syscall.SetsockoptTimeval(c.fd, syscall.SOL_SOCKET, option, &t); err != nil {
			return err
		}
		switch err := call(); {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINPROGRESS):
			return late
		default:
			return err
		}
	}
}

func (c *conn) Read(p []byte) (n int, err error) {
	err = c.wait(syscall.SO_RCVTIMEO, func() (err error) {
		n, err = syscall.Read(c.fd, p)
		return err
	})
	if err == nil && n == 0 {
		return 0, io.EOF
	}
	return max(n, 0), err
}

func (c *conn) Write(p []byte) (total int, err error) {
	for len(p) > 0 && err == nil {
		n := 0
		err = c.wait(syscall.SO_SNDTIMEO, func() (err error) {
			n, err = syscall.Write(c.fd, p)
			return err
		})
		if n > 0 {
			total, p = total+n, p[n:]
		}
	}
	return total, err
}

func (c *conn) closeWrite() error { return syscall.Shutdown(c.fd, syscall.SHUT_WR) }

func (c *conn) close() { _ = syscall.Close(c.fd) }
