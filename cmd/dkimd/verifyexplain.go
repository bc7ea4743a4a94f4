package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"dkimd/internal/events"
	"dkimd/internal/explain"
	"dkimd/internal/message"
	"dkimd/verifier"
)

// explainMessage prints why the signatures of a message do not verify. It takes
// the keys from the resolver that verified the message, which has them still, and
// asks not again for one that could not be looked up: the two cannot disagree.
func explainMessage(ctx context.Context, w io.Writer, one *oneMessage, verified []events.Signature) {
	failed := map[string]string{}
	for _, s := range verified {
		if s.Result == verifier.TempError.String() {
			failed[s.Selector+"._domainkey."+s.Domain] = s.Reason
		}
	}
	asRead := one.RawBody
	if one.EOL == "\n" {
		asRead = nil // a file of this system, which says nothing of the line ends on the way
	}
	list := explain.Explain(explain.Message{
		Header: one.Header(), Body: one.Body, AsRead: asRead,
		Lookup: func(name string) ([]string, error) {
			if reason, known := failed[name]; known {
				return nil, errors.New(reason)
			}
			answer, err := one.Resolver.TXT(ctx, name)
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
	if name := message.Misleading(one.Header(), message.ReadFrom(one.Header())); name != "" {
		fmt.Fprintf(w, "\na name in From shows %s, which is not the author's domain\n", name)
	}
}
