// Package daemon is the running process: it reads the configuration, wires the
// parts of dkimd, serves its sockets, reloads at SIGHUP, and lets messages under
// way end when it stops. What it wires, a Setup, is what commands judge a message with.
package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/control"
	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/events/output"
	"dkimd/internal/message"
	"dkimd/internal/metrics"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

const (
	drainTime = 30 * time.Second // for messages under way when dkimd stops

	// The collector lets the heap grow to twice of what lives, and here next to nothing
	// does: it would run every hundred messages, and take a tenth of the CPU. This much
	// counts as alive without ever being touched, so that it takes no memory either.
	ballast = 8 << 20
)

// Options are what a daemon is started with.
type Options struct {
	Config  string // path of dkimd.toml
	Named   bool   // the operator named it: it has to be there
	Version string // of dkimd

	Stdout, Stderr io.Writer        // of the process: the log stream, and the log for operators
	Signals        <-chan os.Signal // SIGHUP reloads, any other one stops; nil: none come
	Ready          func()           // is called once the sockets are open; nil: nobody asks
}

// daemon is the running process: the setup in force, and what outlives a reload.
type daemon struct {
	Options
	log     *slog.Logger
	metrics *metrics.Metrics
	monitor *metrics.Server // nil: [metrics] listens nowhere
	control *control.Server // nil: no control socket
	page    *statusPage     // nil: there is none
	events  *output.Log
	doors   doors
	memory  *message.Memory // of all messages under way
	started *config.Config  // sockets and outputs do not change after the start
	current atomic.Pointer[Setup]
	// refused is the last reload, if it was refused; nil: the newest configuration is in force.
	refused  atomic.Pointer[refusal]
	withheld withheld                     // keys that DNS does not serve
	compared atomic.Pointer[comparison]   // of keys with DNS, the last that was finished
	rotating atomic.Pointer[rotationView] // as of the last look
	stopping atomic.Bool
	began    time.Time
	reloads  chan reloadRequest // what refresh is to do
	begun    chan []domain.Name // rotations that commands have begun
	ending   chan struct{}      // closed when no more reloads are done
}

// newDaemon returns a daemon that has not read anything yet.
func newDaemon(o Options) *daemon {
	// One hangup waits while a reload goes on: what comes meanwhile asks for nothing more.
	d := &daemon{
		Options: o, began: time.Now(), reloads: make(chan reloadRequest, 1), begun: make(chan []domain.Name, 16), ending: make(chan struct{}),
		memory: message.NewMemory(message.DefaultMemory),
	}
	d.metrics = metrics.New(metrics.Config{Version: o.Version, State: d.state})
	d.log = slog.New(d.metrics.Log.Before(slog.NewTextHandler(WithPriorities(o.Stderr), nil)))
	return d
}

// observers are told what happens in a setup of this daemon.
func (d *daemon) observers() Observers {
	recorder := d.metrics.Messages.Before(d.events)
	if d.page != nil {
		recorder = d.page.history.Before(recorder)
	}
	return Observers{Recorder: recorder, Log: d.log, DNS: d.metrics.DNS, Keys: d.metrics.Keys, Withheld: d.withheld.has}
}

// Run runs the daemon until ctx ends or a signal stops it.
func Run(ctx context.Context, o Options) error {
	defer runtime.KeepAlive(make([]byte, ballast))
	d := newDaemon(o)
	if err := hardenProcess(); err != nil {
		d.log.Warn("could not disable core dumps: private keys may leak into one", "error", err)
	}
	c, faults := config.Load(o.Config, o.Named)
	if len(faults) > 0 {
		return faults
	}
	if err := d.start(c); err != nil {
		return err
	}
	defer d.end()
	d.log.Info("ready", "version", o.Version, "listen", slices.Concat(c.Milter.Listen, c.Exim.Listen), "pid", os.Getpid())
	d.notifyReady()
	if o.Ready != nil {
		o.Ready()
	}
	served := make(chan error, 1)
	go func() { served <- d.doors.Serve() }()
	return d.attend(ctx, served)
}

// start builds everything in the order in which it is needed.
func (d *daemon) start(c *config.Config) (err error) {
	d.started = c
	d.events, err = output.Open(output.Config{
		Format: events.Format(c.Log.Format), Outputs: c.Log.Output, Stdout: d.Stdout, Stderr: d.Stderr, Logger: d.log,
	})
	if err != nil {
		return atKey(c, outputFaults(c.Log.Output, err))
	}
	d.page = newStatusPage(d, c)
	s, err := Build(c, nil, d.observers())
	if err != nil {
		_ = d.events.Close()
		return err
	}
	d.enforce(s)
	for _, open := range []func(*config.Config) error{d.openDoors, d.openMonitor, d.openControl} {
		if err := open(c); err != nil {
			_ = d.doors.Shutdown(context.Background()) // removes the sockets that are open
			d.end()
			return err
		}
	}
	return nil
}

// enforce puts a setup in force, and tells what is wrong with it all the same.
func (d *daemon) enforce(s *Setup) {
	for _, f := range s.Broken { // keys.Store logs those of keys as it finds them
		d.log.Error("rules file unusable: mail of its domain is deferred", "fault", f.Error())
	}
	for _, w := range s.Rules.Warnings() {
		d.log.Warn("rules file", "warning", w.Error())
	}
	for _, address := range s.OpenToAll(d.started) {
		d.log.Warn("any local user can have mail signed through this socket", "address", address)
	}
	if s.AnyLoginForAll() {
		d.log.Warn("a login may have mail signed for every domain", "domains", s.Keys.Len(), "hint", "user_match = \"domain\" where logins belong to domains")
	}
	if s.Config.Sign.RequirePublished != config.WithholdUnpublished {
		d.withheld.set(nil)
	}
	d.memory.SetLimit(s.Config.Memory << 20)
	d.current.Store(s)
}

// end closes what start opened.
func (d *daemon) end() {
	if d.control != nil {
		_ = d.control.Close()
	}
	if d.monitor != nil {
		_ = d.monitor.Close()
	}
	if s := d.current.Load(); s != nil {
		s.Close()
	}
	_ = d.events.Close()
}

// attend waits for signals, and for the end.
func (d *daemon) attend(ctx context.Context, served <-chan error) error {
	reloading, endReloading := context.WithCancel(ctx)
	var reloads sync.WaitGroup
	reloads.Go(func() { d.refresh(reloading) })
	reloads.Go(func() { d.watchKeys(reloading) })
	reloads.Go(func() { d.watchDNS(reloading) })
	reloads.Go(func() { d.watchHosts(reloading) })
	reloads.Go(func() { d.watchMemory(reloading) })
	reloads.Go(func() { d.watchRotation(reloading) })
	defer reloads.Wait()
	defer close(d.ending)
	defer endReloading()
	for {
		select {
		case <-ctx.Done():
			return d.stop(served)
		case err := <-served:
			return err
		case s := <-d.Signals:
			if s != syscall.SIGHUP {
				d.log.Info("stopping", "signal", s.String())
				return d.stop(served)
			}
			select {
			case d.reloads <- reloadRequest{}:
			default:
			}
		}
	}
}

// stop lets messages under way end. A second signal, or time running out, cuts.
func (d *daemon) stop(served <-chan error) error {
	d.notify(systemd.SdNotifyStopping)
	d.stopping.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case s := <-d.Signals:
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
		d.log.Warn("connections closed before their messages ended", "error", err)
	} else {
		d.log.Info("stopped")
	}
	return nil
}
