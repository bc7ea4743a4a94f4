// Package output writes the records of internal/events to files, stdout, the journal and syslog. It never
// makes mail wait: what cannot be written is dropped, counted and reported.
package output

import (
	"errors"
	"io"
	"log/slog"
	"sync"

	"dkimd/internal/events"
)

// Config says how and where records are written.
type Config struct {
	Format  events.Format // empty: json
	Outputs []string      // as Parse reads them; none: stdout
	// Stdout and Stderr are what those words mean; nil: records are discarded.
	Stdout, Stderr io.Writer
	Journal        string       // journald's socket; empty: /run/systemd/journal/socket
	Logger         *slog.Logger // reports lost records; nil: not reported
}

// Log is the stream of records. It is safe for concurrent use.
type Log struct{ streams []*stream }

// Open opens the outputs and starts to write. Close must be called. A file that cannot be opened is an
// error; the receiver at a socket may come and go.
func Open(cfg Config) (*Log, error) {
	if len(cfg.Outputs) == 0 {
		cfg.Outputs = []string{"stdout"}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	targets := make([]target, len(cfg.Outputs))
	sinks := make([]sink, len(cfg.Outputs))
	errs := make([]error, len(cfg.Outputs))
	for i, name := range cfg.Outputs {
		if targets[i], errs[i] = newTarget(cfg, name); errs[i] == nil {
			sinks[i], errs[i] = targets[i].open()
		}
	}
	if err := errors.Join(errs...); err != nil {
		for _, out := range sinks {
			if out != nil {
				_ = out.close()
			}
		}
		return nil, err
	}
	l := &Log{}
	for i, out := range sinks {
		if receiver, ok := out.(*socketSink); ok {
			if err := receiver.reach(); err != nil {
				cfg.Logger.Warn("log receiver not reachable yet, will keep trying", "output", targets[i].String(), "error", err)
			}
		}
		l.streams = append(l.streams, startStream(targets[i], out, cfg))
	}
	return l, nil
}

// Write queues the record of one message for each output and keeps nothing of
// e. It never waits for an output: what does not fit into its queue is dropped and counted.
func (l *Log) Write(e *events.Event) {
	for _, s := range l.streams {
		s.record(e)
	}
}

// Reopen opens files anew, after they were renamed. When that fails, records
// go on into the old ones. For other outputs it does nothing.
func (l *Log) Reopen() error {
	var errs []error
	for _, s := range l.streams {
		errs = append(errs, s.reopen())
	}
	return errors.Join(errs...)
}

// Close writes what is queued, for 2 seconds at most, and closes the outputs.
// Records written later are dropped and counted.
func (l *Log) Close() error {
	errs := make([]error, len(l.streams))
	var all sync.WaitGroup
	for i, s := range l.streams {
		all.Go(func() { errs[i] = s.close() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Lost counts the records that were not written, at each output.
func (l *Log) Lost() uint64 {
	var lost uint64
	for _, s := range l.streams {
		lost += s.losses.count.Load()
	}
	return lost
}
