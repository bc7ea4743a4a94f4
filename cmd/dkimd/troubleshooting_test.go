package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTroubleshootingIsComplete holds docs/troubleshooting.md against the code: a
// row for each message, and no row for what nobody says any more. Each message is
// found by its form, and its form and package say in which section its row stands:
//
//   - log line: the string that a slog method is called with, or that follows a level (slog.LevelWarn, "text");
//   - reply: a reply code, an enhanced code and a text one after the other;
//   - reason: errors.New of a variable of the package, the format of because, the code of a signer.Reason,
//     what is returned as why, and names in parentheses that policy gives to decisions of its own;
//   - warning: what is appended to the Warnings of a record, and the texts of a method warnings.
//
// What is filled in when it is said stands as ... on the page.
func TestTroubleshootingIsComplete(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := rowsOf(string(text))
	said := messages(t, filepath.Join("..", ".."))
	count := map[string]int{}
	for _, m := range said {
		count[m.kind]++
		if at := rows[m.text]; !slices.Contains(at, m.section()) {
			t.Errorf("%s: the %s %q is not in docs/troubleshooting.md; add to its section %q the row\n| `%s` | what it means | what to do |",
				m.where, m.kind, m.text, m.section(), m.text)
		}
	}
	for row, sections := range rows {
		for _, section := range sections {
			if !slices.ContainsFunc(said, func(m message) bool { return m.text == row && m.section() == section }) {
				t.Errorf("docs/troubleshooting.md explains `%s` in its section %q, but nobody says it there any more: remove or correct the row", row, section)
			}
		}
	}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if strings.HasPrefix(line, "| `") && (len(cells) != 3 || slices.Contains(cells, "")) {
			t.Errorf("docs/troubleshooting.md: want the message, what it means and what to do in %s", line)
		}
	}
	// An extraction that finds nothing would agree with an empty page.
	if count[logLine] < 30 || count[reply] < 10 || count[reason] < 60 {
		t.Errorf("too few messages were found: %v", count)
	}
}

// The kinds of messages.
const (
	logLine = "log line"
	reply   = "reply"
	reason  = "reason"
	warning = "warning"
)

// message is something dkimd says.
type message struct{ kind, text, where string }

// section is the heading under which the page explains it.
func (m message) section() string {
	in := func(dirs ...string) bool {
		return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(m.where, dir+"/") })
	}
	switch {
	case m.kind == reply:
		return "Replies to mail servers"
	case m.kind == warning:
		return "Warnings in records"
	case in("internal/resolver", "internal/hosts"), strings.HasPrefix(m.where, "internal/daemon/dnswatch.go:"):
		return "DNS"
	case in("keys", "internal/rotate", "internal/publish"), m.kind == logLine && strings.HasPrefix(m.where, "internal/daemon/rotation.go:") && !strings.HasPrefix(m.text, "panic"), m.kind == logLine && in("signer"):
		return "Keys"
	case in("internal/milter", "internal/exim", "internal/socket"):
		return "Front doors"
	case in("internal/events"):
		return "Log stream"
	case m.kind == logLine && in("internal/pipeline", "verifier"):
		return "Faults of dkimd"
	case in("internal/dkim", "verifier"):
		return "Why a signature does not pass"
	case in("signer", "internal/pipeline"):
		return "Why mail is not signed, or not verified"
	case in("policy") && m.text[0] == '(':
		return "Decisions of dkimd itself"
	}
	return "Start, reload, stop"
}

// rowsOf is, for each message that the page explains, the sections it stands in:
// what is written as code in the first cell of a row.
func rowsOf(page string) map[string][]string {
	rows := map[string][]string{}
	section := ""
	code := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(page) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(heading)
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cell, _, _ := strings.Cut(line[2:], " | ")
		for _, m := range code.FindAllStringSubmatch(cell, -1) {
			rows[m[1]] = append(rows[m[1]], section)
		}
	}
	return rows
}
