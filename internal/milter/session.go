package milter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"

	gomilter "github.com/emersion/go-milter"

	"dkimd/internal/message"
	"dkimd/internal/socket"
)

// errQuit ends a connection as the MTA asked for.
var errQuit = errors.New("the MTA ended the connection")

// session is one connection of an MTA. What belongs to the connection (client,
// HELO, macros) lives here, what belongs to a message in current.
//
// All of it runs on the goroutine of go-milter's session: go-milter reads
// through link, which handles the packets on the way and lets go-milter see those
// it has to answer; then go-milter calls back.
type session struct {
	server *Server
	wire   *wire
	conn   *socket.Conn // says whether a message is under way, or its answer not sent yet
	once   sync.Once
	done   func() // closes the connection, and is called when the session has ended

	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc

	grant    grant
	newcomer bool   // holds one of Server.newcomers
	answered bool   // the offer
	pending  []byte // what go-milter has still to read
	frame    [64]byte

	macros     macros
	client     message.Client
	helo       string
	address    string // of the MAIL or RCPT being dispatched
	addressErr error  // of that address
	current    *current
	disorder   bool // was logged
}

func newSession(ctx context.Context, s *Server, conn *socket.Conn) *session {
	c := &session{server: s, conn: conn, wire: newWire(conn, s.cfg)}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	return c
}

// Serve negotiates and hands the connection to a go-milter server of its own, so
// that every NewMilter of it returns this session: go-milter replaces its
// backend after most answers, also in the middle of a message.
func (s *session) Serve(done func()) {
	s.done = done
	handed := false
	defer func() {
		if v := recover(); v != nil {
			s.logPanic("negotiation", v)
		}
		if !handed {
			s.end()
		}
	}()
	if err := s.readOffer(); err != nil {
		s.fail(err)
		return
	}
	server := gomilter.Server{
		NewMilter: func() gomilter.Milter { return callbacks{s} },
		Actions:   s.grant.actions,
		Protocol:  s.grant.protocol,
		SymList:   s.server.symbols,
	}
	handed = true
	// Returns at once: the session runs on a goroutine that go-milter starts.
	_ = server.Serve(&oneShot{conn: link{s.wire.conn, s}})
}

// releaseAdmission makes room for the next newcomer.
func (s *session) releaseAdmission() {
	if s.newcomer {
		s.newcomer = false
		<-s.server.newcomers
	}
}

// readOffer reads the MTA's offer before go-milter, which does not look at it.
func (s *session) readOffer() error {
	command, err := s.wire.next()
	if err != nil {
		return err
	}
	if gomilter.Code(command) != gomilter.CodeOptNeg {
		return fmt.Errorf("a packet %q before the option negotiation", command)
	}
	payload, err := s.wire.payload()
	if err != nil {
		return err
	}
	if s.grant, err = readOffer(payload); err != nil {
		return err
	}
	s.reportWithheld()
	s.wire.idle = idleTimeout
	s.forward(gomilter.CodeOptNeg, payload[:12])
	return nil
}

// reportWithheld counts each connection whose MTA does not offer an action dkimd uses, and logs the first.
func (s *session) reportWithheld() {
	if !s.grant.canQuarantine() {
		s.server.cfg.Meter.Withheld(WithheldQuarantine)
		if s.server.warnedQuarantine.CompareAndSwap(false, true) {
			s.logger().Warn("the MTA does not offer to quarantine: such mail is deferred instead")
		}
	}
	if !s.grant.canAdd() || !s.grant.canChange() {
		s.server.cfg.Meter.Withheld(WithheldEdits)
		if s.server.warnedEdits.CompareAndSwap(false, true) {
			s.logger().Warn("the MTA does not offer to change headers: mail stays unsigned, and forged results cannot be removed")
		}
	}
}

