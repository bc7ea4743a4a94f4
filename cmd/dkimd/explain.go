package main

import (
	"fmt"
	"io"

	"dkimd/internal/daemon"
	"dkimd/internal/explain"
	"dkimd/internal/message"

	"github.com/spf13/cobra"
)

// explainMessage prints why the signatures of a message do not verify.
func explainMessage(cmd *cobra.Command, w io.Writer, m rawMessage) error {
	c, err := load(cmd)
	if err != nil {
		return err
	}
	dns, err := daemon.OpenResolver(c)
	if err != nil {
		return err
	}
	defer dns.Close() //nolint:errcheck // nothing is written
	header := &message.Header{}
	for _, f := range m.fields {
		header.Add(f.Name(), string(f.Value()))
	}
	asRead := m.asRead
	if m.eol == "\n" {
		asRead = nil // a file of this system, which says nothing of the line ends on the way
	}
	list := explain.Explain(explain.Message{
		Header: header, Body: m.body, AsRead: asRead,
		Lookup: func(name string) ([]string, error) {
			answer, err := dns.TXT(cmd.Context(), name)
			return answer.Records, err
		},
	})
	for i, e := range list {
		fmt.Fprintf(w, "\nsignature %d, d=%s s=%s:\n", i+1, e.Domain, e.Selector)
		if e.Holds {
			fmt.Fprintln(w, "  both hashes verify: the message is as it was signed")
		}
		for _, sentence := range e.Findings {
			fmt.Fprintf(w, "  - %s\n", sentence)
		}
		if len(e.Fields) > 0 {
			fmt.Fprintln(w, "  the signed fields, as they are hashed:")
		}
		for _, f := range e.Fields {
			fmt.Fprintf(w, "    %s\n", f)
		}
	}
	if len(list) == 0 {
		fmt.Fprintln(w, "\nthere is no DKIM-Signature field to explain")
	}
	return nil
}
