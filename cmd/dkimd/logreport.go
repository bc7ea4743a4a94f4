package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/events"
	"dkimd/internal/safetext"
	"dkimd/internal/terminal"
)

// painter prints records. Its first error stays.
type painter struct {
	w io.Writer
	terminal.Palette
	err   error
	width int // columns of the terminal; 0: it is none
}

func (p *painter) text(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

// line prints a record in one line.
func (p *painter) line(e *events.Event) { p.text(p.Paint(colourOf(e.Verdict), e.Text()) + "\n") }

// json prints a record as the stream has it.
func (p *painter) json(e logRecord) {
	line, err := e.MarshalJSON()
	if p.text(string(line) + "\n"); p.err == nil {
		p.err = err
	}
}

// why prints in a sentence why the message came out so.
func (p *painter) why(e *events.Event) {
	p.text(terminal.Wrap(terminal.Safe(e.Because()), "    ") + "\n")
}

// list prints a line for each record, as wide as the terminal: on a narrow one in fewer columns.
func (p *painter) list(records []logRecord, why bool) {
	form, longID, longFrom := "01-02 15:04:05", 16, 32
	columns := []string{"time", "id", "verdict", "from", "client", "what"}
	switch {
	case p.width > 0 && p.width < 72:
		form, longID, columns = "01-02 15:04", 15, columns[:3]
	case p.width > 0 && p.width < 112:
		longFrom, columns = 20, slices.Delete(columns, 4, 5)
	}
	cell := func(text string, most int) string { return terminal.Clip(safetext.Printable(text), most) }
	table := terminal.NewTable(p.w, p.Palette, columns...)
	rows := make([][]string, len(records))
	for i, e := range records {
		from := cmp.Or(strings.Join(e.From, ", "), "<"+e.Sender+">")
		cells := map[string]string{
			"time": e.Time.Local().Format(form), "id": cell(cmp.Or(e.ID, "-"), longID), "verdict": p.Paint(colourOf(e.Verdict), cell(e.Verdict, 10)),
			"from": cell(from, longFrom), "client": cell(e.Client, 24), "what": safetext.Printable(e.Brief()),
		}
		for _, column := range columns {
			rows[i] = append(rows[i], cells[column])
		}
		table.Fit(rows[i][:min(5, len(columns)-1)]...)
	}
	last := len(columns) - 1
	for i, row := range rows {
		if columns[last] == "what" && p.width > 0 {
			row[last] = terminal.Clip(row[last], max(p.width-table.Width(last), len("what")))
		}
		if p.err == nil {
			p.err = table.Row(row...)
		}
		if why {
			p.why(records[i].Event)
		}
	}
}

// details prints all that a record says.
func (p *painter) details(e *events.Event) {
	p.text(p.Paint(terminal.Bold, terminal.Safe(cmp.Or(e.ID, "(no queue id)"))) + "  " + e.Time.Local().Format("2006-01-02 15:04:05 MST") +
		"  " + terminal.Safe(e.Mode) + "  " + p.Paint(colourOf(e.Verdict), terminal.Safe(e.Verdict)) + "\n")
	for _, d := range e.Details() {
		line := fmt.Sprintf("  %-11s %s", d.Name, terminal.Safe(d.Text))
		if d.Result != "" {
			line += ": " + p.Paint(colourOf(d.Result), terminal.Safe(d.Result))
		}
		if d.Reason != "" {
			line += " (" + terminal.Safe(d.Reason) + ")"
		}
		p.text(line + "\n")
	}
}

// summary prints the tables.
func (p *painter) summary(s *events.Summary, top int) {
	const form = "2006-01-02 15:04:05"
	p.text(fmt.Sprintf("%s, %s to %s\n", terminal.Plural(s.Messages, "message"), s.First.Local().Format(form), s.Last.Local().Format(form)))
	verdicts := []string{"accept", "quarantine", "discard", "tempfail", "reject", "aborted"}
	p.table("mode", "", &s.Modes, verdicts, top)
	p.table("domain", "", &s.Domains, verdicts, top)
	p.table("signature", "reason", &s.Results, []string{"strict", "relaxed", events.Unaligned}, top)
	p.table("check", "result", &s.Checks, verdicts, top)
	p.table("rules file", "rule", &s.Rules, []string{
		"accept", "quarantine", "discard", "tempfail", "reject",
		"(accept)", "(quarantine)", "(discard)", "(tempfail)", "(reject)",
	}, top)
	p.table("not signed", "why", &s.Reasons, verdicts, top)
	if len(s.Rules.Rows()) > 0 {
		p.text("\nActions in parentheses were only recorded: mode = \"monitor\".\n")
	}
}

// table prints one table: the columns that have a count, and a row for each key.
func (p *painter) table(first, second string, t *events.Table, columns []string, top int) {
	rows := t.Rows()
	if len(rows) == 0 {
		return
	}
	columns = slices.DeleteFunc(slices.Clone(columns), func(c string) bool {
		return !slices.ContainsFunc(rows, func(r *events.Row) bool { return r.By[c] > 0 })
	})
	head := []string{first, second, "messages"}
	cells := [][]string{}
	for _, r := range rows[:min(top, len(rows))] {
		name := terminal.Clip(terminal.Safe(r.Key[0]), maxName)
		row := []string{p.Paint(colourOf(name), name), terminal.Clip(terminal.Safe(r.Key[1]), maxName), strconv.Itoa(r.Count)}
		for _, c := range columns {
			cell := "-"
			if r.By[c] > 0 {
				cell = p.Paint(colourOf(c), strconv.Itoa(r.By[c]))
			}
			row = append(row, cell)
		}
		cells = append(cells, row)
	}
	head = append(head, columns...)
	numbers := 2
	if second == "" { // no such column
		numbers = 1
		head = slices.Delete(head, 1, 2)
		for i := range cells {
			cells[i] = slices.Delete(cells[i], 1, 2)
		}
	}
	p.text("\n")
	out := terminal.NewTable(p.w, p.Palette, head...)
	out.Numbers(numbers)
	if p.err == nil {
		p.err = out.Rows(cells)
	}
	if left := len(rows) - len(cells); left > 0 {
		p.text(fmt.Sprintf("and %d more: --top %d\n", left, len(rows)))
	}
}
