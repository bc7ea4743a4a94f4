package main

import (
	"errors"
	"fmt"
	"io/fs"

	"dkimd/internal/daemon"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

func keyActivateCommand(std stdio) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "activate DOMAIN [SELECTOR]",
		Short: "Let a key sign, once DNS serves its record",
		Long: `Activate renames SELECTOR.pem.new to SELECTOR.pem once DNS serves the key's
record: mail signed before that fails everywhere. Then send dkimd a SIGHUP.

Exit status: 0 activated, 1 DNS does not serve the record, 2 fix something
first.`,
		Args:              arguments("domain", "[selector]"),
		ValidArgsFunction: places(signingDomains, waiting),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, r, err := withDNS(cmd)
			if err != nil {
				return err
			}
			defer r.Close() //nolint:errcheck // only a cache is lost
			a := keys.Activation{Directory: cfg.Sign.Directory, Domain: args[0], Lookup: r, Force: force}
			if len(args) > 1 {
				a.Selector = args[1]
			}
			if d, err := keys.Find(daemon.KeySources(cfg), args[0]); err == nil { // else Activate says so
				unlock, err := d.Lock(cmd.Context(), lockWait)
				if err != nil {
					return handError(err)
				}
				defer unlock()
			}
			done, err := keys.Activate(cmd.Context(), a)
			switch {
			case errors.Is(err, keys.ErrNotServed):
				fmt.Fprintf(std.err, "dkimd: %v\nhint: publish this record, or sign without it: --force\n%s\n", err, done.Check.Record)
				return errQuiet
			case errors.Is(err, fs.ErrPermission):
				return userError{err, "run this as root, or as the owner of " + cfg.Sign.Directory}
			case err != nil:
				return userError{err, ""}
			}
			_, err = fmt.Fprintln(std.out, done)
			return err
		},
	}
	c.Flags().BoolVar(&force, "force", false, "whatever DNS says; it is not asked")
	return c
}
