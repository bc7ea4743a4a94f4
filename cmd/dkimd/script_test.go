package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dkimd/internal/config"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"dkimd": func() {
			args := os.Args[1:]
			// Of the hosts that tests run on some have a user dkimd: what check says must not depend on it.
			if len(args) > 0 && (args[0] == "check" || args[0] == "import") && !slices.Contains(args, "--user") {
				args = append(args, "--user", strconv.Itoa(os.Geteuid()))
			}
			os.Exit(run(context.Background(), args, stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
		},
	})
}

// Each archive in testdata/script is one command, or one fault an operator
// makes, with what is printed and the exit status.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": status,
			"faults": faults,
			"dns":    addZone,
			"broken": breakName,
			"asked":  asked,
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("no such condition: " + name)
		},
		Setup: prepareScript,
	})
}

// The archives hold a wrong value for every key there is: of dkimd.toml by its
// reference, of domain.toml and of rules by the lists that unknown keys are answered with.
func TestEveryKeyHasItsFault(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	fault := regexp.MustCompile(`(?m)^dkimd: (?:\S*/)?([a-z.]+\.toml):\d+: (\S+): got (an unknown key; want one of (.*)$)?`)
	index := regexp.MustCompile(`\[\d+\]`)
	pinned, wanted := map[string]bool{}, map[string]bool{}
	for _, archive := range archives {
		text, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fault.FindAllStringSubmatch(string(text), -1) {
			file, key := m[1], index.ReplaceAllString(m[2], "")
			table := key[:strings.LastIndexByte(key, '.')+1]
			pinned[file+" "+key] = pinned[file+" "+key] || m[3] == ""
			for name := range strings.SplitSeq(m[4], ", ") {
				if name != "" && (file != "dkimd.toml" || table != "") {
					wanted[file+" "+table+name] = true
				}
			}
		}
	}
	for _, key := range config.Keys() {
		wanted["dkimd.toml "+key] = true
	}
	for key := range wanted {
		if !pinned[key] {
			t.Errorf("no archive has a wrong value for %s", key)
		}
	}
	if len(wanted) < 50 {
		t.Errorf("only %d keys found", len(wanted))
	}
}

// Every fault that the archives pin names the file, what is there and what belongs there; there
// are plenty of each kind.
func TestFaultsHaveOneForm(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^dkimd: (warning: )?\S.*?(:\d+)?: (\S+: )?got .+; want .+$`)
	for pattern, least := range map[string]int{"config-*": 200, "keys-[dft]*": 90, "rules-*": 110, "serve-*": 12} {
		archives, err := filepath.Glob(filepath.Join("testdata", "script", pattern+".txtar"))
		if err != nil || len(archives) == 0 {
			t.Fatal("no archives", pattern, err)
		}
		pinned := map[string]bool{}
		for _, archive := range archives {
			text, err := os.ReadFile(archive)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSuffix(line, "\n")
				switch {
				case !strings.HasPrefix(line, "dkimd: "), strings.HasPrefix(line, "dkimd: serve: "): // the last: a wrong call
				case form.MatchString(line):
					pinned[line] = true
				default:
					t.Errorf("%s: no FILE:LINE: KEY: got VALUE; want WHAT: %s", archive, line)
				}
			}
		}
		if len(pinned) < least {
			t.Errorf("%s: only %d faults are pinned", pattern, len(pinned))
		}
		t.Logf("%s: %d faults", pattern, len(pinned))
	}
}
