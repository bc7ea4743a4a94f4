package events

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"dkimd/internal/message"
)

// These bound each table of a Summary: a stranger chooses what stands in its rows.
const (
	maxRows  = 100_000
	maxKeys  = 16 << 20 // bytes of all keys
	maxKinds = 100
)

// Others is the row, or the kind, for what does not fit into a table any more.
const Others = "(others)"

// Unaligned counts the signatures of others than the From domain.
const Unaligned = "unaligned"

// Summary counts records. Not safe for concurrent use.
type Summary struct {
	Messages    int
	First, Last time.Time // of the records counted
	Domains     Table     // From domain; by verdict
	Results     Table     // result of a signature and why, "none" for a message without; by alignment
	Checks      Table     // spf or dmarc, and its result; by verdict
	Reasons     Table     // mode and reason, of messages that were neither signed nor verified for a stranger; by verdict
	Rules       Table     // file and rule, of decisions; by action, in monitor mode in parentheses
	Modes       Table     // mode; by verdict
}

// Table counts under keys of one or two parts, by kind.
type Table struct {
	rows  map[[2]string]*Row
	kinds map[string]string // each is itself
	size  int               // of the keys, in bytes
}

// Row is one row of a Table.
type Row struct {
	Key   [2]string
	Count int
	By    map[string]int
}

// Rows are the rows, the most frequent first.
func (t *Table) Rows() []*Row {
	rows := make([]*Row, 0, len(t.rows))
	for _, r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *Row) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Key[0], b.Key[0]), strings.Compare(a.Key[1], b.Key[1]))
	})
	return rows
}

// count clones what it keeps: texts are parts of their records, which they would keep in memory. A map takes over the key of
// each assignment, also where it has an equal one.
func (t *Table) count(first, second, by string) {
	if t.rows == nil {
		t.rows, t.kinds = map[[2]string]*Row{}, map[string]string{}
	}
	key := [2]string{first, second}
	r := t.rows[key]
	if r == nil && (len(t.rows) >= maxRows || t.size >= maxKeys) {
		key = [2]string{Others, ""}
		r = t.rows[key]
	}
	if r == nil {
		key = [2]string{strings.Clone(key[0]), strings.Clone(key[1])}
		r = &Row{Key: key, By: map[string]int{}}
		t.rows[key] = r
		t.size += len(key[0]) + len(key[1])
	}
	kind, known := t.kinds[by]
	if !known {
		if kind = Others; len(t.kinds) < maxKinds {
			kind = strings.Clone(by)
			t.kinds[kind] = kind
		}
	}
	r.Count++
	r.By[kind]++
}

// Add counts a record.
func (s *Summary) Add(e *Event) {
	s.Messages++
	if s.First.IsZero() || e.Time.Before(s.First) {
		s.First = e.Time
	}
	if e.Time.After(s.Last) {
		s.Last = e.Time
	}
	s.Modes.count(e.Mode, "", e.Verdict)
	s.Domains.count(cmp.Or(e.Author(), "(none)"), "", e.Verdict)
	verified := e.Mode == ModeVerify || e.Mode == ModeTrusted
	for i := range e.Signatures {
		sig := &e.Signatures[i]
		aligned := sig.Aligned
		if aligned == "none" {
			aligned = Unaligned
		}
		s.Results.count(sig.Result, sig.Reason, aligned)
	}
	if verified && len(e.Signatures) == 0 {
		s.Results.count("none", "", "")
	}
	for _, checked := range [...][2]string{{"spf", e.SPF.Result}, {"dmarc", e.DMARC.Result}} {
		if checked[1] != "" {
			s.Checks.count(checked[0], checked[1], e.Verdict)
		}
	}
	if e.Mode == ModeUnsigned || e.Mode == ModeAborted || e.Error != "" {
		s.Reasons.count(e.Mode, cmp.Or(e.Error, e.Why(), "(no reason given)"), e.Verdict)
	}
	for i := range e.Policy {
		d := &e.Policy[i]
		action := d.Action
		if d.Mode != "enforce" {
			action = "(" + action + ")"
		}
		s.Rules.count(d.File, cmp.Or(d.Rule, "(no rule held)"), action)
	}
}

func domainOf(address string) string { return string(message.DomainOf(address)) }
