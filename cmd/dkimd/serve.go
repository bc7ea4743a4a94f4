package main

import (
	"os"
	"os/signal"
	"syscall"

	"dkimd/internal/daemon"

	"github.com/spf13/cobra"
)

func serveCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Serve answers mail servers on the sockets of [milter] and [exim] until SIGTERM.

SIGHUP  reads configuration, keys and rules anew; with a new fault in them the
        old ones stay in force. Log files are reopened.
SIGTERM lets messages under way end, for 30 seconds at most. A second one cuts.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			signals := make(chan os.Signal, 8)
			signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
			defer signal.Stop(signals)
			// A log stream whose reader has gone must not end the daemon.
			signal.Ignore(syscall.SIGPIPE)
			path, named := configFile(cmd)
			return daemon.Run(cmd.Context(), daemon.Options{
				Config: path, Named: named, Version: versionString(), Stdout: std.out, Stderr: std.err, Signals: signals,
			})
		},
	}
}
