// Package exim is the front door for Exim, which has no milter client. One
// socket takes three dialects, told apart by their first line:
//
//   - CHECK, which Exim with content scanning speaks for "spam =" with
//     variant=rspamd, when a message comes in;
//   - DKIMD/1 VERIFY, which "${readsocket" speaks where Exim has no content
//     scanning;
//   - DKIMD/1 SIGN, spoken by the client exim-sign (filter.Command) when a message
//     leaves, and DKIMD/1 PING.
//
// The first two undo what Exim did to the message since it came, so that the
// bytes are those of the wire. Everything else is the pipeline's: the front
// door decides nothing about a message. One request a connection; an answer is
// given to complete requests only, and Exim takes no answer for "try later".
package exim

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/socket"
)

// Message is one message on its way through the pipeline. One goroutine calls
// its methods in this order; BodyUnseen and Abort may come at any point.
type Message interface {
	// Header takes one field; the value has its leading white space, and bare
	// LF or CRLF at its folds.
	Header(name, value string)
	EndOfHeader(ctx context.Context)
	Body(p []byte)
	// BodyUnseen: no signature can be judged by this body.
	BodyUnseen(why string)
	Finish(ctx context.Context) pipeline.Outcome
	Abort(reason string)
}

// writeTimeout is how long the peer may leave the answer unread.
const writeTimeout = 10 * time.Second

// Config is everything a Server needs.
type Config struct {
	socket.Config // where to listen; Name is not used
	// MaxConnections are served at once, the next waits.
	MaxConnections int
	// Memory is where requests take what they hold; nil: without a bound.
	Memory *message.Memory
	// Begin starts a message. Its envelope is complete but for MTA, which may come before the first Header.
	Begin  func(*message.Envelope) Message
	Logger *slog.Logger
	// Meter counts connections; nil: they are not counted.
	Meter socket.Meter
	// IdleTimeout is how long a peer may send nothing, and how long it may take
	// over the lines in front of the message; 0: 30 seconds.
	IdleTimeout time.Duration
	// RequestTimeout bounds a whole request up to its end; 0: 5 minutes.
	RequestTimeout time.Duration
	// FinishTimeout bounds the end of a message; 0: 15 seconds, which is less
	// than Exim waits (packaging/exim: 20 s).
	FinishTimeout time.Duration
}

// Server serves Exim on all its sockets.
type Server struct {
	*socket.Server
	cfg Config
}

// New opens every socket. All that is wrong with the configuration or the
// sockets is reported, joined; then none stays open.
func New(cfg Config) (*Server, error) {
	if cfg.Begin == nil || cfg.Logger == nil {
		return nil, errors.New("exim: Begin and Logger are required")
	}
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 30*time.Second)
	cfg.RequestTimeout = cmp.Or(cfg.RequestTimeout, 5*time.Minute)
	cfg.FinishTimeout = cmp.Or(cfg.FinishTimeout, 15*time.Second)
	cfg.Name = "exim"
	s := &Server{cfg: cfg}
	var err error
	s.Server, err = socket.NewServer(socket.ServerConfig{
		Config:         cfg.Config,
		MaxConnections: cfg.MaxConnections, Logger: cfg.Logger, Meter: cfg.Meter,
		Begin: func(ctx context.Context, conn *socket.Conn) socket.Session { return newExchange(ctx, s, conn) },
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}
