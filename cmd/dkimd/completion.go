package main

import (
	"slices"
	"strings"

	"dkimd/internal/config"
	"dkimd/keys"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// This file has what shells complete: from the files of the configuration that --config names, without asking
// DNS or reading a key, and nothing at all where something is broken.

// completion gives the words that may stand where the cursor is, behind args.
type completion = cobra.CompletionFunc

// places completes each argument by its place.
func places(each ...completion) completion {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(each) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return each[len(args)](cmd, args, begun)
	}
}

// oneOf completes one of a few words.
func oneOf(list ...string) completion {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
}

// files completes a file whose name has this ending; empty: any.
func files(ending string) completion {
	if ending == "" {
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	}
	return cobra.FixedCompletions([]string{ending}, cobra.ShellCompDirectiveFilterFileExt)
}

// configured is the configuration as far as it can be read.
func configured(cmd *cobra.Command) *config.Config {
	c, _ := config.Load(configFile(cmd))
	return c
}

// signingDomains completes a domain that has a directory of keys.
func signingDomains(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, name := range keys.Names(configured(cmd).Sign.Directory) {
		if strings.HasPrefix(string(name), begun) { // shells choose, too, but there may be 100,000
			names = append(names, string(name))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// selectors completes a selector of the domain in front of it.
func selectors(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return selectorsOf(cmd, args, func(*keys.Key) bool { return true }), cobra.ShellCompDirectiveNoFileComp
}

// waiting completes a selector that can be activated.
func waiting(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return selectorsOf(cmd, args, (*keys.Key).Pending), cobra.ShellCompDirectiveNoFileComp
}

// selectorsOf are those of the domain in args, each with its state.
func selectorsOf(cmd *cobra.Command, args []string, wanted func(*keys.Key) bool) []string {
	d, err := keys.Find(keys.Config{Directory: configured(cmd).Sign.Directory}, args[0])
	if err != nil {
		return nil
	}
	var list []string
	for _, k := range slices.Concat(d.Keys, d.Pending) {
		if wanted(k) {
			list = append(list, cobra.CompletionWithDesc(k.Selector, k.Role()))
		}
	}
	return list
}

// milters completes a socket of dkimd, or a path.
func milters(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return configured(cmd).Milter.Listen, cobra.ShellCompDirectiveDefault
}

// completeFlag says what the value of a flag may be.
func completeFlag(c *cobra.Command, flag string, values completion) {
	if err := c.RegisterFlagCompletionFunc(flag, values); err != nil {
		panic(err) // there is no such flag
	}
}

// completeNothingElse keeps shells from offering files where neither an argument nor a flag is one.
func completeNothingElse(c *cobra.Command) {
	if c.ValidArgsFunction == nil {
		c.ValidArgsFunction = oneOf()
	}
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, known := c.GetFlagCompletionFunc(f.Name); !known {
			_ = c.RegisterFlagCompletionFunc(f.Name, oneOf()) // only a flag that c does not have is an error
		}
	})
	for _, sub := range c.Commands() {
		completeNothingElse(sub)
	}
}
