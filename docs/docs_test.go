// Package docs_test holds what the documents say of the repository as a whole against it.
// Other packages do the same for what they own: commands, messages, metrics, keys of files.
package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// imports are the packages of the project and what each imports of it, tests apart.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "dkimd/...")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		var ours []string
		for path := range strings.FieldsSeq(line) {
			if path, found := strings.CutPrefix(path, "dkimd/"); found {
				ours = append(ours, path)
			}
		}
		packages[ours[0]] = ours[1:]
	}
	return packages
}

// layers are the lines of design.md in which no package imports one of its own line or above.
func layers(t *testing.T) map[string]int {
	t.Helper()
	_, text, found := strings.Cut(read(t, "design.md"), "lines below its own")
	_, text, begins := strings.Cut(text, "```\n")
	text, _, ends := strings.Cut(text, "```\n")
	if !found || !begins || !ends {
		t.Fatal("design.md has no list of layers")
	}
	layer := map[string]int{}
	for i, line := range strings.Split(text, "\n") {
		for name := range strings.FieldsSeq(line) {
			if _, twice := layer[name]; twice {
				t.Errorf("design.md: %s stands in two layers", name)
			}
			layer[name] = i
		}
	}
	return layer
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	packages, layer := imports(t), layers(t)
	product := map[string]bool{"cmd/dkimd": true, "cmd/dkimd-exim-sign": true}
	for from, all := range packages {
		if strings.HasPrefix(from, "integration") {
			continue
		}
		for _, to := range all {
			product[to] = true
			above, known := layer[from]
			if below, knownToo := layer[to]; known && knownToo && below <= above {
				t.Errorf("%s imports %s, which does not stand on a line below it in design.md", from, to)
			}
		}
	}
	for name := range product {
		if _, found := layer[name]; !found {
			t.Errorf("design.md: %s stands in no layer", name)
		}
	}
	for name := range layer {
		if !product[name] {
			t.Errorf("design.md: %s stands in a layer, and nothing imports it", name)
		}
	}
}

// A package has a row in the tree, or is named in that of the folder above it.
func TestTreeHasEveryPackage(t *testing.T) {
	t.Parallel()
	rows := map[string]string{}
	_, tree, _ := strings.Cut(read(t, "design.md"), "\n## The tree\n")
	tree, _, _ = strings.Cut(tree, "\n## ")
	for line := range strings.Lines(tree) {
		if cells := strings.SplitN(line, "|", 3); len(cells) == 3 && strings.HasPrefix(cells[1], " `") {
			rows[strings.Trim(cells[1], " `")] = cells[2]
		}
	}
	packages := imports(t)
	delete(packages, "docs")
	for name := range packages {
		_, found := rows[name]
		if above, base := filepath.Split(name); !found && !strings.Contains(rows[strings.TrimSuffix(above, "/")], "`"+base+"`") {
			t.Errorf("the tree of design.md has no %s", name)
		}
	}
	for name := range rows {
		if _, found := packages[name]; !found {
			t.Errorf("the tree of design.md has %s, which is no package", name)
		}
	}
}

// Text is read in terminals and in diffs, too.
func TestLinesAreNotLong(t *testing.T) {
	t.Parallel()
	const limit = 120
	names, err := filepath.Glob("*.md")
	if err != nil || len(names) < 10 {
		t.Fatalf("%q, %v", names, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "conformance.md" }) // generated
	for _, name := range append(names, "../README.md", "../CONTRIBUTING.md", "../SECURITY.md", "../CHANGELOG.md") {
		code := false
		for i, line := range strings.Split(read(t, name), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				code = !code
			}
			text := !code && !strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "|")
			if n := utf8.RuneCountInString(line); text && n > limit {
				t.Errorf("%s:%d has %d characters, more than %d", name, i+1, n, limit)
			}
		}
	}
}

// A link between documents leads to a file that is there.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	names, _ := filepath.Glob("*.md")
	for _, name := range slices.Concat(names, []string{"../README.md", "../CONTRIBUTING.md", "../SECURITY.md", "../CHANGELOG.md"}) {
		targets := map[string]bool{}
		for _, part := range strings.Split(read(t, name), "](")[1:] {
			target, _, _ := strings.Cut(part, ")")
			if target, _, _ = strings.Cut(target, "#"); target != "" && !strings.Contains(target, "://") && !strings.ContainsAny(target, " \n") {
				targets[target] = true
			}
		}
		for target := range targets {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), target)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A rule that comes with dkimd is the same one wherever README and guides show it, and docs/policy.md explains each.
func TestShippedRulesAreThoseOfTheGuides(t *testing.T) {
	t.Parallel()
	rules := func(where, text string) []map[string]any {
		var file struct {
			Rule []map[string]any `toml:"rule"`
		}
		if err := toml.Unmarshal([]byte(text), &file); err != nil {
			t.Errorf("%s: %v", where, err)
		}
		return file.Rule
	}
	shipped := map[any]map[string]any{}
	files, _ := filepath.Glob("../packaging/rules/*.toml")
	for _, name := range files {
		for _, rule := range rules(name, read(t, name)) {
			shipped[rule["name"]] = rule
		}
	}
	if len(shipped) < 2 {
		t.Fatalf("%d rules", len(shipped))
	}
	guides, _ := filepath.Glob("*.md")
	shown := map[any]bool{}
	for _, name := range append(guides, "../README.md") {
		for _, block := range strings.Split("\n"+read(t, name), "\n```toml\n")[1:] {
			block, _, _ = strings.Cut(block, "\n```\n")
			for _, rule := range rules(name, block) {
				want := shipped[rule["name"]]
				if diff := cmp.Diff(want, rule); want != nil && diff != "" {
					t.Errorf("%s, rule %q: -packaging/rules +here\n%s", name, rule["name"], diff)
				}
				shown[rule["name"]] = shown[rule["name"]] || name == "policy.md"
			}
		}
	}
	for name := range shipped {
		if !shown[name] {
			t.Errorf("policy.md does not have the rule %q", name)
		}
	}
}
