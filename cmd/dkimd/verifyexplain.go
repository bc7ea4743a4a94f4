package main

import (
	"context"
	"fmt"
	"io"

	"dkimd/internal/events"
	"dkimd/internal/message"
)

// explainMessage prints why the signatures of a message do not verify.
func explainMessage(ctx context.Context, w io.Writer, one *oneMessage, verified []events.Signature) {
	list := explained(ctx, one.Resolver, one.Message, verified)
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
	if name := message.Misleading(one.Header(), message.ReadFrom(one.Header())); name != "" {
		fmt.Fprintf(w, "\na name in From shows %s, which is not the author's domain\n", name)
	}
}
