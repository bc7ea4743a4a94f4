package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/terminal"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the man pages")

const (
	manDirectory = "../../packaging/man"
	// manDate is that of the first pages: a page must not change because time passes.
	manDate = "2026-11-30"
)

// TestManPages: one page a command, from what --help prints, and one a kind of file, from docs/. With -update it writes them.
func TestManPages(t *testing.T) {
	pages := manPages(t)
	var written []string
	for name, page := range pages {
		path := filepath.Join(manDirectory, name)
		written = append(written, path)
		if *update {
			if err := os.WriteFile(path, page, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if old, err := os.ReadFile(path); err != nil || !bytes.Equal(old, page) {
			t.Errorf("%s is not what --help and docs/ say (%v): go test ./cmd/dkimd -run TestManPages -update", path, err)
		}
	}
	there, err := filepath.Glob(filepath.Join(manDirectory, "*.[1-8]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if !slices.Contains(written, path) {
			t.Errorf("%s describes no command and no file: remove it", path)
		}
	}
	for _, lint := range [][]string{{"mandoc", "-T", "lint", "-W", "warning"}, {"man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"}} {
		if _, err := exec.LookPath(lint[0]); err != nil {
			if os.Getenv("DKIMD_REQUIRE_ALL") != "" {
				t.Error(err)
			}
			continue
		}
		for _, path := range written {
			c := exec.CommandContext(t.Context(), lint[0], append(lint[1:], path)...)
			c.Env = append(os.Environ(), "MANWIDTH=80", "MANROFFSEQ=t")
			var said bytes.Buffer
			if c.Stderr = &said; lint[0] == "mandoc" {
				c.Stdout = &said
			}
			if err := c.Run(); err != nil || said.Len() > 0 {
				t.Errorf("%s: %v\n%s", strings.Join(lint, " "), err, said.String())
			}
		}
	}
}

// manPages are the pages by their file names.
func manPages(t *testing.T) map[string][]byte {
	t.Helper()
	pages := map[string][]byte{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		pages[manName(c)+".8"] = md2man.Render([]byte(manOfCommand(c)))
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(stdio{strings.NewReader(""), io.Discard, io.Discard}))
	for name, page := range map[string]struct{ doc, from, summary string }{
		"dkimd.toml":        {"configuration.md", "", "configuration of dkimd"},
		"dkimd-domain.toml": {"keys.md", "", "keys of dkimd, and the options of a signing domain"},
		"dkimd-rules":       {"policy.md", "", "rules files of dkimd"},
	} {
		text, err := os.ReadFile(filepath.Join("../../docs", page.doc))
		if err != nil {
			t.Fatal(err)
		}
		pages[name+".5"] = md2man.Render([]byte(manHead(name, 5, page.summary) + manOfDocument(string(text)) + manAlso))
	}
	return pages
}

const manAlso = "\n# SEE ALSO\n\n**dkimd**(8), **dkimd.toml**(5), **dkimd-domain.toml**(5), **dkimd-rules**(5). All documentation is in */usr/share/doc/dkimd*.\n"

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func manHead(name string, section int, summary string) string {
	return fmt.Sprintf("%% %s %d %s dkimd dkimd\n# NAME\n\n%s - %s\n\n", strings.ToUpper(name), section, manDate, name, summary)
}

// manOfCommand is the page of a command in Markdown.
func manOfCommand(c *cobra.Command) string {
	var b strings.Builder
	b.WriteString(manHead(manName(c), 8, strings.ToLower(c.Short[:1])+c.Short[1:]))
	fmt.Fprintf(&b, "# SYNOPSIS\n\n**%s**%s\n\n", c.CommandPath(), escaped(strings.TrimPrefix(c.UseLine(), c.CommandPath())))
	fmt.Fprintf(&b, "# DESCRIPTION\n\n%s\n\n", paragraphs(c.Long))
	if subs := c.Commands(); len(subs) > 0 {
		b.WriteString("# COMMANDS\n\n")
		for _, sub := range subs {
			fmt.Fprintf(&b, "**%s**(8)\n: %s.\n\n", manName(sub), escaped(sub.Short))
		}
	}
	var options strings.Builder
	for _, flags := range []*pflag.FlagSet{c.NonInheritedFlags(), c.InheritedFlags()} {
		flags.VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" || f.Name == "version" {
				return
			}
			argument, usage := pflag.UnquoteUsage(f)
			if argument != "" {
				argument = " *" + argument + "*"
			}
			if d := f.DefValue; d != "" && d != "false" && d != "0" && d != "0s" && d != "[]" {
				usage += " (default: " + d + ")"
			}
			fmt.Fprintf(&options, "**\\-\\-%s**%s\n: %s.\n\n", f.Name, argument, escaped(usage))
		})
	}
	if options.Len() > 0 {
		b.WriteString("# OPTIONS\n\n" + options.String())
	}
	return b.String() + manAlso
}

