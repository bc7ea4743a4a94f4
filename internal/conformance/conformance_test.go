package conformance_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dkimd/internal/conformance"
)

const root = "../.."

var (
	update = flag.Bool("update", false, "write docs/conformance.md")
	breaks = flag.Bool("break", false, "break each line that obeys, and see its test fail")
)

func table(t *testing.T) []conformance.Demand {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "conformance.txt"))
	if err != nil {
		t.Fatal(err)
	}
	demands, err := conformance.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return demands
}

func TestEveryDemandIsObeyedAndTested(t *testing.T) {
	t.Parallel()
	divergences, err := os.ReadFile(filepath.Join(root, "docs", "divergences.md"))
	if err != nil {
		t.Fatal(err)
	}
	source := conformance.NewSource(root)
	documents := map[string]int{}
	for _, d := range table(t) {
		rfc, _, _ := strings.Cut(d.Document, " (")
		documents[rfc]++
		if err := source.Check(d, string(divergences)); err != nil {
			t.Error(err)
		}
	}
	for _, document := range []string{"RFC 6376", "RFC 8301", "RFC 8463", "RFC 8601", "RFC 6008", "RFC 8616"} {
		if documents[document] == 0 {
			t.Errorf("nothing of %s", document)
		}
	}
}

func TestPageIsThatOfTheTable(t *testing.T) {
	t.Parallel()
	page := conformance.Page(table(t))
	name := filepath.Join(root, "docs", "conformance.md")
	if *update {
		if err := os.WriteFile(name, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page {
		t.Error("docs/conformance.md is not that of docs/conformance.txt: go test ./internal/conformance -update")
	}
}

// The lines of the table are not only there: without them the tests fail. This
// builds and runs a test for each, so it is not part of every run.
func TestBrokenLinesAreNoticed(t *testing.T) {
	t.Parallel()
	if !*breaks {
		t.Skip("takes minutes: scripts/conformance")
	}
	source := conformance.NewSource(root)
	for _, d := range table(t) {
		for _, a := range d.Code {
			if !a.Breakable {
				continue
			}
			t.Run(d.Section+" "+a.Decl, func(t *testing.T) {
				broken, err := source.Broken(a)
				if err != nil {
					t.Fatal(err)
				}
				for _, test := range d.Tests {
					if fails(t, a.File, broken, test) {
						return
					}
				}
				t.Errorf("%s: nothing fails without %q", d.Name(), a.Text)
			})
		}
	}
}

// fails reports whether a test fails when a file has another text.
func fails(t *testing.T, file, text string, test conformance.Test) bool {
	t.Helper()
	dir := t.TempDir()
	original, err := filepath.Abs(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	replaced := filepath.Join(dir, "broken.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replaced}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{replaced: []byte(text), filepath.Join(dir, "overlay.json"): overlay} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := "^" + test.Name + "$"
	if test.Case != "" {
		run += "/^" + regexp.QuoteMeta(strings.ReplaceAll(test.Case, " ", "_")) + "$"
	}
	command := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-vet=off", "-timeout=60s",
		"-overlay", filepath.Join(dir, "overlay.json"), "-run", run, "./"+test.Package)
	command.Dir = root
	out, err := command.CombinedOutput()
	switch {
	case strings.Contains(string(out), "no tests to run"):
		t.Errorf("no test %s in %s", run, test.Package)
	case err != nil && !strings.Contains(string(out), "--- FAIL") && !strings.Contains(string(out), "panic: "):
		t.Fatalf("%s does not build when broken: %s", file, out)
	}
	return err != nil
}
