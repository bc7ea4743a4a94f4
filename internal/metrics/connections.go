package metrics

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// connections are those of one socket, at most maxConnections of them. A new one never waits: at the
// limit one that asks for nothing is closed for it, or who holds many open could keep monitoring out.
type connections struct {
	net.Listener

	mu   sync.Mutex
	open map[*connection]struct{}
}

func newConnections(ln net.Listener) *connections {
	return &connections{Listener: ln, open: make(map[*connection]struct{})}
}

// connection is one of them. The fields below all are guarded by its lock.
type connection struct {
	net.Conn
	all       *connections
	since     time.Time // when it came, or had its last answer
	answering bool      // a request is complete and its answer not sent yet
}

// Accept is net.Listener.
func (l *connections) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: accepted, all: l, since: time.Now()}
	l.mu.Lock()
	var last *connection
	if len(l.open) >= maxConnections {
		for other := range l.open {
			if last == nil || other.goesBefore(last) {
				last = other
			}
		}
	}
	l.open[c] = struct{}{}
	l.mu.Unlock()
	if last != nil {
		_ = last.Close()
	}
	return c, nil
}

// goesBefore reports that c rather than other makes room: one that asks for nothing before one that
// is being answered, then the one that is so for longer.
func (c *connection) goesBefore(other *connection) bool {
	if c.answering != other.answering {
		return other.answering
	}
	return c.since.Before(other.since)
}

// Close is net.Conn.
func (c *connection) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

func (c *connection) set(answering bool) {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.answering, c.since = answering, time.Now()
}

// connectionKey is where the context of a request has its connection.
type connectionKey struct{}

func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// answering marks the connection of each request until its answer is sent: see rest.
func answering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			c.set(true)
		}
		next.ServeHTTP(w, r)
	})
}

// rest is http.Server.ConnState. Only it knows when an answer was sent.
func rest(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*connection); ok && state == http.StateIdle {
		c.set(false)
	}
}
