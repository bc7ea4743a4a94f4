package policy

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dkimd/internal/fault"
	"dkimd/internal/tomlfile"
)

// testSuffix ends the names of files that hold test cases: gmail.com.test.toml.
const testSuffix = ".test.toml"

// caseLine is what only a file of test cases has; it tells gmail.com.test.toml from
// the rules of a domain below .test, which exists in laboratories alone (RFC 2606
// section 2). It is found in a file with a syntax error too.
var caseLine = regexp.MustCompile(`(?m)^[ \t]*\[\[[ \t]*case[ \t]*\]\]`)

// Tests are the paths of the files of test cases beside the rules.
func (r *Rules) Tests() []string {
	if r == nil {
		return nil
	}
	return slices.Clone(r.tests)
}

// RunTest tries the cases of a file on the rules, as if every rules file were in
// enforce mode. It returns how many there are and what is wrong: mistakes in the
// file, and cases that do not come out as they say.
func (r *Rules) RunTest(path string) (int, fault.Faults) {
	data, err := readFile(path)
	if err != nil {
		return 0, fault.Faults{{Path: path, Got: reason(err), Want: "a file that dkimd can read"}}
	}
	doc := tomlfile.Parse(path, data)
	tables := doc.Root().Tables("case")
	cases := make([]testCase, len(tables))
	for i, t := range tables {
		cases[i] = readCase(t, path)
	}
	if faults := doc.Faults(); len(faults) > 0 {
		return len(cases), faults
	}
	var faults fault.Faults
	for i, t := range tables {
		if got, want := cases[i].try(r); got != "" {
			faults = append(faults, fault.Fault{Path: path, Line: t.Line(), Key: fmt.Sprintf("case[%d] %q", i+1, cases[i].name), Got: got, Want: want, Hint: "dkimd policy explain"})
		}
	}
	if len(cases) == 0 {
		faults = append(faults, fault.Fault{Path: path, Got: "no [[case]]", Want: "at least one"})
	}
	return len(cases), faults
}

// DirectoryOf is the rules directory that a file is in.
func DirectoryOf(path string) string {
	dir := filepath.Dir(path)
	if filepath.Base(dir)+"/" == recipientDirectory {
		return filepath.Dir(dir)
	}
	return dir
}

// domainOfTest is the domain whose rules a file of that name is about.
func domainOfTest(path string) string {
	name := filepath.Base(path)
	if stem, ok := strings.CutSuffix(strings.ToLower(name), testSuffix); ok {
		if name, hint := domainOfFile(stem + ".toml"); hint == "" {
			return string(name)
		}
	}
	return "example.com"
}

// testCase is one [[case]]: a message, and what should happen to it.
type testCase struct {
	name   string
	sample Sample
	action string
	rule   string // empty: whichever
	reply  string // the same
}

// readCase reads one case. What it does not say is that of an unsigned message
// from the domain, or in for/ to the domain.
func readCase(t *tomlfile.Table, path string) testCase {
	author, recipient := "someone@"+domainOfTest(path), "postmaster@localhost"
	if DirectoryOf(path) != filepath.Dir(path) {
		author, recipient = "someone@example.com", "postmaster@"+domainOfTest(path)
	}
	from := t.Strings("from", []string{author})
	first := ""
	if len(from) > 0 {
		first = from[0]
	}
	c := testCase{
		name: t.String("name", ""),
		sample: Sample{
			From: from, FromFields: int(t.Int("from_fields", 0, 0, 100)), Sender: t.String("sender", first), Client: t.String("client", SampleClient),
			Recipients: t.Strings("recipients", []string{recipient}), List: t.Bool("list", false),
			Signatures: t.Strings("signatures", nil), Published: t.String("published", ""),
			Testing: t.Bool("published_testing", false), DMARC: t.String("dmarc", ""), SPF: t.String("spf", ""),
		},
		action: t.Enum("action", "", "accept", "quarantine", "discard", "tempfail", "reject"),
		rule:   t.String("rule", ""),
		reply:  t.String("reply", ""),
	}
	if !t.Has("action") {
		t.Fault("action", "accept, quarantine, discard, tempfail or reject", "say what should happen to this message")
	}
	if _, _, err := c.sample.Message(); err != nil {
		f, _ := errors.AsType[fault.Fault](err)
		t.Fault(f.Key, f.Want, "")
	}
	return c
}

// try is what came out and what should have, or nothing.
func (c *testCase) try(r *Rules) (got, want string) {
	m, report, err := c.sample.Message()
	if err != nil {
		return err.Error(), "a message"
	}
	v := r.Select(m).Judge(report).Enforced()
	if v.Action.String() == c.action && (c.rule == "" || c.rule == v.Rule) && (c.reply == "" || c.reply == v.Reply.String()) {
		return "", ""
	}
	got = v.Action.String() + " by " + cmp.Or(v.Rule, "no rule")
	if v.File != "" {
		got += " of " + v.File
	}
	want = c.action
	if c.rule != "" {
		want += " by " + c.rule
	}
	if c.reply != "" {
		got, want = got+": "+v.Reply.String(), want+": "+c.reply
	}
	return got, want
}
