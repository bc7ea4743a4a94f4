package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dkimd/internal/message"
	"dkimd/policy"
	"dkimd/verifier"
)

const rejectAll = "mode='enforce'\n[[rule]]\naction='reject'\n"

// verdictFor judges an unsigned message of a domain.
func verdictFor(rules *policy.Rules, domain string) string {
	v := rules.Select(policy.Message{From: from("x@" + domain)}).Judge(&verifier.Report{})
	return v.Action.String() + " " + v.Rule
}

// TestFileNames: which files are rules, and for which domain.
func TestFileNames(t *testing.T) {
	t.Parallel()
	const junk = " the name of a domain and .toml, or _default.toml (hint: rename or remove it)"
	tests := map[string]struct{ domain, want string }{ // domain: governed by the file
		"gmail.com.toml":             {"gmail.com", ""},
		"Gmail.COM.toml":             {"gmail.com", ""},
		"gmail.com.TOML":             {"gmail.com", ""},
		"bücher.example.toml":        {"xn--bcher-kva.example", ""},
		"xn--bcher-kva.example.toml": {"xn--bcher-kva.example", ""},
		"localhost.toml":             {"localhost", ""},
		"a_b.example.toml":           {"a_b.example", ""},
		"mail.test.toml":             {"mail.test", ""}, // .test is a top-level domain (RFC 6761)
		"gmail.com.toml~":            {"", ""},
		"gmail.com.toml.bak":         {"", ""},
		"gmail.com.toml.dpkg-new":    {"", ""},
		".gmail.com.toml.swp":        {"", ""},
		".gmail.com.toml":            {"", ""},
		"#gmail.com.toml#":           {"", ""},
		"#gmail.com.toml":            {"", ""},
		"README":                     {"", ""},
		"gmail.com..toml":            {"", `gmail.com..toml: got "gmail.com..toml"; want` + junk},
		"gmail com.toml":             {"", `gmail com.toml: got "gmail com.toml"; want` + junk},
		"gmail,com.toml":             {"", `gmail,com.toml: got "gmail,com.toml"; want` + junk},
		"gmail.com (copy).toml":      {"", `gmail.com (copy).toml: got "gmail.com (copy).toml"; want` + junk},
		"gmail.com~.toml":            {"", `gmail.com~.toml: got "gmail.com~.toml"; want` + junk},
		"a\nb.toml":                  {"", `a\nb.toml: got "a\nb.toml"; want` + junk},
		"*.gmail.com.toml":           {"", `*.gmail.com.toml: got "*.gmail.com.toml"; want the name of a domain and .toml, or _default.toml (hint: name it gmail.com.toml and write subdomains = true in it)`},
		"x@gmail.com.toml":           {"", `x@gmail.com.toml: got "x@gmail.com.toml"; want the name of a domain and .toml, or _default.toml (hint: rules are for whole domains: leave out what stands before and with the @)`},
		"_defaults.toml":             {"", `_defaults.toml: got "_defaults.toml"; want the name of a domain and .toml, or _default.toml (hint: names with _ in front are reserved; the rules for all other mail are in _default.toml)`},
		"_default.toml":              {"anything.example", ""},
	}
	for name, test := range tests {
		dir := write(t, map[string]string{name: rejectAll})
		rules, faults := policy.Load(dir, nil)
		if got := texts(dir, faults); got != test.want {
			t.Errorf("%q: got %s; want %s", name, got, test.want)
		}
		if got := rules.FaultUnknown().Action == policy.TempFail; got != (test.domain != "") {
			t.Errorf("%q: judges: %v", name, got)
		}
		if test.domain != "" && verdictFor(rules, test.domain) != "reject rule 1" {
			t.Errorf("%q: %s", name, verdictFor(rules, test.domain))
		}
	}
	rules := load(t, map[string]string{"default.toml": "[[rule]]\nresult='none'\naction='reject'\n"})
	if got := texts("", rules.Warnings()); !strings.HasSuffix(got, "default.toml: got rules for a domain named default; want _default.toml for the mail no other file claims (hint: rename it)") {
		t.Errorf("default.toml: %s", got)
	}
}