// escaped is text in which Markdown finds no marks.
func escaped(s string) string {
	return regexp.MustCompile("[\\\\`*_\\[\\]<>#|~]").ReplaceAllString(s, `\$0`)
}

// paragraphs are those of a help text: indented lines and lists in columns stay as they are.
func paragraphs(s string) string {
	all := strings.Split(strings.TrimSpace(s), "\n\n")
	for i, p := range all {
		if !strings.Contains("\n"+p, "\n ") && !strings.Contains(p, "  ") {
			all[i] = escaped(p)
			continue
		}
		all[i] = "```\n" + strings.TrimRight(p, "\n") + "\n```"
	}
	return strings.Join(all, "\n\n")
}

var (
	linkMark    = regexp.MustCompile(`\[([^\]]+)\]\(([^)#]*)(#[^)]*)?\)`)
	commentMark = regexp.MustCompile(`(?s)<!--.*?-->\n*`)
	titleMark   = regexp.MustCompile(`\A# .*\n`)
)

// manOfDocument makes a file of docs/ the body of a page: tables become lists, which fit 80 columns, and
// links to files here their names.
func manOfDocument(s string) string {
	s = titleMark.ReplaceAllString(commentMark.ReplaceAllString(s, ""), "# DESCRIPTION\n")
	s = linkMark.ReplaceAllStringFunc(s, func(link string) string {
		m := linkMark.FindStringSubmatch(link)
		if strings.Contains(m[2], "://") {
			return m[1] + " (" + m[2] + ")"
		}
		return m[1]
	})
	var out []string
	var rows [][]string
	flush := func() {
		for i, row := range rows {
			if i > 1 { // behind the head and its rule
				out = append(out, listed(rows[0], row), "")
			}
		}
		rows = nil
	}
	code := false
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if !code && strings.HasPrefix(line, "|") {
			rows = append(rows, cells(line))
			continue
		}
		flush()
		out = append(out, broken(line, code || strings.HasPrefix(line, "    "))...)
	}
	flush()
	return strings.Join(out, "\n")
}

// broken is a line of code as lines that fit a terminal.
func broken(line string, code bool) []string {
	const indent = 14
	if !code || len(line) <= terminal.Width-indent {
		return []string{line}
	}
	var lines []string
	lead := line[:len(line)-len(strings.TrimLeft(line, " #"))]
	for part := range strings.SplitSeq(terminal.Wrap(strings.TrimPrefix(line, lead), strings.Repeat(" ", indent)), "\n") {
		if part = strings.TrimSpace(part); part != "" {
			lines = append(lines, lead+part)
		}
	}
	return lines
}

// cells are those of a row. A | in code is written \|.
func cells(line string) []string {
	const bar = "\x00"
	parts := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, bar), "|"), "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(strings.ReplaceAll(parts[i], bar, "|"))
	}
	return parts
}

// listed is a row of a table as an entry of a list.
func listed(head, row []string) string {
	said := []string{row[min(1, len(row)-1)]}
	for i := 2; i < len(row); i++ {
		if row[i] != "" {
			said = append(said, head[i]+": "+row[i])
		}
	}
	return row[0] + "\n: " + strings.Join(said, "; ")
}
