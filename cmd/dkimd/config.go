package main

import (
	"io"

	"dkimd/internal/config"

	"github.com/spf13/cobra"
)

func configCommand(std stdio) *cobra.Command {
	var defaults bool
	c := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration, and where each value comes from",
		Long: `Config prints the configuration that dkimd.toml gives, as TOML. The comment
after each value is the line that sets it, or "default".

With --defaults it prints a dkimd.toml with every key, its meaning and its
default.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if defaults {
				_, err := io.WriteString(std.out, config.Reference())
				return err
			}
			c, err := load(cmd)
			if err != nil {
				return err
			}
			_, err = io.WriteString(std.out, c.Describe())
			return err
		},
	}
	c.Flags().BoolVar(&defaults, "defaults", false, "print an annotated dkimd.toml of the defaults")
	return c
}