func TestTwoFilesForOneDomain(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"Gmail.com.toml": "", "gmail.com.toml": "", "bücher.example.toml": "subdomains=true", "xn--bcher-kva.example.toml": "", "ok.example.toml": ""})
	rules, faults := policy.Load(dir, nil)
	const want = "gmail.com.toml: got a second file for gmail.com; want one file for each domain (hint: join it with Gmail.com.toml)\n" +
		"xn--bcher-kva.example.toml: got a second file for xn--bcher-kva.example; want one file for each domain (hint: join it with bücher.example.toml)"
	if got := texts(dir, faults); got != want {
		t.Errorf("got %s", got)
	}
	for domain, want := range map[string]string{
		"gmail.com": "tempfail (rules file broken)", "a.gmail.com": "accept ", "ok.example": "accept ",
		"xn--bcher-kva.example": "tempfail (rules file broken)", "a.xn--bcher-kva.example": "tempfail (rules file broken)",
	} {
		if got := verdictFor(rules, domain); got != want {
			t.Errorf("%s: %s", domain, got)
		}
	}
	dir = write(t, map[string]string{"_default.toml": "", "_Default.toml": ""})
	rules, faults = policy.Load(dir, nil)
	if got := texts(dir, faults); got != "_default.toml: got a second _default.toml; want one (hint: remove one of the two)" || !rules.DefaultBroken() {
		t.Errorf("two defaults: %s", got)
	}
}

// TestBrokenFile: what a broken file is known to claim.
func TestBrokenFile(t *testing.T) {
	t.Parallel()
	const broken, accepted = "tempfail (rules file broken)", "accept "
	tests := map[string]struct{ toml, subdomain string }{
		"fault, no subdomains":              {"[[rule]]", accepted},
		"fault, subdomains":                 {"subdomains = true\n[[rule]]", broken},
		"no TOML, no subdomains":            {"x = \n", accepted},
		"no TOML, subdomains":               {"x = \n\tsubdomains=true # all\n", broken},
		"no TOML, subdomains in a comment":  {"x = \n#subdomains = true\n", accepted},
		"no TOML, no subdomains, expressly": {"x = \nsubdomains = false\n", accepted},
		"monitor mode is no excuse":         {"mode = \"monitor\"\nx", accepted},
		"no UTF-8":                          {"subdomains = true # caf\xe9", broken},
		"too large":                         {"subdomains = true\n" + strings.Repeat("#", policy.MaxFileBytes), accepted},
	}
	for name, test := range tests {
		dir := write(t, map[string]string{"gmail.com.toml": test.toml, "other.example.toml": rejectAll})
		rules, faults := policy.Load(dir, nil)
		if len(faults) == 0 {
			t.Errorf("%s: no fault", name)
		}
		if verdictFor(rules, "gmail.com") != broken || verdictFor(rules, "a.gmail.com") != test.subdomain || verdictFor(rules, "other.example") != "reject rule 1" {
			t.Errorf("%s: %s, below %s, other %s", name, verdictFor(rules, "gmail.com"), verdictFor(rules, "a.gmail.com"), verdictFor(rules, "other.example"))
		}
	}
}

