package conformance

import (
	"fmt"
	"path"
	"strings"
)

const head = `# What the RFCs demand, and where dkimd obeys

Generated from conformance.txt by internal/conformance; do not edit. Each MUST and SHOULD of RFC 6376 sections 3 to 6, RFC 8301,
RFC 8463, RFC 8601 sections 2 to 5, RFC 6008 and RFC 8616 section 5 that binds a signer or verifier, in our words, with the line
that obeys and the test that would fail. Notes of the RFCs that use these words count, words in lower case do not; *says* marks
what binds all the same, such as the steps of an algorithm. ` + "`make check`" + ` fails where a line or test is missing. Departures on
purpose are explained in [divergences.md](divergences.md).
`

// Page is docs/conformance.md.
func Page(demands []Demand) string {
	var b strings.Builder
	b.WriteString(head)
	musts, departs := 0, 0
	for _, d := range demands {
		if d.Must() {
			musts++
		}
		if d.Departs != "" {
			departs++
		}
	}
	fmt.Fprintf(&b, "\n%d demands, %d of them a MUST; %d departures.\n", len(demands), musts, departs)
	document := ""
	for _, d := range demands {
		if d.Document != document {
			document = d.Document
			fmt.Fprintf(&b, "\n## %s\n\n| section | level | demand | obeyed by | test |\n|---|---|---|---|---|\n", document)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", d.Section, d.Level, cell(d.Text), obeyed(d), tests(d))
	}
	return b.String()
}

func obeyed(d Demand) string {
	var list []string
	switch {
	case d.Departs != "":
		list = append(list, "[departs](divergences.md): "+cell(d.Departs))
	case d.Void != "":
		list = append(list, "does not bind: "+cell(d.Void))
	}
	for _, a := range d.Code {
		text := fmt.Sprintf("[%s](../%s)", a.Decl, a.File)
		if a.Text != "" {
			text += ": `" + cell(a.Text) + "`"
		}
		list = append(list, text)
	}
	return strings.Join(list, "<br>")
}

func tests(d Demand) string {
	var list []string
	for _, t := range d.Tests {
		text := path.Base(t.Package) + " " + t.Name
		if t.Case != "" {
			text += ": " + cell(t.Case)
		}
		list = append(list, text)
	}
	return strings.Join(list, "<br>")
}

// cell is text in a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
