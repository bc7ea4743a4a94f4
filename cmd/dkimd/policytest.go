package main

import (
	"fmt"
	"io"
	"strings"

	"dkimd/internal/fault"
	"dkimd/internal/terminal"
	"dkimd/policy"

	"github.com/spf13/cobra"
)

func policyTestCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "test [FILE]",
		Short: "Try the rules on test cases",
		Long: `Test tries the cases of FILE, such as gmail.com.test.toml, on the rules in the
same directory, and prints those whose result is not the expected one. Every
rules file is taken as in enforce mode. Without FILE it tries all cases in the
directory of [policy], as dkimd check does.

Exit status: 0 every result is the expected one, 2 fix something first.`,
		Args: arguments("[file]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := load(cmd)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				if !strings.HasSuffix(args[0], ".test.toml") {
					return userError{
						fmt.Errorf("%s is not a file of test cases: the names of those end in .test.toml", args[0]),
						"dkimd policy test " + strings.TrimSuffix(args[0], ".toml") + ".test.toml",
					}
				}
				rules, faults := policy.Load(policy.DirectoryOf(args[0]), c.Lists)
				return testRules(std.out, rules, faults, args)
			}
			rules, faults := policy.Load(c.Policy.Directory, c.Lists)
			if len(rules.Tests()) == 0 {
				return userError{fmt.Errorf("there are no test cases in %s", c.Policy.Directory), "write some into DOMAIN.test.toml"}
			}
			return testRules(std.out, rules, faults, rules.Tests())
		},
	}
}

func testRules(w io.Writer, rules *policy.Rules, faults fault.Faults, paths []string) error {
	count := 0
	for _, path := range paths {
		n, failed := rules.RunTest(path)
		count += n
		faults = append(faults, failed...)
	}
	if len(faults) > 0 {
		return faults
	}
	_, err := fmt.Fprintf(w, "%s in %s: all as they say (client %s where a case names none)\n",
		terminal.Plural(count, "case"), terminal.Plural(len(paths), "file"), policy.SampleClient)
	return err
}
