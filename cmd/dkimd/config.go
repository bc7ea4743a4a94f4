package main

import (
	"io"

	"dkimd/internal/config"

	"github.com/spf13/cobra"
)

func configCommand(std stdio) *cobra.Command {
	var defaults, asJSON bool
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
				a := &configuration{Values: config.Default().Values(), text: config.Reference()}
				return say(std, asJSON, a, nil)
			}
			path, named := configFile(cmd)
			c, faults := config.Load(path, named)
			a := &configuration{Config: path, Values: c.Values(), text: c.Describe()}
			for _, w := range c.Warnings() {
				a.warn(w)
			}
			return say(std, asJSON, a, faults.Err())
		},
	}
	c.Flags().BoolVar(&defaults, "defaults", false, "print an annotated dkimd.toml of the defaults")
	return jsonFlag(c, &asJSON)
}

// configuration is the answer of the command. With faults in the file it has what could be read, and defaults for the rest.
type configuration struct {
	Config string         `json:"config,omitempty"` // path of dkimd.toml
	Values []config.Value `json:"values"`
	found

	text string
}

func (c *configuration) print(std stdio) error {
	_, err := io.WriteString(std.out, c.text)
	return err
}
