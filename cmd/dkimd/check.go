package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

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
	var user string
	c := &cobra.Command{
		Use:   "check",
		Short: "Check configuration, keys and rules, and print every fault",
		Long: `Check reads dkimd.toml, every key and every rules file as the daemon would, and
prints all faults at once; it tries the test cases beside the rules. It asks no
DNS server: dkimd key check does.

Root may read everything, dkimd may not: as root, check does it all with the
rights of the user that dkimd runs as. Without --user that is dkimd, or where
there is no such user, the one whose directory of keys it is, or whose group
may read it.

Exit status: 0 no faults, 2 fix something first. Warnings do not count.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return check(cmd.Context(), cmd, user, std)
		},
	}
	c.Flags().StringVar(&user, "user", "", "check with the rights of this `user`, by name or number")
	return c
}

func check(ctx context.Context, cmd *cobra.Command, user string, std stdio) error {
	path, named := configFile(cmd)
	as, err := dropRights(user, func() string {
		c, _ := config.Load(path, named)
		return c.Sign.Directory
	})
	if err != nil {
		return err
	}
	warn := func(format string, args ...any) { fmt.Fprintf(std.err, "dkimd: warning: "+format+"\n", args...) }
	if as == rootUser {
		warn("checked as root, who may read everything: --user names the user that dkimd runs as")
	}
	c, faults := config.Load(path, named)
	// With faults in it the rest is checked all the same: c holds what could be read.
	silent := daemon.Observers{Recorder: discard{}, Log: slog.New(slog.DiscardHandler)}
	s := daemon.Read(c, nil, silent)
	defer s.Close()
	if err := s.Keys.Wait(ctx); err != nil {
		return fmt.Errorf("check keys: %w", err)
	}
	faults = slices.Concat(faults, s.Faults(), daemon.Openable(c))
	for _, test := range s.Rules.Tests() {
		_, failed := s.Rules.RunTest(test)
		faults = append(faults, failed...)
	}
	warnings(ctx, c, s, warn)
	if len(faults) > 0 {
		if as != "" && as != rootUser {
			fmt.Fprintf(std.err, "dkimd: checked as user %s\n", as)
		}
		return faults
	}
	// Only now: with faults it is not known yet which keys, sockets and uses of lists there will be.
	for _, w := range c.Lists.Unused() {
		warn("%v", w)
	}
	for _, address := range s.OpenToAll(c) {
		warn("any local user can have mail signed through %s: use a unix socket that the mail server alone may enter", address)
	}
	if s.AnyLoginForAll() {
		warn("a login may have mail signed for each of %d domains: user_match = \"domain\" where logins belong to domains", len(s.Keys.Domains()))
	}
	if err := s.Connect(nil, silent); err != nil {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		path += " is not there, defaults apply"
	}
	_, err = fmt.Fprintf(std.out, "%s: no faults; %s\n", path, tally(s, as))
	return err
}

// warnings are what works, and is likely not what the operator wants.
func warnings(ctx context.Context, c *config.Config, s *daemon.Setup, warn func(format string, args ...any)) {
	for _, w := range slices.Concat(c.Warnings(), s.Rules.Warnings(), s.Keys.Warnings()) {
		warn("%v", w)
	}
	for _, name := range c.Log.Output {
		if err := output.Reach(name); err != nil && !filepath.IsAbs(name) {
			warn("log.output: receiver %s not reachable, records would be lost: %v", name, err)
		}
	}
	if len(c.Exim.Listen) > 0 {
		for _, w := range eximWarnings(ctx) {
			warn("%s", w)
		}
	}
}

// tally says what was checked, and as whom.
func tally(s *daemon.Setup, as string) string {
	count := 0
	for _, d := range s.Keys.Domains() {
		count += len(d.Keys)
	}
	text := fmt.Sprintf("%s for %s, %s", terminal.Plural(count, "key"), terminal.Plural(len(s.Keys.Domains()), "domain"), terminal.Plural(s.Rules.Files(), "rules file"))
	if as != "" {
		text += "; checked as user " + as
	}
	return text
}
