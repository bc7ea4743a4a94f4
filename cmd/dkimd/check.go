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
	"time"

	"dkimd/internal/advice"
	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/events"
	"dkimd/internal/events/output"
	"dkimd/internal/terminal"
	"dkimd/keys"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// discard is a Recorder for commands that leave no record.
type discard struct{}

func (discard) Write(*events.Event) {}

func checkCommand(std stdio) *cobra.Command {
	var user string
	var sender senderQuery
	var asJSON bool
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

With --sender it looks at a domain instead: what Gmail, Yahoo and Microsoft ask
of those who send its mail, in DNS (SPF, DMARC, keys, MX) and in the last
records of the log. Exit status then: 0 all that is required is there, 1 not.

Exit status: 0 no faults, 2 fix something first. Warnings do not count.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("sender") {
				s := &senderChecked{Demands: []advice.Finding{}, Todo: []string{}}
				return say(std, asJSON, s, s.check(cmd, sender))
			}
			c := &checked{}
			return say(std, asJSON, c, c.check(cmd, user))
		},
	}
	c.Flags().StringVar(&sender.domain, "sender", "", "what receivers ask of this `domain`, and whether it is there")
	c.Flags().StringArrayVar(&sender.selectors, "selector", nil, "with --sender: a `selector` of keys that are elsewhere; may be given several times")
	c.Flags().StringArrayVar(&sender.clients, "client", nil, "with --sender: the `address` of a server that sends; may be given several times")
	completeFlag(c, "sender", signingDomains)
	c.Flags().StringVar(&user, "user", "", "check with the rights of this `user`, by name or number")
	return jsonFlag(c, &asJSON)
}

// checked is the answer of the command.
type checked struct {
	Config  string `json:"config"`         // path of dkimd.toml
	Absent  bool   `json:"absent"`         // there is no such file: defaults apply
	User    string `json:"user,omitempty"` // with whose rights it was checked, where root asked
	Keys    int    `json:"keys"`
	Domains int    `json:"domains"`
	Rules   int    `json:"rules_files"`
	found
}

func (k *checked) warnf(format string, args ...any) { k.warn(fmt.Errorf(format, args...)) }

func (k *checked) check(cmd *cobra.Command, user string) error {
	ctx := cmd.Context()
	path, named := configFile(cmd)
	k.Config = path
	as, err := dropRights(user, func() string {
		c, _ := config.Load(path, named)
		return c.Sign.Directory
	})
	if err != nil {
		return err
	}
	k.User = as
	if as == rootUser {
		k.warnf("checked as root, who may read everything: --user names the user that dkimd runs as")
	}
	_, err = os.Stat(path)
	k.Absent = errors.Is(err, fs.ErrNotExist)
	c, faults := config.Load(path, named)
	// With faults in it the rest is checked all the same: c holds what could be read.
	silent := daemon.Observers{Recorder: discard{}, Log: slog.New(slog.DiscardHandler)}
	s := daemon.Read(c, nil, silent)
	defer s.Close()
	if err := s.Keys.Wait(ctx); err != nil {
		return fmt.Errorf("check keys: %w", err)
	}
	k.count(s)
	faults = slices.Concat(faults, s.Faults(), daemon.Openable(c))
	for _, test := range s.Rules.Tests() {
		_, failed := s.Rules.RunTest(test)
		faults = append(faults, failed...)
	}
	k.warnings(ctx, c, s)
	if len(faults) > 0 {
		k.fault(faults)
		return userError{err: errQuiet}
	}
	// Only now: with faults it is not known yet which keys, sockets and uses of lists there will be.
	for _, w := range c.Lists.Unused() {
		k.warn(w)
	}
	for _, address := range s.OpenToAll(c) {
		k.warnf("any local user can have mail signed through %s: use a unix socket that the mail server alone may enter", address)
	}
	for _, address := range daemon.PageOpenTo(c) {
		k.warnf("metrics.page: whoever reaches %s reads there who writes to whom: leave page out, and put a web server with a password in front, as docs/metrics.md says", address)
	}
	if s.AnyLoginForAll() {
		k.warnf("a login may have mail signed for each of %d domains: user_match = \"domain\" where logins belong to domains", s.Keys.Len())
	}
	return s.Connect(nil, silent)
}

