package main

import (
	"fmt"
	"io"
	"strings"

	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/policy"

	"github.com/spf13/cobra"
)

func verifyCommand(std stdio) *cobra.Command {
	var from, client string
	var explains bool
	c := &cobra.Command{
		Use:   "verify < message",
		Short: "Verify one message from standard input, and judge it by the rules",
		Long: `Verify reads a message from standard input, verifies its signatures against DNS
and judges it by the rules files, as the daemon would for mail from outside. It
prints the Authentication-Results field, the result of each signature, and the
verdict. With --explain it also says, where a signature does not verify, what
was changed in the message, as far as that can be found out.

Exit status: 0 a signature passed and the rules accept the message, 1 otherwise,
2 fix something first.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			env := &message.Envelope{Front: message.CommandLine, Purpose: message.OnlyVerify, Sender: bare(from)}
			if client != "" {
				env.Client = message.NewClient("", client)
				if env.Client.Kind != message.ClientAddress {
					return usageError(fmt.Errorf("--client: got %q; want an IP address", client), helpOf(cmd))
				}
			}
			one, err := openMessage(cmd, std)
			if err != nil {
				return err
			}
			defer one.Close()
			out, event := one.process(cmd.Context(), env)
			if event.Mode == events.ModeTrusted || event.Mode == events.ModeSkipped {
				fmt.Fprintf(std.err, "dkimd: not judged: %s\n", event.Reason)
			}
			verdict := printReport(std.out, out, event)
			if explains {
				explainMessage(cmd.Context(), std.out, one, event.Signatures)
				if len(event.Walk) > 0 {
					fmt.Fprintln(std.out, "\nwhat DNS was asked for DMARC:")
				}
				for _, line := range event.Walk {
					fmt.Fprintln(std.out, "  "+line)
				}
			}
			return verdict
		},
	}
	c.Flags().StringVar(&from, "from", "", "the MAIL FROM `address`")
	c.Flags().StringVar(&client, "client", "", "the client's IP `address`")
	c.Flags().BoolVar(&explains, "explain", false, "say what was changed where a signature does not verify")
	return c
}

func printReport(w io.Writer, out pipeline.Outcome, event *events.Event) error {
	passed := false
	for _, add := range out.Add {
		fmt.Fprintf(w, "%s:%s\n", add.Name, strings.ReplaceAll(add.Value, "\r\n", "\n"))
	}
	for _, s := range event.Signatures {
		line := fmt.Sprintf("signature d=%s s=%s a=%s: %s", s.Domain, s.Selector, s.Algorithm, s.Result)
		if s.Reason != "" {
			line += " (" + s.Reason + ")"
		}
		fmt.Fprintln(w, line)
		passed = passed || s.Result == "pass"
	}
	printPolicies(w, event.SPF, event.DMARC)
	for _, d := range event.Policy {
		line := fmt.Sprintf("rules %s (%s): %s", d.File, d.Mode, d.Action)
		if d.Rule != "" {
			line += fmt.Sprintf(" by rule %q", d.Rule)
		}
		fmt.Fprintln(w, line)
	}
	verdict := "verdict: " + event.Verdict
	if reply := out.Reply.String(); reply != "" {
		verdict += ": " + reply
	}
	if _, err := fmt.Fprintln(w, verdict); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if !passed || out.Action != policy.Accept {
		return errQuiet
	}
	return nil
}
