package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/fault"
	"dkimd/internal/resolver"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

func keyCommand(std stdio) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Make signing keys, list them, check what DNS publishes for them, activate them",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("key: there is no command %q", args[0]), "key --help"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(generateCommand(std), keyListCommand(std), keyShowCommand(std), keyCheckCommand(std), activateCommand(std))
	return c
}

func generateCommand(std stdio) *cobra.Command {
	var n keys.New
	c := &cobra.Command{
		Use:   "generate DOMAIN",
		Short: "Make a key and print the record to publish",
		Long: `Generate makes a key for a domain in the directory of sign.directory and prints,
in zone-file form, the DNS record to publish. The key does not sign before
dkimd key activate. Nothing is ever overwritten.

Exit status: 0 made, 2 something to mend first.`,
		Args: arguments("domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			n.Directory, n.Domain = cfg.Sign.Directory, args[0]
			g, err := keys.Generate(n)
			switch {
			case errors.Is(err, fs.ErrPermission):
				return mend{err, "run this as root, or as the owner of " + n.Directory}
			case err != nil:
				return mend{err, ""}
			}
			config := ""
			if path, named := configFile(cmd); named {
				config = " --config " + path
			}
			fmt.Fprintf(std.err, "dkimd: %v\nhint: publish this record, then: dkimd key activate %s %s%s\n", g, g.Domain, g.Selector, config)
			_, err = fmt.Fprintln(std.out, g.Record)
			return err
		},
	}
	c.Flags().StringVar(&n.Selector, "selector", "", "the `selector` (default: s and the date, such as s20261123)")
	c.Flags().StringVar(&n.Type, "type", keys.RSA, "rsa or ed25519")
	c.Flags().IntVar(&n.Bits, "bits", 0, "size of an RSA key, 1024 to 4096 (default 2048)")
	return c
}

func keyCheckCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "check [DOMAIN [SELECTOR]]",
		Short: "Compare keys with what DNS publishes",
		Long: `Check asks DNS for the record of each key, of those that sign and of those that
wait to be activated, and says whether receivers can verify what it signs. Without
DOMAIN it prints a table over all domains.

Exit status: 0 DNS serves every key, 1 it does not, 2 something to mend first.`,
		Args: arguments("[domain]", "[selector]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, r, err := withDNS(cmd)
			if err != nil {
				return err
			}
			defer r.Close() //nolint:errcheck // only a cache is lost
			args = append(args, "", "")
			return checkKeys(cmd.Context(), std, cfg, r, args[0], args[1])
		},
	}
}

func checkKeys(ctx context.Context, std stdio, cfg *config.Config, lookup keys.Lookup, domain, selector string) error {
	domains, faults, err := domainsToCheck(cfg.Sign.Directory, domain)
	if err != nil {
		return err
	}
	faults = besidesKeys(faults, domains) // what is wrong with a key its result says
	failed, found := len(faults) > 0, false
	for _, f := range faults {
		report(std.err, f)
	}
	if domain == "" {
		count, err := tabulate(ctx, std.out, lookup, domains)
		if err != nil {
			return err
		}
		found, failed = count.all > 0, failed || count.fail
	}
	for _, d := range domains {
		if domain == "" {
			break
		}
		for _, result := range keys.CheckDomain(ctx, lookup, d, selector) {
			found = true
			failed = failed || !result.Serves()
			text := result.String()
			if result.State == keys.Absent || result.State == keys.Different {
				text += "\npublish:\n" + result.Record.String()
			}
			if _, err := fmt.Fprintln(std.out, text); err != nil {
				return err
			}
		}
	}
	switch {
	case failed:
		return errQuiet
	case !found && selector != "":
		return mend{fmt.Errorf("%s has no key with selector %q", domain, selector), "dkimd key check " + domain}
	case !found:
		return mend{fmt.Errorf("there is no key in %s", cfg.Sign.Directory), "dkimd key generate DOMAIN"}
	}
	return nil
}

// besidesKeys are the faults without those of single keys.
func besidesKeys(faults fault.Faults, domains []*keys.Domain) fault.Faults {
	for _, d := range domains {
		faults = slices.DeleteFunc(faults, func(f fault.Fault) bool {
			return slices.ContainsFunc(d.Keys, func(k *keys.Key) bool { return k.Path == f.Path })
		})
	}
	return faults
}

// domainsToCheck are one domain, or all, and what is wrong with them.
func domainsToCheck(directory, domain string) ([]*keys.Domain, fault.Faults, error) {
	if domain == "" {
		store, _ := keys.Open(keys.Config{Directory: directory})
		store.Close()
		domains := store.Domains()
		return domains, store.Faults(), nil
	}
	d, err := keys.Find(keys.Config{Directory: directory}, domain)
	switch {
	case errors.Is(err, keys.ErrNoKeys):
		return nil, nil, mend{err, "dkimd key generate " + domain}
	case err != nil:
		return nil, nil, mend{err, ""}
	}
	return []*keys.Domain{d}, d.Faults(), nil
}

func activateCommand(std stdio) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "activate DOMAIN [SELECTOR]",
		Short: "Let a key sign, once DNS serves its record",
		Long: `Activate renames SELECTOR.pem.new to SELECTOR.pem once DNS serves the key's record:
mail signed before that fails everywhere. Then send dkimd a SIGHUP.

Exit status: 0 activated, 1 DNS does not serve the record, 2 something to mend first.`,
		Args: arguments("domain", "[selector]"),
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
			done, err := keys.Activate(cmd.Context(), a)
			switch {
			case errors.Is(err, keys.ErrNotServed):
				fmt.Fprintf(std.err, "dkimd: %v\nhint: publish this record, or sign without it: --force\n%s\n", err, done.Check.Record)
				return errQuiet
			case errors.Is(err, fs.ErrPermission):
				return mend{err, "run this as root, or as the owner of " + cfg.Sign.Directory}
			case err != nil:
				return mend{err, ""}
			}
			_, err = fmt.Fprintln(std.out, done)
			return err
		},
	}
	c.Flags().BoolVar(&force, "force", false, "whatever DNS says; it is not asked")
	return c
}

// withDNS reads the configuration and opens its resolver.
func withDNS(cmd *cobra.Command) (*config.Config, *resolver.Resolver, error) {
	cfg, err := load(cmd)
	if err != nil {
		return nil, nil, err
	}
	r, err := daemon.OpenResolver(cfg)
	if err != nil {
		return nil, nil, err
	}
	return cfg, r, nil
}
