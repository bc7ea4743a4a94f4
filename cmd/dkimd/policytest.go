package main

import (
	"fmt"
	"strings"

	"dkimd/internal/terminal"
	"dkimd/policy"

	"github.com/spf13/cobra"
)

func policyTestCommand(std stdio) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:   "test [FILE]",
		Short: "Try the rules on test cases",
		Long: `Test tries the cases of FILE, such as gmail.com.test.toml, on the rules in the
same directory, and prints those whose result is not the expected one. Every
rules file is taken as in enforce mode. Without FILE it tries all cases in the
directory of [policy], as dkimd check does.

Exit status: 0 every result is the expected one, 2 fix something first.`,
		Args:              arguments("[file]"),
		ValidArgsFunction: places(files("test.toml")),
		RunE: func(cmd *cobra.Command, args []string) error {
			t := &testedRules{Files: []testedFile{}, Client: policy.SampleClient}
			return say(std, asJSON, t, t.test(cmd, args))
		},
	}, &asJSON)
}

// testedRules is the answer of the command. A case with another result is one of the faults.
type testedRules struct {
	Files  []testedFile `json:"files"`
	Client string       `json:"client"` // of cases that name none
	found
}

// testedFile is a file of test cases.
type testedFile struct {
	Path  string `json:"path"`
	Cases int    `json:"cases"`
}

func (t *testedRules) test(cmd *cobra.Command, paths []string) error {
	c, err := load(cmd)
	if err != nil {
		return err
	}
	directory := c.Policy.Directory
	if len(paths) > 0 {
		if !strings.HasSuffix(paths[0], ".test.toml") {
			return userError{
				fmt.Errorf("%s is not a file of test cases: the names of those end in .test.toml", paths[0]),
				"dkimd policy test " + strings.TrimSuffix(paths[0], ".toml") + ".test.toml",
			}
		}
		directory = policy.DirectoryOf(paths[0])
	}
	rules, faults := policy.Load(directory, c.Lists)
	if len(paths) == 0 {
		paths = rules.Tests()
	}
	if len(paths) == 0 {
		return userError{fmt.Errorf("there are no test cases in %s", directory), "write some into DOMAIN.test.toml"}
	}
	for _, path := range paths {
		n, failed := rules.RunTest(path)
		t.Files = append(t.Files, testedFile{path, n})
		faults = append(faults, failed...)
	}
	return faults.Err()
}

func (t *testedRules) print(std stdio) error {
	count := 0
	for _, f := range t.Files {
		count += f.Cases
	}
	_, err := fmt.Fprintf(std.out, "%s in %s: all as they say (client %s where a case names none)\n",
		terminal.Plural(count, "case"), terminal.Plural(len(t.Files), "file"), t.Client)
	return err
}
