package statuspage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/control"
	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/safetext"
	"dkimd/internal/terminal"
)

// Rows of the tables.
const (
	maxDomainRows = 50
	maxRuleRows   = 200
	maxTroubles   = 100 // of each kind; /control has all
)

// overview is the page without a question.
type overview struct {
	Now       time.Time
	Status    control.Status
	Troubles  int  // that are not listed
	Hour      bool // the charts are of the last hour, and not of the last day
	Refreshes bool
	Searches  bool // records are kept
	Charts    []chart
	Domains   []domainRow
	Senders   string // how many there are beside these
	Reasons   []reasonRow
	Rules     Rules
	RuleRows  []ruleRow
	RulesLeft int
	Keys      Keys
}

type domainRow struct {
	Name, Came string
	Mail       uint64
	Shares     []bar // of Came
	Would      []string
}

type reasonRow struct {
	Code, Text string
	Mail       uint64
	Last       uint64 // number of a record; 0: none
}

type ruleRow struct {
	Rule

	Hits uint64
	Last time.Time
	Gone bool // its file does not have it any more
}

func (p *page) overview(ctx context.Context, hour, refreshes bool) *overview {
	now := time.Now()
	o := &overview{
		Now: now, Status: p.Status(), Hour: hour, Refreshes: refreshes, Searches: p.History.ring.most > 0,
		Rules: p.Rules(), Keys: p.Keys(ctx, ""),
	}
	o.Status.Faults = shortened(o.Status.Faults, &o.Troubles)
	o.Status.Warnings = shortened(o.Status.Warnings, &o.Troubles)
	if r := o.Status.LastReload; r != nil {
		r.Faults = shortened(r.Faults, &o.Troubles)
	}
	span, n := 30*time.Minute, 48
	if hour {
		span, n = time.Minute, 60
	}
	columns := p.History.columns(now, span, n)
	o.Charts = []chart{
		newChart("Mail of ours", columns, signed, unsigned),
		newChart("Mail of others", columns, passed, bare, failed),
		newChart("Not let in", columns, stopped, deferred),
	}
	senders, reasons := p.History.lately(now)
	for _, t := range senders[:min(len(senders), maxDomainRows)] {
		o.Domains = append(o.Domains, domainRow{t.domain, t.words(), t.total(), t.shares(), t.acts()})
	}
	if left := len(senders) - len(o.Domains); left > 0 {
		o.Senders = fmt.Sprintf("%d of %s, those with most mail.", len(o.Domains), terminal.Plural(len(senders), "domain"))
	}
	for code, r := range reasons {
		o.Reasons = append(o.Reasons, reasonRow{code, r.text, r.count, r.last})
	}
	slices.SortFunc(o.Reasons, func(a, b reasonRow) int { return cmp.Or(cmp.Compare(b.Mail, a.Mail), strings.Compare(a.Code, b.Code)) })
	o.RuleRows = ruleRows(o.Rules, p.History.decisions())
	o.RulesLeft = max(len(o.RuleRows)-maxRuleRows, 0)
	o.RuleRows = o.RuleRows[:len(o.RuleRows)-o.RulesLeft]
	return o
}

// shortened is the beginning of a list; what is left out is counted.
func shortened[T any](list []T, left *int) []T {
	shown := min(len(list), maxTroubles)
	*left += len(list) - shown
	return list[:shown]
}

// outcomeWords are the outcomes as people read them after a number.
func outcomeWords() [outcomes]string {
	return [outcomes]string{"signed", "unsigned", "passed", "failed", "without signature", "refused", "deferred", "not looked at"}
}

// words are the outcomes with their numbers, the most frequent first.
func (c *counts) words() string {
	words := outcomeWords()
	var order []int
	for i, n := range c {
		if n > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(c[b], c[a]) })
	parts := make([]string, len(order))
	for i, at := range order {
		parts[i] = strconv.Itoa(int(c[at])) + " " + words[at]
	}
	return strings.Join(parts, ", ")
}

// acts says which rules in monitor mode would have acted.
func (t *tally) acts() []string {
	var list []string
	for r, n := range t.would {
		list = append(list, fmt.Sprintf("%s: rule %q of %s, %s", r.action, r.rule, r.file, terminal.Plural(int(n), "time"))) //nolint:gosec // far from the limit
	}
	slices.Sort(list)
	return list
}

// ruleRows are the rules of all files with their hits, and those that decided and are in no file any more.
func ruleRows(rules Rules, decided []ruleHits) []ruleRow {
	listed := rules.Listed
	complete := len(listed) > 0 || rules.Files == 0 // else there are too many to list
	hits := map[Rule]ruleHits{}
	for _, d := range decided {
		hits[Rule{d.file, d.mode, d.rule, d.action}] = d
	}
	rows := make([]ruleRow, 0, len(listed))
	for _, r := range listed {
		kept := Rule{safetext.Clip(r.File, maxText), r.Mode, safetext.Clip(r.Name, maxText), safetext.Clip(r.Action, maxText)} // as decided has it
		rows = append(rows, ruleRow{Rule: r, Hits: hits[kept].count, Last: hits[kept].last})
		delete(hits, kept)
	}
	for r, d := range hits {
		if r.Name != "" { // otherwise none of the file held
			rows = append(rows, ruleRow{Rule: r, Hits: d.count, Last: d.last, Gone: complete && r.Name[0] != '('})
		}
	}
	slices.SortStableFunc(rows, func(a, b ruleRow) int {
		return cmp.Or(cmp.Compare(b.Hits, a.Hits), strings.Compare(a.File, b.File))
	})
	return rows
}

// results are what a search found.
type results struct {
	Now   time.Time
	Query string
	Found []found
	More  bool
	Kept  bool // records are
	Since time.Time
	Keys  Keys
}

func (p *page) find(ctx context.Context, query string) *results {
	r := &results{Now: time.Now(), Query: query, Kept: p.History.ring.most > 0}
	r.Found, r.More = p.History.search(ctx, query)
	r.Since = p.History.oldest()
	if name, err := domain.Parse(query); err == nil {
		r.Keys = p.Keys(ctx, name)
	}
	return r
}

// message is one record in full.
type message struct {
	Event *events.Event // nil: it is not kept any more
}

// Details are the lines of the record.
func (m message) Details() []events.Detail { return m.Event.Details() }

func (p *page) message(number string) message {
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return message{}
	}
	return message{p.History.record(n)}
}
