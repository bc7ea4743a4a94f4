package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func versionCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(std.out, versionLine())
			return err
		},
	}
}
