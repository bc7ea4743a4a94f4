package main

import (
	"errors"
	"fmt"

	"dkimd/internal/message"

	"github.com/spf13/cobra"
)

func signCommand(std stdio) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:   "sign < message",
		Short: "Sign one message: from standard input to standard output",
		Long: `Sign reads a message from standard input and writes it to standard output with
the DKIM-Signature fields that the daemon would give it if it were ours.

Exit status: 0 signed, 1 not signed (the reason is on standard error; the
message is written all the same), 2 fix something first.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			env := &message.Envelope{Front: message.CommandLine, Client: message.NewClient("", ""), Sender: bare(from)}
			one, err := openMessage(cmd, std)
			if err != nil {
				return err
			}
			defer one.Close()
			if len(one.Notes) > 0 { // what is signed has to be what is sent
				return userError{errors.New("sign: want the message as it is sent"), "dkimd verify reads saved messages in other forms"}
			}
			out, event := one.process(cmd.Context(), env)
			var added []message.Field
			for _, a := range out.Add {
				added = append(added, message.NewField(a.Name, a.Value))
			}
			if _, err := std.out.Write(one.WithFields(added...)); err != nil {
				return fmt.Errorf("write the message: %w", err)
			}
			if len(event.Signed) == 0 {
				fmt.Fprintf(std.err, "dkimd: not signed: %s\n", event.Why())
				return errQuiet
			}
			for _, w := range event.Warnings {
				fmt.Fprintf(std.err, "dkimd: warning: %s\n", w)
			}
			return nil
		},
	}
	c.Flags().StringVar(&from, "from", "", "the MAIL FROM `address`")
	return c
}
