package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/exim"
	"dkimd/internal/fault"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // it was tried and did not work out
	exitMend   = 2 // the operator must mend something first
)

const defaultConfig = "/etc/dkimd/dkimd.toml"

// stdio is what a command reads and writes: results go to out, all else to err.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// mend is an error that the operator must mend, with a hint where one helps.
type mend struct {
	err  error
	hint string
}

func (m mend) Error() string { return m.err.Error() }
func (m mend) Unwrap() error { return m.err }

// errQuiet ends a command with status 1; what there was to say is said.
var errQuiet = errors.New("failed")

// run carries out one command line and returns its exit status.
func run(ctx context.Context, args []string, std stdio) int {
	if len(args) > 1 && args[0] == eximSignName && args[1] != "--help" && args[1] != "-h" {
		return eximSign(args[1:], std.in, std.out)
	}
	root := newRoot(std)
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	return exitStatus(root.ExecuteContext(ctx), daemon.WithPriorities(std.err))
}

func exitStatus(err error, stderr io.Writer) int {
	var (
		faults fault.Faults
		fix    mend
		usage  usageError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errQuiet):
		return exitFailed
	case errors.As(err, &faults):
		for _, f := range faults {
			fmt.Fprintf(stderr, "dkimd: %v\n", f)
		}
		return exitMend
	case errors.As(err, &fix):
		report(stderr, err)
		if fix.hint != "" {
			fmt.Fprintf(stderr, "hint: %s\n", fix.hint)
		}
		return exitMend
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "dkimd: %v\nhint: dkimd %s\n", err, strings.TrimSpace(usage.help))
		return exitMend
	}
	report(stderr, err)
	return exitFailed
}

// report prints an error, which may be several, one a line.
func report(stderr io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "dkimd: %s\n", strings.TrimSuffix(line, "\n"))
	}
}

// usageError is a command line that cannot be understood.
type usageError struct {
	error
	help string
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
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q", args[0]), "help"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{err, strings.TrimPrefix(cmd.CommandPath()+" --help", "dkimd ")}
	})
	root.PersistentFlags().String("config", defaultConfig, "configuration `file`")
	root.AddCommand(
		serveCommand(std), checkCommand(std), configCommand(std), keyCommand(std), signCommand(std), verifyCommand(std),
		demoCommand(std), probeCommand(std), logCommand(std), policyCommand(std), eximSignCommand(new(exim.Filter), new(time.Duration)), versionCommand(std),
	)
	return root
}

// arguments names what a command's arguments are; those in brackets may be left out.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		help := strings.TrimPrefix(cmd.CommandPath()+" --help", "dkimd ")
		if len(args) > len(names) {
			return usageError{fmt.Errorf("%s: unexpected argument %q", cmd.Name(), args[len(names)]), help}
		}
		if len(args) < len(names) && !strings.HasPrefix(names[len(args)], "[") {
			return usageError{fmt.Errorf("%s: the %s is missing", cmd.Name(), names[len(args)]), help}
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
