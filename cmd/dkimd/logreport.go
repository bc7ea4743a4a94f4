package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"dkimd/internal/events"

	"golang.org/x/sys/unix"
)

// Colours of a terminal (ECMA-48 section 8.3.117).
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
)

// isTerminal reports whether colours are welcome (https://no-color.org).
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// painter prints records. Its first error stays.
type painter struct {
	w       io.Writer
	colours bool
	err     error
}

func (p *painter) text(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

// paint colours a text that holds no colours of a stranger's.
func (p *painter) paint(colour, s string) string {
	if !p.colours || colour == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// colourOf is that of a verdict or a result.
func colourOf(word string) string {
	switch strings.Trim(word, "()") {
	case "reject", "fail", "permerror", "discard":
		return red
	case "tempfail", "temperror", "quarantine", "policy", "neutral", "aborted":
		return yellow
	case "pass":
		return green
	}
	return ""
}

// line prints a record in one line.
func (p *painter) line(e *events.Event) { p.text(p.paint(colourOf(e.Verdict), e.Text()) + "\n") }

// details prints all that a record says.
func (p *painter) details(e *events.Event) {
	p.text(p.paint(bold, visible(cmp.Or(e.ID, "(no queue id)"))) + "  " + e.Time.Local().Format("2006-01-02 15:04:05 MST") +
		"  " + visible(e.Mode) + "  " + p.paint(colourOf(e.Verdict), visible(e.Verdict)) + "\n")
	row := func(name, value string) {
		if value != "" {
			p.text(fmt.Sprintf("  %-11s %s\n", name, visible(value)))
		}
	}
	row("message-id", e.MessageID)
	row("client", joined(e.Client, named("helo", e.Helo), named("login", e.Auth), named("through", e.Front)))
	row("mail from", "<"+e.Sender+">")
	row("from", strings.Join(e.From, ", "))
	row("size", joined(plural(int(e.Bytes), "byte"), plural(e.Recipients, "recipient")))
	row("why", e.Why())
	for _, s := range e.Signed {
		row("signed", joined("d="+s.Domain, "s="+s.Selector, "a="+s.Algorithm))
	}
	for i := range e.Signatures {
		s := &e.Signatures[i]
		text := joined("d="+s.Domain, "s="+s.Selector, "a="+s.Algorithm, "c="+s.Canonicalization)
		if s.KeyBits > 0 {
			text += fmt.Sprintf(", key of %d bits", s.KeyBits)
		}
		if s.Testing {
			text += ", test mode (t=y)"
		}
		text = visible(text + ", aligned " + s.Aligned)
		p.text(fmt.Sprintf("  %-11s %s: %s", "signature", text, p.paint(colourOf(s.Result), visible(s.Result))))
		if s.Reason != "" {
			p.text(" (" + visible(s.Reason) + ")")
		}
		p.text("\n")
	}
	if len(e.Signatures) == 0 && (e.Mode == events.ModeVerify || e.Mode == events.ModeTrusted) {
		row("signature", "none")
	}
	if e.Stripped > 0 {
		row("stripped", plural(e.Stripped, "Authentication-Results field")+" in our name")
	}
	for i := range e.Policy {
		d := &e.Policy[i]
		text := fmt.Sprintf("%s (%s): %s", d.File, d.Mode, d.Action)
		if d.Rule != "" {
			text += fmt.Sprintf(" by rule %q", d.Rule)
		}
		row("rules", joined(text, d.Reply))
	}
	for _, w := range e.Warnings {
		row("warning", w)
	}
	row("ERROR", e.Error)
	row("time", fmt.Sprintf("%s, of it at most %s for DNS", e.Total.Round(100*time.Microsecond), e.DNS.Round(100*time.Microsecond)))
}

func named(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func joined(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// summary prints the tables.
func (p *painter) summary(s *events.Summary, top int) {
	const form = "2006-01-02 15:04:05"
	p.text(fmt.Sprintf("%s, %s to %s\n", plural(s.Messages, "message"), s.First.Local().Format(form), s.Last.Local().Format(form)))
	verdicts := []string{"accept", "quarantine", "discard", "tempfail", "reject", "aborted"}
	p.table("mode", "", &s.Modes, verdicts, top)
	p.table("domain", "", &s.Domains, verdicts, top)
	p.table("signature", "reason", &s.Results, []string{"strict", "relaxed", events.Unaligned}, top)
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
	shown := rows[:min(top, len(rows))]
	widths := [2]int{len(first), len(second)}
	keys := make([][2]string, len(shown))
	for i, r := range shown {
		for k := range r.Key {
			keys[i][k] = clipped(visible(r.Key[k]), 60)
			widths[k] = max(widths[k], utf8.RuneCountInString(keys[i][k]))
		}
	}
	head := []string{pad(first, widths[0]), pad(second, widths[1]), "messages"}
	for _, c := range columns {
		head = append(head, fmt.Sprintf("%8s", c))
	}
	p.text("\n" + p.paint(bold, cells(head, second)) + "\n")
	for i, r := range shown {
		line := []string{p.paint(colourOf(keys[i][0]), pad(keys[i][0], widths[0])), pad(keys[i][1], widths[1]), fmt.Sprintf("%8d", r.Count)}
		for _, c := range columns {
			cell := fmt.Sprintf("%*s", max(8, len(c)), "-")
			if r.By[c] > 0 {
				cell = p.paint(colourOf(c), fmt.Sprintf("%*d", max(8, len(c)), r.By[c]))
			}
			line = append(line, cell)
		}
		p.text(cells(line, second) + "\n")
	}
	if left := len(rows) - len(shown); left > 0 {
		p.text(fmt.Sprintf("and %d more: --top %d\n", left, len(rows)))
	}
}

// cells joins the cells of a row; without a second key it has no such column.
func cells(row []string, second string) string {
	if second == "" {
		row = slices.Delete(row, 1, 2)
	}
	return strings.Join(row, "  ")
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func clipped(s string, limit int) string {
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-3]) + "..."
	}
	return s
}
