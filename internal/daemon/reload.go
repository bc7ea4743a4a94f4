package daemon

import (
	"context"
	"errors"
	"time"

	"dkimd/internal/config"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// reminderTime passes between reminders that the configuration on disk is broken.
const reminderTime = time.Hour

// refusal is a reload that was refused: the configuration before it is still in force.
type refusal struct {
	fault error
	at    time.Time
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
				d.log.Error("the configuration on disk is broken: the previous one is still in force", "fault", r.fault.Error())
			}
			d.reportKept(d.current.Load().Kept())
		}
	}
}

// reload builds everything anew and puts it in force. A domain whose files are broken stays
// as it is: see admit. The rest is refused only for what concerns all mail.
func (d *daemon) reload(ctx context.Context) {
	began := time.Now()
	if err := d.events.Reopen(); err != nil {
		d.log.Error("could not reopen the log file", "error", err)
	}
	old := d.current.Load()
	next, err := d.reBuild(ctx, old)
	if ctx.Err() != nil {
		if err == nil {
			next.Close()
		}
		return // dkimd stops
	}
	if err != nil {
		d.refused.Store(&refusal{fault: err, at: time.Now()})
		d.metrics.Reloads.Refused()
		d.log.Error("reload refused: the previous configuration stays in force", "fault", err.Error(), "hint", "dkimd check")
		return
	}
	for _, key := range next.Config.NeedsRestart(d.started) {
		d.log.Warn("this change takes effect after a restart", "key", key)
	}
	d.enforce(next)
	d.refused.Store(nil)
	d.metrics.Reloads.Taken()
	// Messages under way keep the old resolver; it ends with their lookups.
	old.Keys.Close()
	d.log.Info("reloaded", "took", time.Since(began).Round(time.Millisecond).String(), "faults", len(next.Faults()), "kept", len(next.Kept()))
	d.reportKept(next.Kept())
}

func (d *daemon) reBuild(ctx context.Context, old *Setup) (*Setup, error) {
	c, faults := config.Load(d.Config, d.Named)
	if len(faults) > 0 {
		return nil, faults
	}
	if err := old.vanished(c); err != nil {
		return nil, err
	}
	next, err := Build(c, old, d.observers())
	if err != nil {
		return nil, err
	}
	if err := d.admit(ctx, old, next); err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}

// admit lets domains that are broken on disk stay as they are in force, and refuses what no reload may bring.
func (d *daemon) admit(ctx context.Context, old, next *Setup) error {
	if err := errors.Join(next.Keys.Wait(ctx), old.Keys.Wait(ctx)); err != nil {
		return err
	}
	if err := next.Keys.Err(); err != nil && old.Keys.Err() == nil {
		return err
	}
	next.Keys.Keep(old.Keys)
	if r := old.removal(next); r != nil {
		return d.accepts(next.Config, r)
	}
	return nil
}
