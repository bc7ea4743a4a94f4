package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/events"
	"dkimd/internal/metrics"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
)

const (
	drainTime    = 30 * time.Second // for messages under way when dkimd stops
	reminderTime = time.Hour        // between reminders that the configuration on disk is broken

	// The collector lets the heap grow to twice of what lives, and here next to nothing
	// does: it would run every hundred messages, and take a tenth of the CPU. This much
	// counts as alive without ever being touched, so that it takes no memory either.
	ballast = 8 << 20
)

func serveCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Serve answers mail servers on the sockets of [milter] and [exim] until SIGTERM.

SIGHUP  reads configuration, keys and rules anew; with a new fault in them the
        old ones stay in force. Log files are reopened.
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
	metrics *metrics.Metrics
	monitor *metrics.Server // nil: [metrics] listens nowhere
	events  *events.Log
	doors   doors
	started *config.Config // sockets and outputs are those of the start
	current atomic.Pointer[setup]
	// refused is the last reload, if it was refused; nil: the newest configuration is in force.
	refused  atomic.Pointer[refusal]
	stopping atomic.Bool
}

// newDaemon returns a daemon that has not read anything yet.
func newDaemon(path string, named bool, stderr io.Writer) *daemon {
	d := &daemon{path: path, named: named}
	d.metrics = metrics.New(metrics.Config{Version: versionString(), State: d.state})
	d.log = slog.New(d.metrics.Log.Before(slog.NewTextHandler(stderr, nil)))
	return d
}

// observers are told what happens in a setup of this daemon.
func (d *daemon) observers() observers {
	return observers{recorder: d.metrics.Messages.Before(d.events), log: d.log, dns: d.metrics.DNS, keys: d.metrics.Keys}
}

// serve runs the daemon until ctx ends or a signal stops it. The sockets are
// open when ready is called.
func serve(ctx context.Context, path string, named bool, signals <-chan os.Signal, std stdio, ready func(*daemon)) error {
	defer runtime.KeepAlive(make([]byte, ballast))
	d := newDaemon(path, named, withPriorities(std.err))
	if err := hardenProcess(); err != nil {
		d.log.Warn("keys may end up in a core dump", "error", err)
	}
	c, faults := config.Load(path, named)
	if len(faults) > 0 {
		return faults
	}
	d.started = c
	if err := d.start(c, std); err != nil {
		return err
	}
	defer d.end()
	d.log.Info("dkimd serves", "version", versionString(), "listen", slices.Concat(c.Milter.Listen, c.Exim.Listen), "pid", os.Getpid())
	d.notify(systemd.SdNotifyReady)
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
		Format: c.Log.Format, Outputs: c.Log.Output, Stdout: std.out, Stderr: std.err, Logger: d.log,
	})
	if err != nil {
		return atKey(c, outputFaults(c.Log.Output, err))
	}
	s, err := build(c, nil, d.observers())
	if err != nil {
		_ = d.events.Close()
		return err
	}
	d.enforce(s)
	if err := d.openDoors(c); err != nil {
		d.end()
		return err
	}
	if err := d.openMonitor(c); err != nil {
		d.end()
		return err
	}
	return nil
}

// enforce puts a setup in force, and tells what is wrong with it all the same.
func (d *daemon) enforce(s *setup) {
	for _, f := range s.broken { // keys.Store logs those of keys as it finds them
		d.log.Error("rules file out of use: mail of its domain is deferred", "fault", f.Error())
	}
	for _, w := range s.rules.Warnings() {
		d.log.Warn("rules file", "warning", w.Error())
	}
	d.current.Store(s)
}

// end closes what start opened.
func (d *daemon) end() {
	if d.monitor != nil {
		_ = d.monitor.Close()
	}
	if s := d.current.Load(); s != nil {
		s.close()
	}
	_ = d.events.Close()
}

// attend waits for signals, and for the end.
func (d *daemon) attend(ctx context.Context, signals <-chan os.Signal, served <-chan error) error {
	reloading, endReloading := context.WithCancel(ctx)
	hangups := make(chan struct{}, 1) // what comes while one waits asks for nothing more
	var reloads sync.WaitGroup
	reloads.Go(func() { d.refresh(reloading, hangups) })
	reloads.Go(func() { d.watchKeys(reloading) })
	defer reloads.Wait()
	defer endReloading()
	for {
		select {
		case <-ctx.Done():
			return d.stop(signals, served)
		case err := <-served:
			return err
		case s := <-signals:
			if s != syscall.SIGHUP {
				d.log.Info("stopping", "signal", s.String())
				return d.stop(signals, served)
			}
			select {
			case hangups <- struct{}{}:
			default:
			}
		}
	}
}

// refresh reloads at each hangup, and reminds of a reload that was refused. It
// has a goroutine of its own: with many keys a reload takes its time, and the end must not wait for it.
func (d *daemon) refresh(ctx context.Context, hangups <-chan struct{}) {
	reminder := time.NewTicker(reminderTime)
	defer reminder.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			d.notify(reloading())
			d.reload(ctx)
			d.notify(systemd.SdNotifyReady)
		case <-reminder.C:
			if r := d.refused.Load(); r != nil {
				d.log.Error("the configuration on disk is broken: the one before it is still in force", "fault", r.fault.Error())
			}
		}
	}
}

// stop lets messages under way end. A second signal, or time running out, cuts.
func (d *daemon) stop(signals <-chan os.Signal, served <-chan error) error {
	d.notify(systemd.SdNotifyStopping)
	d.stopping.Store(true)
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
	began := time.Now()
	if err := d.events.Reopen(); err != nil {
		d.log.Error("log file not reopened", "error", err)
	}
	old := d.current.Load()
	next, err := d.rebuild(ctx, old)
	if ctx.Err() != nil {
		if err == nil {
			next.close()
		}
		return // dkimd stops
	}
	if err != nil {
		d.refused.Store(&refusal{fault: err, at: time.Now()})
		d.metrics.Reloads.Refused()
		d.log.Error("reload refused: the configuration before it stays in force", "fault", err.Error(), "hint", "dkimd check")
		return
	}
	for _, key := range next.config.NeedsRestart(d.started) {
		d.log.Warn("this change takes effect at the next start", "key", key)
	}
	d.enforce(next)
	d.refused.Store(nil)
	d.metrics.Reloads.Taken()
	// Messages under way keep the old resolver; it ends with their lookups.
	old.keys.Close()
	d.log.Info("reloaded", "took", time.Since(began).Round(time.Millisecond).String(), "faults", len(next.allFaults()))
}

func (d *daemon) rebuild(ctx context.Context, old *setup) (*setup, error) {
	c, faults := config.Load(d.path, d.named)
	if len(faults) > 0 {
		return nil, faults
	}
	if err := old.vanished(c); err != nil {
		return nil, err
	}
	next, err := build(c, old, d.observers())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(next.keys.Wait(ctx), old.keys.Wait(ctx), next.newFaults(old).Err()); err != nil {
		next.close()
		return nil, err
	}
	return next, nil
}
