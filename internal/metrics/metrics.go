// Package metrics declares every Prometheus metric of the process, in this file,
// and serves them over HTTP with /healthz and /readyz. It decides nothing and
// measures nothing by itself: the other packages know no Prometheus. Each tells a
// small interface of its own what happens there; what is so at a moment is asked for
// when somebody looks. Label values come from closed sets, are all there from the
// start with zero, and are never taken from a message. docs/metrics.md describes each.
package metrics

import (
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"dkimd/internal/events"
	"dkimd/signer"
)

// Config says what the metrics do not count themselves.
type Config struct {
	Version string
	State   func() State // is called at each scrape, maybe by several goroutines at once
}

// State is what is so at the moment of a scrape.
type State struct {
	CacheEntries int // names in the DNS cache

	Keys, UnusableKeys       int // that sign; that should and cannot
	Domains, UnusableDomains int // with a key that signs; with keys of which none does
	RulesDomains             int // with a rules file of their own
	BrokenRules              int // rules files out of use
	KeptKeys, KeptRules      int // domains whose keys, whose rules are those of before a reload

	KeyStages      map[string]int // keys in the directory by their stage
	StuckKeys      int            // rotations that need somebody
	OverdueDomains int            // whose rotation is due and not begun
	WithheldKeys   int            // that sign no more, for DNS does not serve them
	RotationPaused bool

	RecordsLost uint64 // of the log stream, since the start

	MemoryHeld, MemoryLimit int64  // bytes that messages hold together
	MemoryDeferred          uint64 // messages deferred because that was the limit

	Stale  bool      // the last reload was refused
	Loaded time.Time // when the configuration in force was loaded
}

// Metrics are all metrics of the process. Each part is what one package tells
// what happens.
type Metrics struct {
	registry *prometheus.Registry

	Messages     *Messages
	Milter, Exim *Door
	DNS          *DNS
	Keys         *Keys
	Log          *Log
	Reloads      *Reloads
}

// New declares the metrics, in a registry of their own.
func New(c Config) *Metrics {
	r := registry{prometheus.NewRegistry()}
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	r.declareState(c)
	milter, exim := r.declareDoors()
	return &Metrics{
		registry: r.Registry,
		Messages: r.declareMessages(),
		Milter:   milter,
		Exim:     exim,
		DNS:      r.declareDNS(),
		Keys:     r.declareKeys(),
		Log:      r.declareLog(),
		Reloads: &Reloads{
			results: r.counters("dkimd_reloads_total", "Reloads of the configuration, by result.",
				always, label{"result", []string{"taken", "refused"}}),
		},
	}
}