// forward lets go-milter see a packet.
func (s *session) forward(command gomilter.Code, payload []byte) {
	s.pending = binary.BigEndian.AppendUint32(s.frame[:0], uint32(1+len(payload))) //nolint:gosec // a few bytes
	s.pending = append(s.pending, byte(command))
	s.pending = append(s.pending, payload...)
}

// link is the connection as go-milter sees it.
type link struct {
	net.Conn
	s *session
}

// Read handles packets until there is one that go-milter has to see.
func (l link) Read(p []byte) (n int, err error) {
	s := l.s
	defer func() {
		if v := recover(); v != nil {
			s.logPanic("packet", v)
			n, err = 0, io.EOF
		}
	}()
	for len(s.pending) == 0 {
		if err := s.step(); err != nil {
			s.fail(err)
			// The one error go-milter does not log by itself.
			return 0, io.EOF
		}
	}
	n = copy(p, s.pending)
	s.pending = s.pending[n:]
	return n, nil
}

func (l link) Write(p []byte) (int, error) {
	if !l.s.answered {
		l.s.answered = true
		if err := setVersion(p, l.s.grant.version); err != nil {
			l.s.fail(err)
		}
	}
	return l.s.wire.Write(p)
}

// Close is go-milter's way to say that its session has ended.
func (l link) Close() error {
	l.s.end()
	return nil
}

// oneShot is a listener with a single connection.
type oneShot struct{ conn net.Conn }

func (o *oneShot) Accept() (net.Conn, error) {
	conn := o.conn
	if conn == nil {
		return nil, io.EOF
	}
	o.conn = nil
	return conn, nil
}

func (o *oneShot) Close() error   { return nil }
func (o *oneShot) Addr() net.Addr { return &net.UnixAddr{} }

// fail marks the connection dead and logs why, if that is worth a line.
func (s *session) fail(err error) {
	if s.wire.dead == nil {
		_ = s.wire.flush()
	}
	s.wire.dead = err
	level := slog.LevelWarn
	switch {
	case errors.Is(err, errClosed), errors.Is(err, errQuit), errors.Is(err, errStopping), errors.Is(err, errIdle):
		level = slog.LevelDebug
	}
	if s.server.cfg.Logger.Enabled(s.ctx, level) { // to say whose connection it is costs more than its end
		s.logger().Log(s.ctx, level, "milter connection closed", "reason", err.Error())
	}
}

// end ends the session. It runs once, whatever ended it.
func (s *session) end() {
	s.once.Do(func() {
		defer s.done()
		if s.wire.dead == nil {
			s.wire.dead = errClosed
		}
		s.abandon(s.wire.dead.Error())
		s.wire.held.Release()
		s.releaseAdmission()
		s.cancel(s.wire.dead)
	})
}

// markIdle is called between packets: with no message under way and all answers
// sent, this is where a connection ends when the server stops.
func (s *session) markIdle() error {
	if s.current != nil || s.wire.in.Buffered() > 0 {
		return nil
	}
	if err := s.wire.flush(); err != nil {
		return err
	}
	s.conn.Idle()
	if s.server.Stopping() {
		return errStopping
	}
	return nil
}

// markBusy is called at MAIL: from here on Shutdown waits for the message.
func (s *session) markBusy() error {
	if !s.conn.Busy() || s.server.Stopping() {
		return errStopping
	}
	return nil
}

// logger says whose connection a line is about.
func (s *session) logger() *slog.Logger {
	logger := s.server.cfg.Logger.With("local", socket.Local(s.wire.conn), "peer", s.wire.conn.RemoteAddr().String())
	if s.current != nil && s.current.env.QueueID != "" {
		return logger.With("queue_id", s.current.env.QueueID)
	}
	return logger
}

func (s *session) logPanic(step string, v any) {
	s.logger().Error("panic in the milter front door", "step", step, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
}

// outOfOrder logs what an MTA should not send, once a connection.
func (s *session) outOfOrder(what error) {
	if s.disorder {
		return
	}
	s.disorder = true
	s.logger().Warn("MTA violated the milter protocol", "error", what)
}
