package main

import (
	"errors"
	"fmt"
	"io/fs"

	"dkimd/keys"

	"github.com/spf13/cobra"
)

func keyGenerateCommand(std stdio) *cobra.Command {
	var n keys.New
	c := &cobra.Command{
		Use:   "generate DOMAIN",
		Short: "Make a key and print the record to publish",
		Long: `Generate makes a key for a domain in the directory of sign.directory and prints,
in zone-file form, the DNS record to publish. The key does not sign before
dkimd key activate. Nothing is ever overwritten.

Exit status: 0 made, 2 fix something first.`,
		Args:              arguments("domain"),
		ValidArgsFunction: places(signingDomains),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			n.Directory, n.Domain = cfg.Sign.Directory, args[0]
			g, err := keys.Generate(n)
			switch {
			case errors.Is(err, fs.ErrPermission):
				return userError{err, "run this as root, or as the owner of " + n.Directory}
			case err != nil:
				return userError{err, ""}
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
	completeFlag(c, "type", oneOf(keys.RSA, keys.Ed25519))
	return c
}
