package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"dkimd/internal/events"
	"dkimd/internal/terminal"
)

// logAnswer is what dkimd log finds out, in JSON.
type logAnswer struct {
	Records []logRecord `json:"records,omitempty"` // that are listed; docs/events.md has their keys
	Summary *logSummary `json:"summary,omitempty"` // without
	Skipped int         `json:"skipped_lines"`     // that are no record
	Probes  int         `json:"probes"`            // records of dkimd probe that are left out
	found

	query *logQuery
	sum   events.Summary
}

func (a *logAnswer) print(std stdio) error {
	leftOut(std, a.Skipped, a.Probes)
	out := &painter{w: std.out, Palette: terminal.PaletteOf(std.out), width: terminal.Columns(std.out)}
	switch {
	case a.sum.Messages == 0 && len(a.Records) == 0:
		fmt.Fprintln(std.err, "dkimd: no record fits")
	case a.query.id != "":
		for i, e := range a.Records {
			if i > 0 {
				out.text("\n")
			}
			if out.details(e.Event); a.query.why {
				out.why(e.Event)
			}
		}
	case a.query.list:
		out.list(a.Records, a.query.why)
	default:
		out.summary(&a.sum, a.query.top)
	}
	if out.err != nil {
		return fmt.Errorf("write: %w", out.err)
	}
	return nil
}

// logRecord is a record, and in JSON with why also the sentence that says it.
type logRecord struct {
	*events.Event

	why bool
}

// MarshalJSON is json.Marshaler.
func (r logRecord) MarshalJSON() ([]byte, error) {
	line, err := r.Event.MarshalJSON()
	if err != nil || !r.why {
		return line, err
	}
	sentence, err := json.Marshal(r.Because())
	return slices.Concat(line[:len(line)-1], []byte(`,"why":`), sentence, []byte("}")), err
}

// logSummary counts records.
type logSummary struct {
	Messages   int         `json:"messages"`
	First      *time.Time  `json:"first,omitempty"`
	Last       *time.Time  `json:"last,omitempty"`
	Modes      []modeRow   `json:"modes"`
	Domains    []domainRow `json:"domains"`
	Signatures []resultRow `json:"signatures"`
	Rules      []ruleRow   `json:"rules"`
	NotSigned  []reasonRow `json:"not_signed"`
}

// counts is how many messages a row has, in all and of each kind.
type counts struct {
	Messages int            `json:"messages"`
	By       map[string]int `json:"by"`
}

type (
	modeRow struct {
		Mode string `json:"mode"`
		counts
	}
	domainRow struct {
		Domain string `json:"domain"`
		counts
	}
	resultRow struct {
		Result string `json:"result"`
		Reason string `json:"reason"`
		counts
	}
	ruleRow struct {
		File string `json:"file"`
		Rule string `json:"rule"`
		counts
	}
	reasonRow struct {
		Mode   string `json:"mode"`
		Reason string `json:"reason"`
		counts
	}
)

// summaryOf has the most frequent rows of each table.
func summaryOf(s *events.Summary, top int) *logSummary {
	l := &logSummary{
		Messages:   s.Messages,
		Modes:      rowsOf(&s.Modes, top, func(k [2]string, c counts) modeRow { return modeRow{k[0], c} }),
		Domains:    rowsOf(&s.Domains, top, func(k [2]string, c counts) domainRow { return domainRow{k[0], c} }),
		Signatures: rowsOf(&s.Results, top, func(k [2]string, c counts) resultRow { return resultRow{k[0], k[1], c} }),
		Rules:      rowsOf(&s.Rules, top, func(k [2]string, c counts) ruleRow { return ruleRow{k[0], k[1], c} }),
		NotSigned:  rowsOf(&s.Reasons, top, func(k [2]string, c counts) reasonRow { return reasonRow{k[0], k[1], c} }),
	}
	if s.Messages > 0 {
		l.First, l.Last = &s.First, &s.Last
	}
	return l
}

func rowsOf[T any](t *events.Table, top int, row func([2]string, counts) T) []T {
	rows := t.Rows()
	list := []T{}
	for _, r := range rows[:min(top, len(rows))] {
		delete(r.By, "") // of messages without a signature
		list = append(list, row(r.Key, counts{r.Count, r.By}))
	}
	return list
}
