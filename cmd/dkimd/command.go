package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/exim/filter"
	"dkimd/internal/fault"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // it was tried and did not work out
	exitFix    = 2 // the user has to fix something first
)

const defaultConfig = "/etc/dkimd/dkimd.toml"

// helpWidth is how many columns the help of a command takes at most.
const helpWidth = 80

// stdio is what a command reads and writes: results go to out, all else to err.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// userError is an error that the user can fix, with a hint where one helps.
type userError struct {
	err  error
	hint string
}

func (e userError) Error() string { return e.err.Error() }
func (e userError) Unwrap() error { return e.err }

// usageError is for a command line that cannot be understood; help is the command that explains it.
func usageError(err error, help string) error { return userError{err, "dkimd " + help} }

// errQuiet ends a command with status 1, within a userError with 2; everything has been printed.
var errQuiet = errors.New("failed")

// run carries out one command line and returns its exit status.
func run(ctx context.Context, args []string, std stdio) int {
	if len(args) > 1 && args[0] == eximSignName && args[1] != "--help" && args[1] != "-h" {
		return filter.Command(args[1:], std.in, std.out)
	}
	root := newRoot(std)
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	if isReply(args) {
		return replyStatus(std, func() error { return root.ExecuteContext(ctx) })
	}
	return exitStatus(root.ExecuteContext(ctx), daemon.WithPriorities(std.err))
}

// exitStatus prints an error and returns the status for it.
func exitStatus(err error, stderr io.Writer) int {
	if err == nil {
		return exitDone
	}
	if !errors.Is(err, errQuiet) {
		report(stderr, err)
		if user, _ := errors.AsType[userError](err); user.hint != "" {
			fmt.Fprintf(stderr, "hint: %s\n", user.hint)
		}
	}
	if forUser(err) {
		return exitFix
	}
	return exitFailed
}

// forUser reports whether an error is one that the user has to fix first.
func forUser(err error) bool {
	_, user := errors.AsType[userError](err)
	_, faulty := errors.AsType[fault.Faults](err)
	return user || faulty
}

// report prints an error, which may be several, one a line.
func report(stderr io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "dkimd: %s\n", strings.TrimSuffix(line, "\n"))
	}
}

func newRoot(std stdio) *cobra.Command {
	root := &cobra.Command{
		Use:   "dkimd",
		Short: "Sign and verify mail with DKIM, beside Postfix and Exim",
		Long: `dkimd signs outgoing mail and verifies incoming mail with DKIM, beside a mail
server that calls it as a milter. A rules file per sender domain says what
happens to mail whose signatures do not hold up.

Start with: dkimd demo`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Version:           versionString(),
	}
	root.SetVersionTemplate(newVersion().line())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(err, helpOf(cmd))
	})
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "Flags.FlagUsages ", fmt.Sprintf("Flags.FlagUsagesWrapped %d ", helpWidth)))
	root.PersistentFlags().String("config", defaultConfig, "configuration `file`")
	completeFlag(root, "config", files("toml"))
	withCommands(root,
		serveCommand(std), reloadCommand(std), statusCommand(std), checkCommand(std), configCommand(std), keyCommand(std), signCommand(std), verifyCommand(std), demoCommand(std), importCommand(std),
		probeCommand(std), logCommand(std), reportCommand(std), policyCommand(std), eximSignCommand(), versionCommand(std),
	)
	completeNothingElse(root)
	return root
}

// withCommands makes a command one that only holds others.
func withCommands(group *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	group.SuggestionsMinimumDistance = 2 // letters that are wrong
	group.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		path := strings.TrimPrefix(group.CommandPath()+" ", "dkimd ")
		err := fmt.Errorf("there is no command %q", path+args[0])
		if similar := group.SuggestionsFor(args[0]); len(similar) > 0 {
			return userError{err, "did you mean dkimd " + path + similar[0] + "?"}
		}
		return usageError(err, path+"--help")
	}
	group.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	group.AddCommand(commands...)
	return group
}

// helpOf is the command, after dkimd, that prints the help of cmd.
func helpOf(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath()+" --help", "dkimd ")
}

// arguments names what a command's arguments are; those in brackets may be left out.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		help := helpOf(cmd)
		if len(args) > len(names) {
			return usageError(fmt.Errorf("%s: unexpected argument %q", cmd.Name(), args[len(names)]), help)
		}
		if len(args) < len(names) && !strings.HasPrefix(names[len(args)], "[") {
			return usageError(fmt.Errorf("%s: the %s is missing", cmd.Name(), names[len(args)]), help)
		}
		return nil
	}
}

// configFile is the --config of a command and whether the operator named it.
func configFile(cmd *cobra.Command) (path string, named bool) {
	flag := cmd.Flag("config")
	return flag.Value.String(), flag.Changed
}

// load reads the configuration file of a command.
func load(cmd *cobra.Command) (*config.Config, error) {
	path, named := configFile(cmd)
	c, faults := config.Load(path, named)
	if len(faults) > 0 {
		return nil, faults
	}
	return c, nil
}
