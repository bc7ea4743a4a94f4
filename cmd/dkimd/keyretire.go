package main

import (
	"errors"
	"fmt"

	"dkimd/internal/rotate"

	"github.com/spf13/cobra"
)

func keyRetireCommand(std stdio) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "retire DOMAIN SELECTOR",
		Short: "Let a key sign no more; its record stays in DNS",
		Long: `Retire renames SELECTOR.pem to SELECTOR.pem.old and has the daemon read the
domain's keys anew. The record stays for mail under way: dkimd key revoke ends
that later.

Exit status: 0 done, 1 not so, 2 fix something first.`,
		Args:              arguments("domain", "selector"),
		ValidArgsFunction: places(signingDomains, selectors),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := openHand(cmd)
			if err != nil {
				return err
			}
			defer h.close()
			line, err := h.engine.Retire(cmd.Context(), args[0], args[1], force)
			switch {
			case errors.Is(err, rotate.ErrLast):
				return userError{err, "dkimd key rotate " + args[0] + " makes another one first; --force leaves the domain's mail unsigned"}
			case err != nil:
				return handError(err)
			}
			h.tell(std)
			_, err = fmt.Fprintf(std.out, "%s/%s: %s\n", line.Domain, line.Selector, line.Text)
			return err
		},
	}
	c.Flags().BoolVar(&force, "force", false, "even if no other key of the domain signs")
	return c
}
