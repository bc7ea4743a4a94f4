package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/eml"
	"dkimd/internal/events"
	"dkimd/internal/explain"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/resolver"
	"dkimd/internal/spf"
	"dkimd/verifier"

	"github.com/spf13/cobra"
)

// bare is an address without the angle brackets it has in SMTP.
func bare(address string) string {
	return strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
}

// readMessage reads the message of a command: a file, or "-" for standard input.
// The hint says how to give it one.
func readMessage(file string, std stdio, hint string) (eml.Message, error) {
	m, err := eml.Read(file, std.in)
	if err != nil {
		return m, userError{err, ""}
	}
	if len(m.Raw) == 0 {
		where := "in " + file
		if file == "-" {
			where = "on standard input"
		}
		return m, userError{errors.New("there is no message " + where), hint}
	}
	return m, nil
}

// oneMessage is a message and all that is needed to sign or verify it.
type oneMessage struct {
	eml.Message
	*daemon.Setup

	recorded lastRecord
}

// lastRecord is a pipeline.Recorder that keeps the newest record.
type lastRecord struct{ event *events.Event }

// Write is pipeline.Recorder.
func (l *lastRecord) Write(e *events.Event) { l.event = e }

// openMessage reads the configuration, all it names, and a message from standard input.
func openMessage(cmd *cobra.Command, std stdio) (*oneMessage, error) {
	c, err := load(cmd)
	if err != nil {
		return nil, err
	}
	one := &oneMessage{}
	if one.Message, err = readMessage("-", std, cmd.CommandPath()+" < message.eml"); err != nil {
		return nil, err
	}
	for _, note := range one.Notes {
		fmt.Fprintf(std.err, "dkimd: warning: %s\n", note)
	}
	c.Verify.Enabled = true // whoever asks wants to know
	one.Setup, err = daemon.Build(c, nil, daemon.Observers{
		Recorder: &one.recorded, Log: slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return nil, err
	}
	for _, f := range one.Broken { // what is wrong with the keys of its domain is the record's reason
		report(std.err, f)
	}
	return one, nil
}

// process takes the message through the pipeline, as the daemon does.
func (one *oneMessage) process(ctx context.Context, env *message.Envelope) (pipeline.Outcome, *events.Event) {
	m := one.Pipeline.Begin(env)
	for _, f := range one.Fields {
		m.Header(f.Name(), string(f.Value()))
	}
	m.EndOfHeader(ctx)
	m.Body(one.Body)
	out := m.Finish(ctx)
	return out, one.recorded.event
}

// verified verifies a message against DNS, with DMARC and, where the client is known, SPF.
func verified(ctx context.Context, c *config.Config, dns *resolver.Resolver, request verifier.Request, client spf.Request, body []byte) (*verifier.Report, error) {
	v, err := daemon.NewVerifier(c, dns, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	request.DMARC, request.Exceeded = true, request.Header.Exceeded()
	if client.Client.IsValid() {
		request.SPF = v.BeginSPF(client, request.Header)
		defer request.SPF.Close()
	}
	w := v.Begin(ctx, request)
	defer w.Close()
	if _, err := w.Write(body); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return w.Finish(ctx), nil
}

// explained says why the signatures of a message do not verify. It takes the keys from the resolver that verified the
// message, which has them still, and asks not again for one that could not be looked up: the two cannot disagree.
func explained(ctx context.Context, dns *resolver.Resolver, m eml.Message, verified []events.Signature) []explain.Explanation {
	failed := map[string]string{}
	for _, s := range verified {
		if s.Result == verifier.TempError.String() {
			failed[s.Selector+"._domainkey."+s.Domain] = s.Reason
		}
	}
	asRead := m.RawBody
	if m.EOL == "\n" {
		asRead = nil // a file of this system, which says nothing of the line ends on the way
	}
	return explain.Explain(explain.Message{
		Header: m.Header(), Body: m.Body, AsRead: asRead,
		Lookup: func(name string) ([]string, error) {
			if reason, known := failed[name]; known {
				return nil, errors.New(reason)
			}
			answer, err := dns.TXT(ctx, name)
			return answer.Records, err
		},
	})
}
