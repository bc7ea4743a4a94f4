package main

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"dkimd/internal/fault"
	"dkimd/internal/terminal"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

func keyListCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "list [DOMAIN]",
		Short: "List the keys of all domains, with their type, size and file",
		Long: `List prints a table of all keys: those that sign, and those that wait to be
activated. DNS is not asked: dkimd key check does that. A key that domain.toml
leaves out with selectors does not sign and is not listed.

Exit status: 0 every key can be used, 1 not so, 2 fix something first.`,
		Args: arguments("[domain]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			args = append(args, "")
			return listKeys(cmd.Context(), std, cfg.Sign.Directory, args[0])
		},
	}
}

func listKeys(ctx context.Context, std stdio, directory, domain string) error {
	domains, faults, err := domainsToCheck(directory, domain)
	switch {
	case err != nil:
		return err
	case len(domains) == 0 && len(faults) > 0:
		return faults
	}
	table := terminal.NewTable(std.out, terminal.PaletteOf(std.out), "domain", "selector", "type", "bits", "state", "file", "fault")
	var rows [][]string
	failed := false
	for _, f := range besidesKeys(faults, domains) {
		if !slices.ContainsFunc(domains, func(d *keys.Domain) bool { return slices.Contains(d.Faults(), f) }) {
			failed = true
			report(std.err, f)
		}
	}
	for _, d := range domains {
		all := slices.Concat(d.Keys, d.Pending)
		for _, k := range all {
			private, err := k.Load(ctx)
			if err != nil {
				failed = true
				text := err.Error()
				if f, ok := errors.AsType[fault.Fault](err); ok {
					f.Path = "" // it has a column of its own
					text = f.Error()
				}
				rows = append(rows, []string{string(d.Name), k.Selector, "-", "-", "fault", k.Path, text})
				continue
			}
			rows = append(rows, []string{string(d.Name), k.Selector, private.Type, strconv.Itoa(private.Bits), roleOf(k), k.Path})
		}
		own := d.Faults()
		for _, f := range own {
			if slices.ContainsFunc(all, func(k *keys.Key) bool { return k.Path == f.Path }) {
				continue
			}
			failed = true
			report(std.err, f)
		}
		switch {
		case len(all) > 0:
		case len(own) > 0: // there may be keys: nobody can know
			rows = append(rows, []string{string(d.Name), "-", "-", "-", "fault", d.Path, "see above"})
		default:
			rows = append(rows, []string{string(d.Name), "-", "-", "-", "no key", d.Path})
		}
	}
	if len(rows) == 0 {
		return userError{errors.New("there is no key in " + directory), "dkimd key generate DOMAIN"}
	}
	if err := table.Rows(rows); err != nil {
		return err
	}
	if failed {
		return errQuiet
	}
	return nil
}
