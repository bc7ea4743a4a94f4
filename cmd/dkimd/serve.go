package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/events"

	"github.com/spf13/cobra"
)

const (
	drainTime    = 30 * time.Second // for messages under way when dkimd stops
	reminderTime = time.Hour        // between reminders that the configuration on disk is broken
)

func serveCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Serve answers mail servers on the sockets of [milter] and [exim] until SIGTERM.

SIGHUP  reads configuration, keys and rules anew; with a new fault in them the
        old ones stay in force. The log file is reopened.
SIGTERM lets messages under way end, for 30 seconds at most. A second one cuts.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			signals := make(chan os.Signal, 8)
			signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
			defer signal.Stop(signals)
			// A log stream whose reader has gone must not end the daemon.
			signal.Ignore(syscall.SIGPIPE)
			path, named := configFile(cmd)
			return serve(cmd.Context(), path, named, signals, std, nil)
		},
	}
}

// daemon is the running process: the setup in force, and what outlives a reload.
type daemon struct {
	path    string
	named   bool
	log     *slog.Logger
	events  *events.Log
	doors   doors
	current atomic.Pointer[setup]
	broken  error // why the last reload was refused; nil: the newest configuration is in force
}

// serve runs the daemon until ctx ends or a signal stops it. The sockets are
// open when ready is called.
func serve(ctx context.Context, path string, named bool, signals <-chan os.Signal, std stdio, ready func(*daemon)) error {
	d := &daemon{path: path, named: named, log: slog.New(slog.NewTextHandler(std.err, nil))}
	if err := hardenProcess(); err != nil {
		d.log.Warn("keys may end up in a core dump", "error", err)
	}
	c, faults := config.Load(path, named)
	if len(faults) > 0 {
		return faults
	}
	if err := d.start(c, std); err != nil {
		return err
	}
	defer d.end()
	d.log.Info("dkimd serves", "version", versionString(), "listen", slices.Concat(c.Milter.Listen, c.Exim.Listen), "pid", os.Getpid())
	if ready != nil {
		ready(d)
	}
	served := make(chan error, 1)
	go func() { served <- d.doors.Serve() }()
	return d.attend(ctx, signals, served)
}

// start builds everything in the order in which it is needed.
func (d *daemon) start(c *config.Config, std stdio) (err error) {
	d.events, err = events.Open(events.Config{
		Format: c.Log.Format, Output: c.Log.Output, Stdout: std.out, Stderr: std.err, Logger: d.log,
	})
	if err != nil {
		return mend{err, "name a file that dkimd may write, or stdout, in dkimd.toml: [log] output"}
	}
	s, err := build(c, nil, d.events, d.log)
	if err != nil {
		_ = d.events.Close()
		return err
	}
	for _, f := range s.allFaults() {
		d.log.Error("fault in keys or rules: that part is out of use", "fault", f.Error())
	}
	for _, w := range s.rules.Warnings() {
		d.log.Warn("rules file", "warning", w.Error())
	}
	d.current.Store(s)
	if err := d.openDoors(c); err != nil {
		d.end()
		return err
	}
	return nil
}

// end closes what start opened.
func (d *daemon) end() {
	if s := d.current.Load(); s != nil {
		s.close()
	}
	_ = d.events.Close()
}

// attend waits for signals, and for the end.
func (d *daemon) attend(ctx context.Context, signals <-chan os.Signal, served <-chan error) error {
	reminder := time.NewTicker(reminderTime)
	defer reminder.Stop()
	for {
		select {
		case <-ctx.Done():
			return d.stop(signals, served)
		case err := <-served:
			return err
		case <-reminder.C:
			if d.broken != nil {
				d.log.Error("the configuration on disk is broken: the one before it is still in force", "fault", d.broken.Error())
			}
		case s := <-signals:
			if s != syscall.SIGHUP {
				d.log.Info("stopping", "signal", s.String())
				return d.stop(signals, served)
			}
			d.reload(ctx)
		}
	}
}

// stop lets messages under way end. A second signal, or time running out, cuts.
func (d *daemon) stop(signals <-chan os.Signal, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case s := <-signals:
				if s != syscall.SIGHUP {
					cancel()
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	err := d.doors.Shutdown(ctx)
	cancel()
	<-stopped
	err = errors.Join(err, <-served)
	if err != nil {
		d.log.Warn("messages under way were cut", "error", err)
	} else {
		d.log.Info("stopped")
	}
	return nil
}

// reload builds everything anew and puts it in force, unless that would bring
// a fault that the setup in force does not have.
func (d *daemon) reload(ctx context.Context) {
	started := time.Now()
	if err := d.events.Reopen(); err != nil {
		d.log.Error("log file not reopened", "error", err)
	}
	old := d.current.Load()
	next, err := d.rebuild(ctx, old)
	if d.broken = err; err != nil {
		d.log.Error("reload refused: the configuration before it stays in force", "fault", err.Error(), "hint", "dkimd check")
		return
	}
	d.current.Store(next)
	// Messages under way keep the old resolver; it ends with their lookups.
	old.keys.Close()
	d.log.Info("reloaded", "took", time.Since(started).Round(time.Millisecond).String(), "faults", len(next.allFaults()))
}

func (d *daemon) rebuild(ctx context.Context, old *setup) (*setup, error) {
	c, faults := config.Load(d.path, d.named)
	if len(faults) > 0 {
		return nil, faults
	}
	for _, key := range c.NeedsRestart(old.config) {
		d.log.Warn("this change takes effect at the next start", "key", key)
	}
	next, err := build(c, old, d.events, d.log)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(next.keys.Wait(ctx), old.keys.Wait(ctx), next.newFaults(old).Err()); err != nil {
		next.close()
		return nil, err
	}
	return next, nil
}
