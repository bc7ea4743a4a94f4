package main

import (
	"errors"
	"fmt"

	"dkimd/internal/rotate"

	"github.com/spf13/cobra"
)

func keyRevokeCommand(std stdio) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "revoke DOMAIN SELECTOR",
		Short: "Revoke the record of a retired key, then destroy the key",
		Long: `Revoke has the record of a retired key revoked (an empty p=), or removed with
[rotate] end = "withdraw", as [[publish]] says; once every name server has that,
the private key is destroyed. Mail with its signatures fails from then on.

Exit status: 0 done or on its way, 1 stuck, 2 fix something first.`,
		Args:              arguments("domain", "selector"),
		ValidArgsFunction: places(signingDomains),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := openHand(cmd)
			if err != nil {
				return err
			}
			defer h.close()
			report, err := h.engine.Revoke(cmd.Context(), args[0], args[1], force)
			switch {
			case errors.Is(err, rotate.ErrUnderWay):
				return userError{err, "--force revokes it all the same, as after a theft of the key"}
			case err != nil:
				return handError(err)
			}
			h.wake(cmd.Context(), report.Lines)
			stuck := false
			for _, moved := range report.Moved {
				fmt.Fprintf(std.out, "%s/%s\n", args[0], moved)
			}
			for _, l := range report.Lines {
				stuck = stuck || l.Stuck
				fmt.Fprintf(std.out, "%s/%s: %s: %s\n", l.Domain, l.Selector, l.Stage, l.Text)
			}
			if stuck {
				return errQuiet
			}
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "though mail that it has signed may be under way")
	return c
}
