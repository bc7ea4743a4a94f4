package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func keyPublishCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "publish DOMAIN SELECTOR",
		Short: "Bring the record of a key into DNS",
		Long: `Publish has the record of a key published as [[publish]] says, or prints it
where no [[publish]] covers the zone. The record of another key is never
overwritten.

Exit status: 0 done, 1 not so, 2 fix something first.`,
		Args:              arguments("domain", "selector"),
		ValidArgsFunction: places(signingDomains, selectors),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := openHand(cmd)
			if err != nil {
				return err
			}
			defer h.close()
			line, err := h.engine.Publish(cmd.Context(), args[0], args[1])
			if err != nil {
				return handError(err)
			}
			_, err = fmt.Fprintf(std.out, "%s/%s: %s\n", line.Domain, line.Selector, line.Text)
			return err
		},
	}
}
