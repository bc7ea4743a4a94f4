package main

import (
	"context"
	"fmt"
	"log/slog"

	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/events"
	"dkimd/internal/events/output"
	"dkimd/internal/terminal"

	"github.com/spf13/cobra"
)

// discard is a Recorder for commands that leave no record.
type discard struct{}

func (discard) Write(*events.Event) {}

func checkCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check configuration, keys and rules, and print every fault",
		Long: `Check reads dkimd.toml, every key and every rules file as the daemon would, and
prints all faults at once; it tries the test cases beside the rules. It asks no
DNS server: dkimd key check does.

Exit status: 0 no faults, 2 fix something first. Warnings do not count.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return check(cmd.Context(), cmd, std)
		},
	}
}

func check(ctx context.Context, cmd *cobra.Command, std stdio) error {
	path, named := configFile(cmd)
	c, faults := config.Load(path, named)
	// With faults in it the rest is checked all the same: c holds what could be read.
	silent := daemon.Observers{Recorder: discard{}, Log: slog.New(slog.DiscardHandler)}
	s := daemon.Read(c, nil, silent)
	defer s.Close()
	if err := s.Keys.Wait(ctx); err != nil {
		return fmt.Errorf("check keys: %w", err)
	}
	faults = append(faults, s.Faults()...)
	for _, test := range s.Rules.Tests() {
		_, failed := s.Rules.RunTest(test)
		faults = append(faults, failed...)
	}
	for _, name := range c.Ignored() {
		fmt.Fprintf(std.err, "dkimd: warning: %s is not read: its name does not end with .toml\n", name)
	}
	for _, w := range s.Rules.Warnings() {
		fmt.Fprintf(std.err, "dkimd: warning: %v\n", w)
	}
	for _, name := range c.Log.Output {
		if err := output.Reach(name); err != nil {
			fmt.Fprintf(std.err, "dkimd: warning: log.output: receiver %s not reachable, records would be lost: %v\n", name, err)
		}
	}
	if len(c.Exim.Listen) > 0 {
		for _, w := range eximWarnings(ctx) {
			fmt.Fprintf(std.err, "dkimd: warning: %s\n", w)
		}
	}
	if len(faults) > 0 {
		return faults
	}
	// Only now: with faults it is not known yet which keys and sockets there will be.
	for _, address := range s.OpenToAll(c) {
		fmt.Fprintf(std.err, "dkimd: warning: any local user can have mail signed through %s: use a unix socket that the mail server alone may enter\n", address)
	}
	if err := s.Connect(nil, silent); err != nil {
		return err
	}
	count := 0
	for _, d := range s.Keys.Domains() {
		count += len(d.Keys)
	}
	_, err := fmt.Fprintf(std.out, "%s: no faults; %s for %s, %s\n", path,
		terminal.Plural(count, "key"), terminal.Plural(len(s.Keys.Domains()), "domain"), terminal.Plural(s.Rules.Len(), "rules file"))
	return err
}
