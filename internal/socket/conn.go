package socket

import (
	"net"
	"sync/atomic"
	"time"
)

// What is under way on a connection.
const (
	connIdle    = iota // nothing
	connBusy           // a message, or its answer not sent yet
	connClosing        // being closed from this side
)

// Conn is a connection being served. Its session says when something is under way on it, so that
// the server knows which connections may be closed. The zero value around a net.Conn is idle.
type Conn struct {
	net.Conn
	state     atomic.Int32
	began     time.Time
	idleAfter atomic.Int64 // how long after began something was under way last; 0: never
}

// Busy says that something is under way from now on. It reports false where the
// connection was closed before.
func (c *Conn) Busy() bool {
	return c.state.CompareAndSwap(connIdle, connBusy) || c.state.Load() == connBusy
}

// Idle says that nothing is under way any more.
func (c *Conn) Idle() {
	if c.state.Load() != connBusy {
		return
	}
	c.idleAfter.Store(max(int64(time.Since(c.began)), 1))
	c.state.CompareAndSwap(connBusy, connIdle)
}

// closeIfIdle closes the connection if nothing is under way on it. Any goroutine may call it.
func (c *Conn) closeIfIdle() bool {
	if !c.state.CompareAndSwap(connIdle, connClosing) {
		return false
	}
	_ = c.Close()
	return true
}

// goesBefore reports that c rather than other is closed to make room: one that brought nothing
// yet before one that did, then the one that is idle longer. What else came on it does not
// count, or a peer could keep its connections by chatter.
func (c *Conn) goesBefore(other *Conn) bool {
	mine, others := c.idleAfter.Load(), other.idleAfter.Load()
	if (mine == 0) != (others == 0) {
		return mine == 0
	}
	return c.idleSince().Before(other.idleSince())
}

func (c *Conn) idleSince() time.Time { return c.began.Add(time.Duration(c.idleAfter.Load())) }