// warnings are what works, and is likely not what the operator wants.
func (k *checked) warnings(ctx context.Context, c *config.Config, s *daemon.Setup) {
	for _, w := range slices.Concat(c.Warnings(), s.Rules.Warnings(), s.Keys.Warnings()) {
		k.warn(w)
	}
	for _, file := range promoted(ctx, c, s.Rules) {
		k.warnf("%s/%s: it enforces now what was only recorded so far: dkimd policy replay --since 7d says what that would have stopped", c.Policy.Directory, file)
	}
	if !c.Verify.Enabled && !s.Rules.Empty() {
		k.warnf("verify.enabled is false: the rules files in %s have no effect", c.Policy.Directory)
	}
	if mode := c.Sign.AllowMode; mode != 0 {
		k.warnf("sign.allow_mode: key files of mode %04o are accepted: %s", mode, allowModeCosts(mode))
	}
	if (c.Rotate.Every > 0 || c.Rotate.NewDomains) && unix.Access(c.Sign.Directory, unix.W_OK) != nil {
		k.warnf("rotate: dkimd may not write in %s, so it replaces no keys: docs/keys.md, Rotating, says how it may", c.Sign.Directory)
	}
	if most := rotatesAtOnce(len(keys.Names(c.Sign.Directory)), c.Rotate.Every); most > c.Rotate.AtOnce {
		k.warnf("rotate.at_once = %d: with these domains about %d wait for DNS at once, where a zone has absences remembered for an hour; rotations come late", c.Rotate.AtOnce, most)
	}
	for _, name := range c.Log.Output {
		if err := output.Reach(name); err != nil && !filepath.IsAbs(name) {
			k.warnf("log.output: receiver %s not reachable, records would be lost: %w", name, err)
		}
	}
	if len(c.Exim.Listen) > 0 {
		for _, w := range eximWarnings(ctx) {
			k.warnf("%s", w)
		}
	}
}

// rotatesAtOnce is how many of so many domains wait for an hour at the same time, when each rotates once in a period.
func rotatesAtOnce(domains int, every time.Duration) int {
	if every == 0 {
		return 0
	}
	return int(float64(domains)*float64(time.Hour)/float64(every)) + 1
}

// allowModeCosts is what others can do with a key file of a mode.
func allowModeCosts(mode fs.FileMode) string {
	switch {
	case mode&0o004 != 0:
		return "every local user can read the keys, and sign as these domains anywhere"
	case mode&0o020 != 0:
		return "whoever is in the group of a key file can put another key there, or none, and mail of the domain fails"
	}
	return "the rule accepts this mode anyway, leave allow_mode out"
}

// count says what was checked.
func (k *checked) count(s *daemon.Setup) {
	k.Rules, k.Domains = s.Rules.Files(), s.Keys.Len()
	for _, d := range s.Keys.Domains() {
		k.Keys += len(d.Keys)
	}
}

func (k *checked) print(std stdio) error {
	if len(k.Faults) > 0 {
		if k.User != "" && k.User != rootUser {
			fmt.Fprintf(std.err, "dkimd: checked as user %s\n", k.User)
		}
		return nil
	}
	path, as := k.Config, ""
	if k.Absent {
		path += " is not there, defaults apply"
	}
	if k.User != "" {
		as = "; checked as user " + k.User
	}
	_, err := fmt.Fprintf(std.out, "%s: no faults; %s for %s, %s%s\n", path, terminal.Plural(k.Keys, "key"), terminal.Plural(k.Domains, "domain"),
		terminal.Plural(k.Rules, "rules file"), as)
	return err
}
