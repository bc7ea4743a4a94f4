package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/fault"
	"dkimd/internal/importer"
	"dkimd/internal/importer/proof"
	"dkimd/internal/terminal"

	"github.com/spf13/cobra"
)

// programs are what can be imported from, and how its configuration is read.
func programs() map[string]func(file string, o importer.Options) (*importer.Plan, error) {
	return map[string]func(string, importer.Options) (*importer.Plan, error){
		"opendkim": importer.OpenDKIM, "rspamd": importer.Rspamd, "exim": importer.Exim, "amavis": importer.Amavis,
	}
}

// importOptions are the flags of the command.
type importOptions struct {
	importer.Options
	program, file string
	to, user      string
	prove         bool
}

func importCommand(std stdio) *cobra.Command {
	o := &importOptions{}
	var asJSON bool
	c := &cobra.Command{
		Use:   "import PROGRAM [FILE]",
		Short: "Make a configuration of that of OpenDKIM, rspamd, Exim or amavis",
		Long: `Import reads the configuration of another signer and writes one for dkimd that
signs the same mail: dkimd.toml, rules, and copies of the keys that dkimd cannot
use where they are. It prints what became of each setting: not carried over,
close, or the same. What it writes has passed dkimd check. It changes nothing of
what it reads, and overwrites nothing.

PROGRAM and FILE are
  opendkim  opendkim.conf, with the files it names and, where it is the one in
            /etc, the command line in /etc/default/opendkim
  rspamd    the directory of its configuration, by default /etc/rspamd, or one
            dkim_signing.conf
  exim      what exim -bP config prints, or a configuration; without FILE, exim
            is asked
  amavis    amavisd.conf, or a directory of such files: the dkim_key in it

With --prove opendkim, rspamd or exim, which must be installed, and dkimd run on
sockets of their own and sign the same messages: every pattern of the tables,
below and beside it, from inside, outside and logged in. amavis is not run.

Exit status: 0 all is the same or close, 1 something was not carried over or
the proof found a difference, 2 nothing was written, fix something first.`,
		Args:              arguments("program", "[file]"),
		ValidArgsFunction: places(oneOf(slices.Sorted(maps.Keys(programs()))...), files("")),
		RunE: func(cmd *cobra.Command, args []string) error {
			a := &imported{Source: args[0], To: o.to}
			if o.program = args[0]; len(args) > 1 {
				o.file = args[1]
			}
			return say(std, asJSON, a, a.do(cmd.Context(), o))
		},
	}
	c.Flags().StringVar(&o.to, "to", "", "write to this `directory`, such as /etc/dkimd (needed)")
	c.Flags().StringVar(&o.Root, "root", "", "read the configuration of the system below this `directory`")
	c.Flags().BoolVar(&o.Copy, "copy", false, "copy every key, also those dkimd can use where they are")
	c.Flags().StringVar(&o.user, "user", "", "the `user` that dkimd runs as (default "+packagedUser+")")
	c.Flags().BoolVar(&o.prove, "prove", false, "run both signers on the same messages and compare")
	for _, name := range []string{"to", "root"} {
		completeFlag(c, name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs))
	}
	return jsonFlag(c, &asJSON)
}

// imported is the answer of the commands.
type imported struct {
	Source  string          `json:"source"` // the program
	To      string          `json:"to"`
	Written []string        `json:"written"` // files; none where something must be fixed first
	Notes   []importer.Note `json:"notes"`
	// Gained are clients whose mail is signed and was not, Lost the other way round.
	Gained []importer.Host `json:"gained"`
	Lost   []importer.Host `json:"lost"`
	// Proof is what --prove found.
	Proof *proof.Result `json:"proof,omitempty"`
	found
}

// do reads, writes and reports.
func (a *imported) do(ctx context.Context, o *importOptions) error {
	a.Written, a.Notes, a.Gained, a.Lost = []string{}, []importer.Note{}, []importer.Host{}, []importer.Host{}
	read, known := programs()[o.program]
	switch {
	case !known:
		return usageError(fmt.Errorf("there is no import from %q", o.program), "import --help")
	case o.to == "":
		return userError{errors.New("--to is missing"), "name the directory for dkimd.toml, such as /etc/dkimd"}
	}
	to, err := filepath.Abs(o.to)
	if err != nil {
		return err
	}
	a.To, o.to = to, to
	if err := a.chooseUser(o); err != nil {
		return err
	}
	plan, err := read(o.file, o.Options)
	if err != nil {
		return userError{err, ""}
	}
	a.Notes = append(a.Notes, plan.Notes...)
	a.Gained, a.Lost = append(a.Gained, plan.Gained...), append(a.Lost, plan.Lost...)
	written, err := plan.Write(o.to, o.User, func(config string) error { return a.checkResult(ctx, config, o) })
	if err != nil {
		return userError{err, ""}
	}
	a.Written = written
	if o.prove {
		result, err := proof.Run(ctx, plan, o.to, ownCommand)
		if err != nil {
			a.fault(fmt.Errorf("prove: %w", err))
			return errQuiet
		}
		a.Proof = &result
	}
	if !plan.Complete() || a.Proof != nil && len(a.Proof.Differences) > 0 {
		return errQuiet
	}
	return nil
}

