package daemon

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/fault"
	"dkimd/internal/metrics"
)

// openMonitor opens the sockets of [metrics].
func (d *daemon) openMonitor(c *config.Config) (err error) {
	if len(c.Metrics.Listen) == 0 {
		return nil
	}
	page, err := d.page.handler()
	if err != nil {
		return err
	}
	d.monitor, err = metrics.Listen(metrics.ServerConfig{
		Listen: c.Metrics.Listen, Metrics: d.metrics, Health: d.health, Hosts: append(hostNames(false), c.Hostname),
		Page: page, PageEverywhere: c.Metrics.Page == config.PageEverywhere, Logger: d.log,
	})
	if err != nil {
		return atKey(c, err)
	}
	d.monitor.Start()
	return nil
}

// state is what metrics show of the setup in force.
func (d *daemon) state() metrics.State {
	s := d.current.Load()
	count, rotation := s.Keys.Counts(), d.rotationNow()
	return metrics.State{
		KeyStages: rotation.stages, StuckKeys: len(rotation.stuck), OverdueDomains: rotation.overdue, RotationPaused: rotation.paused,
		WithheldKeys: len(d.withheld.list()),
		CacheEntries: s.Resolver.Entries(),
		Keys:         count.Keys, UnusableKeys: count.UnusableKeys,
		Domains: count.Domains, UnusableDomains: count.UnusableDomains,
		RulesDomains: s.Rules.Len(), BrokenRules: s.brokenFiles(),
		KeptRules: len(s.Rules.Kept()), KeptKeys: len(s.Keys.Kept()),
		RecordsLost: d.events.Lost(),
		MemoryHeld:  d.memory.Held(), MemoryLimit: d.memory.Limit(), MemoryDeferred: d.memory.Deferred(),
		Stale: d.refused.Load() != nil, Loaded: s.loaded,
	}
}

// health says whether mail should come here. A domain whose keys or rules are
// broken is a warning only: where its files are the same its mail fares no better, and
// all other mail is handled as it should be. So is what lies beside the domains: a host that
// only verifies has no key that could sign. DNS that does not answer is not a fault either:
// every dkimd that asks the same servers would be out of use at the same time.
func (d *daemon) health() metrics.Health {
	var h metrics.Health
	s := d.current.Load()
	if d.stopping.Load() {
		h.Faults = append(h.Faults, "dkimd stops and takes no more connections")
	}
	if r := d.refused.Load(); r != nil {
		h.Faults = append(h.Faults, fmt.Sprintf("the reload at %s was refused, and the configuration of %s is in force (hint: fix what dkimd check prints, then send SIGHUP)",
			r.at.UTC().Format(time.RFC3339), s.loaded.UTC().Format(time.RFC3339)))
		h.Faults = append(h.Faults, lines(r.fault)...)
	}
	keyFaults := s.Keys.Faults()
	faults := slices.Concat(s.Broken, keyFaults) // Kept has words of its own
	if count := s.Keys.Counts(); len(keyFaults) > count.Strays && count.Keys == 0 && count.Unread == 0 {
		h.Faults = append(h.Faults, "there are keys, and none of them can sign (hint: fix what dkimd check prints, then send SIGHUP)")
		h.Faults = append(h.Faults, texts(keyFaults)...)
		faults = s.Broken
	}
	for _, k := range s.Kept() {
		h.Warnings = append(h.Warnings, k.Words()...)
	}
	h.Warnings = append(h.Warnings, texts(faults)...)
	h.Warnings = append(h.Warnings, s.Resolver.Troubles()...)
	h.Warnings = append(h.Warnings, d.rotationNow().warnings()...)
	for _, name := range d.withheld.list() {
		h.Warnings = append(h.Warnings, name+" signs no more: no name server has had its record for a day (hint: dkimd key show "+strings.Replace(name, "/", " ", 1)+")")
	}
	return h
}

func texts(faults fault.Faults) []string {
	lines := make([]string, len(faults))
	for i, f := range faults {
		lines[i] = f.Error()
	}
	return lines
}
