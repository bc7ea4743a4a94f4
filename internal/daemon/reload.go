package daemon

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/control"
	"dkimd/internal/fault"
)

// reminderTime passes between reminders that the configuration on disk is broken.
const reminderTime = time.Hour

// refusal is a reload that was refused: the configuration before it is still in force.
type refusal struct {
	fault error
	at    time.Time
}

// refresh reloads at each request, and reminds of a reload that was refused. It
// has a goroutine of its own: with many keys a reload takes its time, and the end must not wait for it.
func (d *daemon) refresh(ctx context.Context) {
	reminder := time.NewTicker(reminderTime)
	defer reminder.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case request := <-d.reloads:
			d.notify(reloading())
			done := d.reload(ctx, request.acceptRemoval)
			d.notifyReady()
			if request.done != nil && ctx.Err() == nil {
				request.done <- done
			}
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
func (d *daemon) reload(ctx context.Context, acceptRemoval bool) (done control.Reload) {
	began := time.Now()
	defer func() { done.Summary, done.Seconds = d.summary(), time.Since(began).Seconds() }()
	if err := d.events.Reopen(); err != nil {
		d.log.Error("could not reopen the log file", "error", err)
	}
	old := d.current.Load()
	next, err := d.rebuild(ctx, old, acceptRemoval)
	if ctx.Err() != nil {
		if err == nil {
			next.Close()
		}
		return done // dkimd stops
	}
	if err != nil {
		d.refused.Store(&refusal{fault: err, at: time.Now()})
		d.metrics.Reloads.Refused()
		d.log.Error("reload refused: the previous configuration stays in force", "fault", err.Error(), "hint", "dkimd check")
		return control.Reload{Result: control.Refused, Faults: fault.Findings(err), Warnings: []fault.Finding{}}
	}
	done = control.Reload{
		Result: control.Taken, Faults: fault.Findings(next.Faults()), Warnings: fault.Findings(fault.Faults(next.Rules.Warnings())),
		Restart: next.Config.NeedsRestart(d.started),
	}
	if len(done.Faults) > 0 {
		done.Result = control.Partly
	}
	for _, key := range done.Restart {
		d.log.Warn("this change takes effect after a restart", "key", key)
	}
	d.enforce(next)
	d.refused.Store(nil)
	d.metrics.Reloads.Taken()
	// Messages under way keep the old resolver; it ends with their lookups.
	old.Keys.Close()
	d.log.Info("reloaded", "took", time.Since(began).Round(time.Millisecond).String(), "faults", len(next.Faults()), "kept", len(next.Kept()))
	d.reportKept(next.Kept())
	return done
}

// rebuild makes the setup that is to follow. A panic refuses the reload: what somebody wrote into a file must not stop mail.
func (d *daemon) rebuild(ctx context.Context, old *Setup, acceptRemoval bool) (next *Setup, err error) {
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("panic in a reload", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			next, err = nil, fmt.Errorf("a fault of dkimd while it read the configuration: %v", p)
		}
	}()
	c, faults := config.Load(d.Config, d.Named)
	if len(faults) > 0 {
		return nil, faults
	}
	if err := old.vanished(c); err != nil {
		return nil, err
	}
	if next, err = Build(c, old, d.observers()); err != nil {
		return nil, err
	}
	if err := d.admit(ctx, old, next, acceptRemoval); err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}

// admit lets domains that are broken on disk stay as they are in force, and refuses what no reload may bring.
func (d *daemon) admit(ctx context.Context, old, next *Setup, acceptRemoval bool) error {
	if err := errors.Join(next.Keys.Wait(ctx), old.Keys.Wait(ctx)); err != nil {
		return err
	}
	if err := next.Keys.Err(); err != nil && old.Keys.Err() == nil {
		return err
	}
	next.Keys.Keep(old.Keys)
	if r := old.removal(next); r != nil {
		return d.accepts(next.Config, r, acceptRemoval)
	}
	return nil
}
