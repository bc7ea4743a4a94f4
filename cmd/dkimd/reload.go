package main

import (
	"errors"
	"fmt"
	"time"

	"dkimd/internal/control"

	"github.com/spf13/cobra"
)

func reloadCommand(std stdio) *cobra.Command {
	var acceptRemoval, asJSON bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon read its files anew, and say what came of it",
		Long: `Reload asks the running daemon, over the socket of [control], to read
dkimd.toml, keys and rules anew, waits until it has, and prints what came of it.
Faults of one domain leave that domain as it was. Those of dkimd.toml or
_default.toml refuse the reload: the configuration before it stays in force.

Exit status: 0 all of it is in force, 1 taken but for the faults printed,
2 refused, or no daemon answered.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := controlClient(cmd)
			if err != nil {
				return err
			}
			done, err := client.Reload(cmd.Context(), acceptRemoval)
			switch {
			case err != nil:
				return unanswered(err)
			case asJSON:
				err = printJSON(std.out, done)
			default:
				err = printReload(std, done)
			}
			return errors.Join(err, reloadStatus(done.Result))
		},
	}
	c.Flags().BoolVar(&acceptRemoval, "accept-removal", false, "take it even if most domains or rules files are gone")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printReload(std stdio, done control.Reload) error {
	for _, f := range done.Faults {
		fmt.Fprintf(std.err, "dkimd: %s\n", f.Text)
	}
	for _, w := range done.Warnings {
		fmt.Fprintf(std.err, "dkimd: warning: %s\n", w.Text)
	}
	for _, key := range done.Restart {
		fmt.Fprintf(std.err, "dkimd: warning: %s takes effect after a restart\n", key)
	}
	took := time.Duration(done.Seconds * float64(time.Second)).Round(time.Millisecond)
	said := map[string]string{
		control.Taken:   "reloaded in " + took.String(),
		control.Partly:  "reloaded in " + took.String() + ", but for the faults above",
		control.Refused: "refused: the configuration before it stays in force",
	}[done.Result]
	_, err := fmt.Fprintf(std.out, "%s: %s\n", said, done.Summary)
	return err
}

// reloadStatus is the exit status of a reload, as an error.
func reloadStatus(result string) error {
	switch result {
	case control.Taken:
		return nil
	case control.Partly:
		return errQuiet
	}
	return userError{err: errQuiet}
}
