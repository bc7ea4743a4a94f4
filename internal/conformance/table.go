package conformance

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Demand is one thing an RFC demands.
type Demand struct {
	Line                     int // in the table
	Document, Section, Level string
	Text                     string
	Code                     []Anchor
	Tests                    []Test
	Departs, Void            string
}

// Must reports whether the demand leaves no choice.
func (d Demand) Must() bool { return strings.HasPrefix(d.Level, "MUST") }

// Name is how faults name the demand.
func (d Demand) Name() string {
	return fmt.Sprintf("line %d: %s section %s", d.Line, d.Document, d.Section)
}

// Anchor is a line of code. Text is part of it, and occurs once in the
// declaration; empty: the declaration as a whole. Broken is what to put in the
// place of Text to see the tests fail.
type Anchor struct {
	File, Decl, Text, Broken string
	Breakable                bool
}

// Test is a test, or one case of it.
type Test struct{ Package, Name, Case string }

var (
	demandLine = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)*) (MUST NOT|MUST|SHOULD NOT|SHOULD|says): (.+)$`)
	codeLine   = regexp.MustCompile("^(\\S+\\.go) (\\S+)(?: `([^`]+)`(?: => `([^`]*)`)?)?$")
	testLine   = regexp.MustCompile(`^(\S+) ((?:Test|Fuzz)\w+)(?:/(.+))?$`)
)

// Parse reads a table. The error names each line that cannot be read.
func Parse(table string) ([]Demand, error) {
	var demands []Demand
	var faults []error
	document := ""
	for i, line := range strings.Split(table, "\n") {
		n := i + 1
		last := len(demands) - 1
		detail, indented := strings.CutPrefix(line, "    ")
		more, continued := strings.CutPrefix(line, "  ")
		switch m := demandLine.FindStringSubmatch(line); {
		case line == "" || strings.HasPrefix(line, "#"):
		case m != nil:
			demands = append(demands, Demand{Line: n, Document: document, Section: m[1], Level: m[2], Text: m[3]})
		case indented && last >= 0:
			if err := demands[last].add(detail); err != nil {
				faults = append(faults, fmt.Errorf("line %d: %w", n, err))
			}
		case continued && last >= 0:
			demands[last].Text += " " + more
		case strings.HasPrefix(line, "RFC "), strings.HasPrefix(line, "dkimd"):
			document = line
		default:
			faults = append(faults, fmt.Errorf("line %d: neither a document nor a demand nor part of one", n))
		}
	}
	return demands, errors.Join(faults...)
}

func (d *Demand) add(detail string) error {
	key, value, _ := strings.Cut(detail, ": ")
	switch key {
	case "code":
		m := codeLine.FindStringSubmatch(value)
		if m == nil {
			return errors.New("code: want FILE DECLARATION `line` => `line`")
		}
		d.Code = append(d.Code, Anchor{m[1], m[2], m[3], m[4], strings.Contains(value, "` => `")})
	case "test":
		m := testLine.FindStringSubmatch(value)
		if m == nil {
			return errors.New("test: want PACKAGE TestName/case")
		}
		d.Tests = append(d.Tests, Test{m[1], m[2], m[3]})
	case "departs":
		d.Departs = value
	case "void":
		d.Void = value
	default:
		return fmt.Errorf("unknown word %q", key)
	}
	return nil
}