// TestUnreadable: what the file system refuses. Links in a circle are refused to root too.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"loop.example.toml", "gone.example.toml", "_default.toml"} {
		target := name
		if name == "gone.example.toml" {
			target = "nowhere"
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.example.toml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir.example.toml"), 0o700); err != nil {
		t.Fatal(err)
	}
	rules, faults := policy.Load(dir, nil)
	const want = `_default.toml: got too many levels of symbolic links; want a file that dkimd can read (hint: fix or remove it)
dir.example.toml: got something that is not a regular file; want a file that dkimd can read (hint: fix or remove it)
gone.example.toml: got no such file or directory; want a file that dkimd can read (hint: fix or remove it)
loop.example.toml: got too many levels of symbolic links; want a file that dkimd can read (hint: fix or remove it)
pipe.example.toml: got something that is not a regular file; want a file that dkimd can read (hint: fix or remove it)`
	if got := texts(dir, faults); got != want {
		t.Errorf("got %s", got)
	}
	if !rules.DefaultBroken() {
		t.Error("_default.toml cannot be read and nobody says so")
	}
	for _, domain := range []string{"loop.example", "gone.example", "pipe.example", "dir.example", "other.example"} {
		if got := verdictFor(rules, domain); got != "tempfail (rules file broken)" {
			t.Errorf("%s: %s", domain, got)
		}
	}

	for name, path := range map[string]string{"a file": filepath.Join(write(t, map[string]string{"x": ""}), "x"), "a link to nowhere": filepath.Join(dir, "gone.example.toml")} {
		rules, faults := policy.Load(path, nil)
		if len(faults) != 1 || !rules.DefaultBroken() || verdictFor(rules, "x.example") != "tempfail (rules file broken)" || rules.FaultUnknown().Action != policy.TempFail {
			t.Errorf("%s for a directory: %v, %s", name, faults, verdictFor(rules, "x.example"))
		}
	}
	for _, path := range []string{"", filepath.Join(dir, "absent")} {
		rules, faults := policy.Load(path, nil)
		if len(faults) > 0 || rules.Len() != 0 || rules.DefaultBroken() || verdictFor(rules, "x.example") != "accept " {
			t.Errorf("no directory %q: %v", path, faults)
		}
	}
}

// TestFilesOfTheSameContent share their rules, and nothing else.
func TestFilesOfTheSameContent(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 50 {
		files[fmt.Sprintf("d%d.example.toml", i)] = "mode='enforce'\nsubdomains=false\n[[rule]]\nresult='none'\naction='reject'\n[[rule]]\nlist=true\naction='accept'\n"
		files[fmt.Sprintf("b%d.example.toml", i)] = "x = 1"
	}
	files["_default.toml"] = "mode='enforce'\n[[rule]]\nfrom=['missing','multiple']\naction='reject'\n"
	dir := write(t, files)
	rules, faults := policy.Load(dir, nil)
	if rules.Len() != 100 || len(faults) != 50 || len(rules.Warnings()) != 50 {
		t.Fatalf("%d files, %d faults, %d warnings", rules.Len(), len(faults), len(rules.Warnings()))
	}
	seen := map[string]bool{}
	for _, f := range append(faults, rules.Warnings()...) {
		seen[f.Path] = true
	}
	if len(seen) != 100 {
		t.Errorf("faults and warnings of %d files", len(seen))
	}
	c := rules.Select(policy.Message{From: from("x@d7.example")})
	if got := said(c.Judge(&verifier.Report{})); got != "reject by rule 1: 550 5.7.20 this message from d7.example has no DKIM signature, and local policy asks for one" {
		t.Error(got)
	}
	if got := c.Judge(&verifier.Report{}).File; got != "d7.example.toml" {
		t.Error(got)
	}
}

// BenchmarkSelectAndJudge: the time of a message does not grow with the number of files.
func BenchmarkSelectAndJudge(b *testing.B) {
	for _, n := range []int{1, 20_000} {
		b.Run(fmt.Sprint(n, " files"), func(b *testing.B) {
			files := map[string]string{"gmail.com.toml": eximRule}
			for i := range n - 1 {
				files[fmt.Sprintf("d%d.example.toml", i)] = eximRule
			}
			rules := load(b, files)
			report := &verifier.Report{Results: []verifier.Result{sig("gmail.com", pass), sig("esp.example", pass)}}
			m := gmail().msg
			m.From.Claimed[0], m.Client = "mail.gmail.com", message.NewClient("", "192.0.2.1")
			b.ReportAllocs()
			for b.Loop() {
				rules.Select(m).Judge(report)
			}
		})
	}
}
