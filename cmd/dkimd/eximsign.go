package main

import (
	"dkimd/internal/exim/filter"

	"github.com/spf13/cobra"
)

const eximSignName = "exim-sign"

// eximSignCommand describes exim-sign for help; run gives every other call to filter.Command.
func eximSignCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   eximSignName + " SOCKET ID CLIENT PROTOCOL",
		Short: "Sign a message that leaves Exim: its transport_filter",
		Long: `Exim-sign reads a message, has it signed by the dkimd that serves the Exim
socket SOCKET (a path, HOST:PORT, or as in dkimd.toml), and writes it with its
signatures on top. dkimd-exim-sign is the same as a small program that starts
faster; Exim calls it:

  transport_filter = /usr/local/bin/dkimd-exim-sign /run/dkimd/exim.sock \
    $message_exim_id "$sender_host_address" "$received_protocol"

On any error it writes nothing and exits 75; Exim keeps the message and tries
again. It prints the error on a terminal only: Exim would take it for a part of
the message.`,
		Args:              arguments("path of the socket", "queue id", "address of the client", "protocol"),
		ValidArgsFunction: places(files("")),
		RunE:              func(*cobra.Command, []string) error { return errQuiet },
	}
	c.Flags().Bool("fail-open", false, "let mail go unsigned while dkimd is down")
	c.Flags().Duration("timeout", filter.DefaultTimeout, "how long it may take in all")
	return c
}