func (r registry) declareMessages() *Messages {
	fronts := []string{"milter", "exim"}
	actions := []string{"accept", "quarantine", "discard", "tempfail", "reject"}
	modes := []string{events.ModeSign, events.ModeUnsigned, events.ModeVerify, events.ModeTrusted, events.ModeSkipped, events.ModeAborted}
	verdicts := append(slices.Clone(actions), events.ModeAborted)
	answered := func(row []string) bool { return (row[1] == events.ModeAborted) == (row[2] == events.ModeAborted) }
	return &Messages{
		messages: r.counters("dkimd_messages_total", "Messages by front door, mode and what the MTA was told.",
			answered, label{"front", fronts}, label{"mode", modes}, label{"verdict", verdicts}),
		results: r.counters("dkimd_signature_results_total", "Signatures of verified messages by what came of them; none is a message without one.",
			always, label{"result", []string{"pass", "fail", "policy", "neutral", "temperror", "permerror", resultNone}}),
		spf: r.counters("dkimd_spf_results_total", "Messages whose sender was checked by SPF, by result.",
			always, label{"result", []string{"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}}),
		dmarc: r.counters("dkimd_dmarc_results_total", "Messages for which DMARC was asked, by result.",
			always, label{"result", []string{"none", "pass", "fail", "temperror", "permerror"}}),
		made: r.counters("dkimd_signatures_made_total", "Signatures added, by algorithm.",
			always, label{"algorithm", []string{"rsa-sha256", "ed25519-sha256"}}),
		unsigned: r.counters("dkimd_unsigned_messages_total", "Messages that were ours to sign, or were leaving, and got no signature, by reason.",
			always, label{"reason", []string{
				signer.MultipleFrom, signer.FromMissing, signer.FromUnreadable, signer.NoKey,
				signer.KeyUnusable, signer.UserMismatch, signer.Limit, reasonNotOurs, reasonTrusted, reasonRecipients, reasonFault, reasonMemory,
			}}),
		decisions: r.counters("dkimd_policy_decisions_total", "Rules that decided, by the mode of their file and their action.",
			always, label{"mode", []string{"monitor", "enforce"}}, label{"action", actions}),
		long: r.counters("dkimd_long_lines_total", "Messages signed with a line over 998 octets that could not be folded, by the part it is in.",
			always, label{"part", []string{"header", "body"}}),
		stripped: r.counter("dkimd_stripped_results_total", "Authentication-Results fields removed because they claimed our name."),
		faulted:  r.counter("dkimd_message_errors_total", "Messages that met a fault of dkimd's own and were handled as configured for this case."),
		total: r.histogram("dkimd_message_duration_seconds", "From MAIL FROM to the answer, most of it waiting for the client.",
			.01, .05, .1, .5, 1, 5, 10, 30, 60, 300),
		finish: r.histogram("dkimd_end_of_message_duration_seconds", "From the end of the body to the answer: what mail waits for dkimd.",
			.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30),
	}
}

func (r registry) declareDoors() (milter, exim *Door) {
	front := []string{"front"}
	open := r.gauges("dkimd_connections_open", "Connections of MTAs being served.", front)
	limit := r.gauges("dkimd_connections_limit", "Connections served at once; 0 where the front door is not open.", front)
	served := r.counterVec("dkimd_connections_total", "Connections of MTAs taken.", front)
	held := r.counterVec("dkimd_connections_held_total", "How often the limit was reached, so that the next connection waits.", front)
	failed := r.counterVec("dkimd_accept_failures_total", "How often the system gave no connection, mostly for want of file descriptors.", front)
	madeRoom := r.counterVec("dkimd_connections_closed_idle_total", "Idle connections closed at the limit, so that a new one got in.", front)
	refused := r.counterVec("dkimd_connections_refused_total", "Connections of users that are not among the peers of a unix socket.", front)
	door := func(name string) *Door {
		return &Door{
			open: open.WithLabelValues(name), limit: limit.WithLabelValues(name), served: served.WithLabelValues(name),
			held: held.WithLabelValues(name), failed: failed.WithLabelValues(name),
			madeRoom: madeRoom.WithLabelValues(name), refused: refused.WithLabelValues(name),
		}
	}
	milter, exim = door("milter"), door("exim")
	milter.withheld = r.counters("dkimd_milter_withheld_total", "Connections on which the MTA does not let dkimd quarantine, or edit headers.",
		always, label{"action", []string{"quarantine", "header_edits"}})
	return milter, exim
}

func (r registry) declareDNS() *DNS {
	return &DNS{
		lookups: r.counters("dkimd_dns_lookups_total", "Lookups for which DNS was asked, by outcome.", always, label{"outcome", []string{
			"found", "nxdomain", "no_data", "timeout", "servfail", "refused", "malformed", "lame", "alias", "network", "crowded", "cancelled", "panic",
		}}),
		took: r.histogram("dkimd_dns_lookup_duration_seconds", "How long lookups took for which DNS was asked.",
			.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30),
		cache: r.counters("dkimd_dns_cache_requests_total", "Lookups by whether the cache knew the answer.",
			always, label{"result", []string{"hit", "miss"}}),
	}
}

func (r registry) declareKeys() *Keys {
	return &Keys{
		engine:      r.counter("dkimd_rsa_engine_failures_total", "RSA keys that OpenSSL failed to sign with, so that crypto/rsa does."),
		unpublished: r.gauge("dkimd_keys_unpublished", "Keys that sign and that DNS did not publish when last compared."),
		destroyed: r.counters("dkimd_keys_destroyed_total", "Private keys destroyed at the end of their lives, by whether mail with their signatures may have been under way.",
			always, label{"when", []string{"due", "early"}}),
		unanswered: r.gauge("dkimd_keys_unanswered", "Keys that sign and of which DNS did not say whether it publishes them when last compared."),
	}
}

func (r registry) declareLog() *Log {
	return &Log{
		lines: r.counters("dkimd_log_messages_total", "Lines of dkimd's own log, by level.",
			always, label{"level", []string{"warn", "error"}}),
		panics: r.counter("dkimd_panics_total", "Panics that were recovered from."),
	}
}

// declareState declares what is asked for at each scrape.
func (r registry) declareState(c Config) {
	info := prometheus.Labels{"version": c.Version, "goversion": runtime.Version()}
	number := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	state := []string{"state"}
	keys := prometheus.NewDesc("dkimd_keys", "Private keys that are to sign, by whether they can.", state, nil)
	domains := prometheus.NewDesc("dkimd_signing_domains", "Domains with keys that are to sign, by whether one of them can.", state, nil)
	kept := prometheus.NewDesc("dkimd_kept_domains", "Domains that are as they were before a reload, because their files are broken.", []string{"what"}, nil)
	stages := prometheus.NewDesc("dkimd_key_stages", "Keys in the directory of keys by where they are in their lives.", []string{"stage"}, nil)
	var lives []sample
	for _, stage := range []string{"made", "published", "active", "retiring", "revoked", "withdrawn", "destroyed"} {
		lives = append(lives, gauge(stages, func(s State) float64 { return float64(s.KeyStages[stage]) }, stage))
	}
	r.MustRegister(&sampler{state: c.State, samples: append(lives, []sample{
		gauge(prometheus.NewDesc("dkimd_build_info", "What runs; the value is always 1.", nil, info), func(State) float64 { return 1 }),
		gauge(keys, func(s State) float64 { return float64(s.Keys) }, "usable"),
		gauge(keys, func(s State) float64 { return float64(s.UnusableKeys) }, "unusable"),
		gauge(domains, func(s State) float64 { return float64(s.Domains) }, "usable"),
		gauge(domains, func(s State) float64 { return float64(s.UnusableDomains) }, "unusable"),
		gauge(prometheus.NewDesc("dkimd_rotations_stuck", "Keys whose rotation needs somebody.", nil, nil),
			func(s State) float64 { return float64(s.StuckKeys) }),
		gauge(prometheus.NewDesc("dkimd_rotations_overdue", "Domains whose rotation is due by schedule and not begun.", nil, nil),
			func(s State) float64 { return float64(s.OverdueDomains) }),
		gauge(prometheus.NewDesc("dkimd_rotation_paused", "1 while rotations that are due are not begun, for too many keys are not seen in DNS.", nil, nil),
			func(s State) float64 { return number(s.RotationPaused) }),
		gauge(prometheus.NewDesc("dkimd_keys_withheld", "Keys that sign no more, for no name server has had them for a day.", nil, nil),
			func(s State) float64 { return float64(s.WithheldKeys) }),
		gauge(prometheus.NewDesc("dkimd_rules_domains", "Sender domains with a rules file of their own.", nil, nil),
			func(s State) float64 { return float64(s.RulesDomains) }),
		gauge(prometheus.NewDesc("dkimd_rules_files_broken", "Rules files that cannot be used: mail of their domains is deferred.", nil, nil),
			func(s State) float64 { return float64(s.BrokenRules) }),
		gauge(kept, func(s State) float64 { return float64(s.KeptKeys) }, "keys"),
		gauge(kept, func(s State) float64 { return float64(s.KeptRules) }, "rules"),
		gauge(prometheus.NewDesc("dkimd_dns_cache_entries", "Names in the DNS cache.", nil, nil),
			func(s State) float64 { return float64(s.CacheEntries) }),
		gauge(prometheus.NewDesc("dkimd_config_stale", "1 while the configuration on disk was refused, and the one before it is in force.", nil, nil),
			func(s State) float64 { return number(s.Stale) }),
		gauge(prometheus.NewDesc("dkimd_config_last_success_timestamp_seconds", "When the configuration in force was loaded.", nil, nil),
			func(s State) float64 { return float64(s.Loaded.UnixMilli()) / 1000 }),
		counter(prometheus.NewDesc("dkimd_log_records_lost_total", "Records of the log stream that could not be written.", nil, nil),
			func(s State) float64 { return float64(s.RecordsLost) }),
		gauge(prometheus.NewDesc("dkimd_memory_held_bytes", "What headers and recipients of all messages under way hold.", nil, nil),
			func(s State) float64 { return float64(s.MemoryHeld) }),
		gauge(prometheus.NewDesc("dkimd_memory_limit_bytes", "The memory setting: past it mail is deferred.", nil, nil),
			func(s State) float64 { return float64(s.MemoryLimit) }),
		counter(prometheus.NewDesc("dkimd_memory_deferred_messages_total", "Messages deferred because all of them together held too much.", nil, nil),
			func(s State) float64 { return float64(s.MemoryDeferred) }),
	}...)})
}
