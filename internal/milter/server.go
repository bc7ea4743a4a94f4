// Package milter is the front door for Postfix and Sendmail. It speaks the
// milter protocol (versions 2 to 6) on TCP and unix sockets, turns its events
// into an envelope, a header and body chunks, and an outcome into header edits
// and an answer. It decides nothing about a message.
//
// github.com/emersion/go-milter does the negotiation, the dispatch of events,
// modifications and answers. Around it, each connection gets a reader of its own
// that guards it against what an MTA, or anything else that reaches the socket, sends.
package milter

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	gomilter "github.com/emersion/go-milter"

	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/socket"
)

// Message is one message on its way through the pipeline. All methods are
// called by one goroutine at a time, Header to Finish in this order; Abort and
// Fault may come at any point. None of the byte slices may be kept.
type Message interface {
	// Header takes one field; the value has its leading white space, and bare
	// LF or CRLF at its folds.
	Header(name, value string)
	EndOfHeader(ctx context.Context)
	Body(p []byte)
	// Finish may wait; ctx ends when the MTA closes the connection.
	Finish(ctx context.Context) pipeline.Outcome
	Abort(reason string)
	Fault(err error)
}

// Meter counts what happens to connections. Many goroutines call it, and it must not block.
type Meter interface {
	socket.Meter
	// Withheld says that an MTA does not offer something on a connection: WithheldQuarantine, WithheldEdits.
	Withheld(action string)
}

// What an MTA may withhold.
const (
	WithheldQuarantine = "quarantine"
	WithheldEdits      = "header_edits"
)

type unmetered struct{ socket.Unmetered }

func (unmetered) Withheld(string) {}

const (
	idleTimeout         = 10 * time.Minute // between packets
	packetTimeout       = 30 * time.Second // of one packet from its first byte
	defaultWriteTimeout = 30 * time.Second
	finishTimeout       = 2 * time.Minute // of the end of a message: less than what MTAs wait (Postfix: 300 s, Sendmail: 4 minutes)
)

// Config is everything a Server needs.
type Config struct {
	socket.Config // where to listen; Name is not used
	// MaxConnections are served at once, the next waits.
	MaxConnections int
	// Memory is where connections and messages take what they hold; nil: without a bound.
	Memory *message.Memory
	// Begin starts a message, at MAIL. The envelope is completed as more of it
	// becomes known, the last time just before Finish.
	Begin  func(*message.Envelope) Message
	Logger *slog.Logger
	// Meter counts connections; nil: they are not counted.
	Meter Meter
	// WriteTimeout is how long the MTA may leave an answer unread; 0: 30 seconds.
	WriteTimeout time.Duration
}

// Server serves MTAs on all its sockets.
type Server struct {
	*socket.Server
	cfg       Config
	symbols   map[gomilter.Stage][]string // the macros to ask for; never changed
	newcomers chan struct{}               // one for each connection before the end of its first message

	warnedQuarantine, warnedEdits atomic.Bool
}

// New opens every socket. All that is wrong with the configuration or the
// sockets is reported, joined; then none stays open.
func New(cfg Config) (*Server, error) {
	if cfg.Begin == nil || cfg.Logger == nil {
		return nil, errors.New("milter: Begin and Logger are required")
	}
	if cfg.Meter == nil {
		cfg.Meter = unmetered{}
	}
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, defaultWriteTimeout)
	cfg.Name = "milter"
	s := &Server{cfg: cfg, symbols: symbols(), newcomers: make(chan struct{}, newcomersPerCore*runtime.GOMAXPROCS(0))}
	var err error
	s.Server, err = socket.NewServer(socket.ServerConfig{
		Config:         cfg.Config,
		MaxConnections: cfg.MaxConnections, Logger: cfg.Logger, Meter: cfg.Meter, Begin: s.begin,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

const (
	// After an outage many connections arrive at once. Admit newcomersPerCore for each
	// processor; admit the next when one finishes its first message or after newcomerDelay, as
	// most connections wait for their SMTP client. Otherwise a message on an established
	// connection would wait until each newcomer had its turn.
	newcomersPerCore = 2
	newcomerDelay    = time.Millisecond
)

// begin makes the session of a connection, once it is admitted.
func (s *Server) begin(ctx context.Context, conn *socket.Conn) socket.Session {
	c := newSession(ctx, s, conn)
	c.newcomer = s.admit()
	return c
}

// admit waits for a newcomer's place, but not for long: connections that bring no message
// must not keep out those that do. It reports whether there was one.
func (s *Server) admit() bool {
	select {
	case s.newcomers <- struct{}{}:
		return true
	default:
	}
	delay := time.NewTimer(newcomerDelay)
	defer delay.Stop()
	select {
	case s.newcomers <- struct{}{}:
		return true
	case <-delay.C:
		return false
	}
}