// ownCommand is a command of this program.
func ownCommand(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "/proc/self/exe", args...) //nolint:gosec // this program
	if self, err := os.Executable(); err == nil {
		c.Path = self
	}
	c.Args[0] = "dkimd" // a test program acts by that name
	return c
}

// chooseUser says whom dkimd runs as: who keys and tables must be readable for.
func (a *imported) chooseUser(o *importOptions) error {
	if os.Geteuid() != 0 {
		o.User = importer.User{Name: strconv.Itoa(os.Geteuid()), UID: os.Geteuid(), GID: os.Getegid()}
		return nil
	}
	u, err := importer.ServiceUser(cmp.Or(o.user, packagedUser))
	switch {
	case err == nil:
	case o.user != "":
		return userError{fmt.Errorf("--user: %w", err), ""}
	default:
		a.warn(fmt.Errorf("this host has no user %s: what was made was checked for root", packagedUser))
	}
	o.User = u
	return nil
}

// checkResult runs dkimd check on what was made, in a process of its own, since check gives up the rights of root.
func (a *imported) checkResult(ctx context.Context, config string, o *importOptions) error {
	args := []string{"check", "--json", "--config", config}
	if os.Geteuid() == 0 {
		args = append(args, "--user", o.User.Name)
	}
	output, failed := ownCommand(ctx, args...).Output()
	var answer struct {
		Faults, Warnings []fault.Finding
	}
	if err := json.Unmarshal(output, &answer); err != nil {
		return fmt.Errorf("check what was made: %w", errors.Join(failed, err))
	}
	final := strings.NewReplacer(filepath.Dir(config), o.to)
	for i, findings := range [][]fault.Finding{answer.Faults, answer.Warnings} {
		for _, f := range findings {
			f.Text, f.Path, f.Hint = final.Replace(f.Text), final.Replace(f.Path), final.Replace(f.Hint)
			if i == 0 {
				a.fault(f)
			} else {
				a.warn(f)
			}
		}
	}
	if len(answer.Faults) > 0 {
		return errQuiet
	}
	return nil
}

// printProof is the table of the differences.
func (a *imported) printProof(b *strings.Builder) {
	if a.Proof == nil {
		return
	}
	fmt.Fprintf(b, "proof: %s of %s\n", terminal.Plural(len(a.Proof.Differences), "difference"), terminal.Plural(a.Proof.Probes, "message"))
	for _, d := range a.Proof.Differences {
		fmt.Fprintf(b, "  %s: %s\n", d.Probe, strings.Join(d.What, ", "))
		for _, side := range []struct {
			name string
			proof.Outcome
		}{{a.Source, d.Old}, {"dkimd", d.New}} {
			fmt.Fprintf(b, "    %s: %s, %s\n", side.name, side.Verdict, terminal.Plural(len(side.Signatures), "signature"))
			for _, s := range side.Signatures {
				fmt.Fprintf(b, "      %s\n", s)
			}
		}
	}
}

func (a *imported) print(std stdio) error {
	var b strings.Builder
	var last importer.Verdict
	for _, n := range a.Notes {
		if n.Verdict != last {
			fmt.Fprintf(&b, "%s:\n", n.Verdict)
			last = n.Verdict
		}
		fmt.Fprintf(&b, "  %s:%d: %s: %s\n", n.Path, n.Line, strings.TrimSpace(n.Setting+" "+n.Value), n.Text)
	}
	for _, part := range []struct {
		title string
		hosts []importer.Host
	}{{"clients whose mail is signed and was not", a.Gained}, {"clients whose mail was signed and is not", a.Lost}} {
		if len(part.hosts) > 0 {
			fmt.Fprintf(&b, "%s:\n", part.title)
		}
		for _, h := range part.hosts {
			fmt.Fprintf(&b, "  %s:%d: %s: %s\n", h.Path, h.Line, h.Entry, h.Text)
		}
	}
	a.printProof(&b)
	if len(a.Written) > 0 {
		fmt.Fprintf(&b, "written: %s\n", strings.Join(a.Written, " "))
	} else {
		b.WriteString("nothing was written\n")
	}
	_, err := fmt.Fprint(std.out, b.String())
	return err
}
