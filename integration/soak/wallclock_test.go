package soak_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wallClockUses are the places that ask for the time of day as a number, which jumps when
// somebody sets the clock. Everywhere else spans and deadlines are made of time.Time, which
// carries the monotonic clock, and must go on doing so.
func wallClockUses() map[string]string {
	return map[string]string{
		"internal/daemon/removal.go":      "the time a configuration was loaded is a name for it, in a hash",
		"internal/publish/update.go":      "TSIG signs the time of day (RFC 8945 section 5.2)",
		"internal/rotate/begin.go":        "a domain has its day of the calendar, whenever dkimd started",
		"keys/renew.go":                   "the last signature is remembered across restarts",
		"internal/metrics/metrics.go":     "Prometheus has points in time as seconds since 1970",
		"cmd/dkimd/records.go":            "journalctl is asked for records since a time of day",
		"internal/statuspage/history.go":  "the page shows what came at which time of day",
		"internal/statuspage/snapshot.go": "and for how many hours back",
		"signer/sign.go":                  "t= and x= are times of day (RFC 6376 section 3.5)",
		"verifier/judge.go":               "so they are compared with the time of day",
	}
}

// TestSpansAreNotMeasuredOnTheWallClock looks for what drops the monotonic clock of a
// time.Time: Unix and its like, Round(0) and AddDate.
func TestSpansAreNotMeasuredOnTheWallClock(t *testing.T) {
	t.Parallel()
	const root = "../.."
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "integration" || strings.HasPrefix(entry.Name(), ".") && path != root):
			return fs.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !dropsMonotonic(call) {
				return true
			}
			found[name] = true
			if wallClockUses()[name] == "" {
				t.Errorf("%s uses the time of day; if it must, say why in wallClockUses", files.Position(call.Pos()))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(wallClockUses())) {
		if !found[name] {
			t.Errorf("%s does not use the time of day any more: take it out of wallClockUses", name)
		}
	}
}

// dropsMonotonic reports a call of a method of time.Time after which the monotonic clock is gone.
func dropsMonotonic(call *ast.CallExpr) bool {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	switch method.Sel.Name {
	case "Unix", "UnixMilli", "UnixMicro", "UnixNano": // not time.Unix(s, ns), which makes a time
		return len(call.Args) == 0
	case "AddDate":
		return true
	case "Round":
		zero, ok := call.Args[0].(*ast.BasicLit)
		return ok && zero.Value == "0"
	}
	return false
}
