package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/control"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/terminal"
)

var errStopping = errors.New("dkimd stops")

// openControl opens the socket of dkimd reload and dkimd status. The default one need not open: a daemon
// that somebody tries out beside another one, or without /run/dkimd, does without.
func (d *daemon) openControl(c *config.Config) (err error) {
	if len(c.Control.Listen) == 0 {
		return nil
	}
	d.control, err = control.Listen(c.Control.Listen, controlled{d}, d.log)
	if err != nil && !c.Sets("control.listen") {
		level := slog.LevelWarn
		if _, absent := os.Stat(config.ControlDirectory); errors.Is(absent, fs.ErrNotExist) {
			level = slog.LevelInfo
		}
		d.log.Log(context.Background(), level, "no control socket: dkimd reload and dkimd status do not reach this daemon", "error", err.Error())
		return nil
	}
	if err != nil {
		return atKey(c, err)
	}
	d.control.Start()
	return nil
}

// reloadRequest asks refresh for a reload.
type reloadRequest struct {
	acceptRemoval bool
	done          chan<- control.Reload // has room for the answer; nil: nobody waits for one
}

// controlled is the daemon as its control socket knows it.
type controlled struct{ *daemon }

// Reload is control.Daemon.
func (d controlled) Reload(ctx context.Context, acceptRemoval bool) (control.Reload, error) {
	done := make(chan control.Reload, 1)
	select {
	case d.reloads <- reloadRequest{acceptRemoval, done}:
	case <-d.ending:
		return control.Reload{}, errStopping
	case <-ctx.Done():
		return control.Reload{}, ctx.Err()
	}
	select {
	case r := <-done:
		return r, nil
	case <-d.ending:
		return control.Reload{}, errStopping
	case <-ctx.Done():
		return control.Reload{}, ctx.Err()
	}
}

// Rotate is control.Daemon. What finds no room is found once a minute.
func (d controlled) Rotate(names []domain.Name) {
	select {
	case d.begun <- names:
	default:
	}
}

// Elsewhere is control.Daemon.
func (d controlled) Elsewhere() []string { return d.current.Load().Keys.Elsewhere() }

// Status is control.Daemon.
func (d controlled) Status() control.Status {
	s, state, health := d.current.Load(), d.state(), d.health()
	status := control.Status{
		Version: d.Version, PID: os.Getpid(), Started: d.began, Config: d.Config, Loaded: s.loaded,
		Ready: len(health.Faults) == 0, Faults: findings(health.Faults), Warnings: findings(health.Warnings), Messages: []control.Count{},
		Keys: control.Keys{
			Usable: state.Keys, Unusable: state.UnusableKeys, Domains: state.Domains, UnusableDomains: state.UnusableDomains, Kept: state.KeptKeys,
		},
		Rotation: d.rotationNow().status(d.withheld.list()),
		Rules:    control.Rules{Files: state.RulesDomains, Broken: state.BrokenRules, Kept: state.KeptRules},
		DNS:      control.DNS{Servers: s.Resolver.Servers(), Cached: state.CacheEntries},
		Log:      control.Log{Outputs: d.started.Log.Output, Lost: state.RecordsLost},
	}
	listen := map[string][]string{"milter": d.started.Milter.Listen, "exim": d.started.Exim.Listen}
	limit := map[string]int{"milter": d.started.Milter.MaxConnections, "exim": d.started.Exim.MaxConnections}
	const connections, messages = "dkimd_connections_open", "dkimd_messages_total"
	samples := d.metrics.Samples(connections, messages)
	for _, open := range samples[connections] {
		if front := open.Labels["front"]; len(listen[front]) > 0 {
			status.Doors = append(status.Doors, control.Door{Front: front, Listen: listen[front], Connections: int(open.Value), Limit: limit[front]})
		}
	}
	for _, m := range samples[messages] {
		if m.Value > 0 {
			status.Messages = append(status.Messages, control.Count{
				Front: m.Labels["front"], Mode: m.Labels["mode"], Verdict: m.Labels["verdict"], Count: uint64(m.Value),
			})
		}
	}
	if r := d.refused.Load(); r != nil {
		status.LastReload = &control.Refusal{At: r.at, Faults: fault.Findings(r.fault)}
	}
	return status
}

// summary says in one line what is in force, and whether a reload was refused since.
func (d *daemon) summary() string {
	s := d.current.Load()
	count := s.Keys.Counts()
	text := fmt.Sprintf("%s signed for, %s", terminal.Plural(count.Domains, "domain"), terminal.Plural(s.Rules.Len(), "rules file"))
	if broken := s.brokenFiles() + count.UnusableDomains; broken > 0 {
		text += fmt.Sprintf(", %d of them broken", broken)
	}
	if kept := len(s.Kept()); kept > 0 {
		text += fmt.Sprintf(", %d as before the reload", kept)
	}
	if r := d.refused.Load(); r != nil {
		text += "; the reload at " + r.at.UTC().Format(time.RFC3339) + " was refused: " + lines(r.fault)[0]
	}
	return text
}

// findings are lines of which no more is known than their text.
func findings(lines []string) []fault.Finding {
	list := make([]fault.Finding, len(lines))
	for i, line := range lines {
		list[i].Text = line
	}
	return list
}

func lines(err error) []string { return strings.Split(err.Error(), "\n") }
