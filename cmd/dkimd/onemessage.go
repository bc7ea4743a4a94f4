package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/policy"

	"github.com/spf13/cobra"
)

// bare is an address without the angle brackets it has in SMTP.
func bare(address string) string {
	return strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
}

// maxStdin bounds the one message that sign and verify read: a mail server would not take a larger one.
const maxStdin = 256 << 20

func signCommand(std stdio) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:   "sign < message",
		Short: "Sign one message: from standard input to standard output",
		Long: `Sign reads a message from standard input and writes it to standard output with
the DKIM-Signature fields that the daemon would give it as mail of ours.

Exit status: 0 signed, 1 not signed (the reason is on standard error; the message
is written all the same), 2 something to mend first.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			env := &message.Envelope{Front: message.CommandLine, Client: message.NewClient("", ""), Sender: bare(from)}
			m, out, event, err := oneMessage(cmd, std, env)
			if err != nil {
				return err
			}
			if _, err := std.out.Write(m.withFields(out.Add)); err != nil {
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

func verifyCommand(std stdio) *cobra.Command {
	var from, client string
	var explains bool
	c := &cobra.Command{
		Use:   "verify < message",
		Short: "Verify one message from standard input, and judge it by the rules",
		Long: `Verify reads a message from standard input, verifies its signatures against DNS
and judges it by the rules files, as the daemon would for mail from outside. It
prints the Authentication-Results field, what became of each signature, and the
verdict. With --explain it also says what was done to a message whose signature
does not verify, as far as that can be found out.

Exit status: 0 a signature passed and the rules accept the message, 1 not so,
2 something to mend first.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			env := &message.Envelope{Front: message.CommandLine, Purpose: message.OnlyVerify, Sender: bare(from)}
			if client != "" {
				env.Client = message.NewClient("", client)
				if env.Client.Kind != message.ClientAddress {
					return usageError{fmt.Errorf("--client: got %q; want an IP address", client), "verify --help"}
				}
			}
			m, out, event, err := oneMessage(cmd, std, env)
			if err != nil {
				return err
			}
			if event.Mode == events.ModeTrusted {
				fmt.Fprintf(std.err, "dkimd: not judged: %s\n", event.Reason)
			}
			verdict := printReport(std.out, out, event)
			if explains {
				return errors.Join(explainMessage(cmd, std.out, m), verdict)
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

// keep is a Recorder that keeps the one record.
type keep struct{ event *events.Event }

func (k *keep) Write(e *events.Event) { k.event = e }

// oneMessage takes a message from standard input through the pipeline.
func oneMessage(cmd *cobra.Command, std stdio, env *message.Envelope) (rawMessage, pipeline.Outcome, *events.Event, error) {
	var none pipeline.Outcome
	c, err := load(cmd)
	if err != nil {
		return rawMessage{}, none, nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(std.in, maxStdin+1))
	if err != nil {
		return rawMessage{}, none, nil, fmt.Errorf("read the message: %w", err)
	}
	if len(raw) > maxStdin {
		return rawMessage{}, none, nil, fmt.Errorf("the message is larger than %d MiB", maxStdin>>20)
	}
	if len(raw) == 0 {
		return rawMessage{}, none, nil, mend{errors.New("there is no message on standard input"), "dkimd " + cmd.Name() + " < message.eml"}
	}
	m := splitMessage(raw)
	out, event, err := m.process(cmd.Context(), c, env, std)
	return m, out, event, err
}

// process runs the message through a setup of its own.
func (m rawMessage) process(ctx context.Context, c *config.Config, env *message.Envelope, std stdio) (pipeline.Outcome, *events.Event, error) {
	recorder := new(keep)
	s, err := daemon.Build(c, nil, daemon.Observers{
		Recorder: recorder, Log: slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return pipeline.Outcome{}, nil, err
	}
	defer s.Close()
	// What is wrong with the keys of this message's domain is told as the reason.
	for _, f := range s.Broken {
		report(std.err, f)
	}
	msg := s.Pipeline.Begin(env)
	for _, f := range m.fields {
		msg.Header(f.Name(), string(f.Value()))
	}
	msg.EndOfHeader(ctx)
	msg.Body(m.body)
	out := msg.Finish(ctx)
	return out, recorder.event, nil
}

// rawMessage is a message as it stood in a file, taken apart.
type rawMessage struct {
	mbox   []byte // the line above the message in an mbox: no part of it
	raw    []byte // as read
	eol    string // its line ends
	fields []message.Field
	asRead []byte // the body
	body   []byte // the same, with CRLF line ends
}

// splitMessage takes a message apart at its first empty line (RFC 5322 section
// 2.1). Lines may end in LF or CRLF. A line that can be no header field begins
// the body, as it does for a mail server.
func splitMessage(raw []byte) rawMessage {
	m := rawMessage{eol: "\n"}
	if bytes.HasPrefix(raw, []byte("From ")) {
		_, after := cutLine(raw)
		m.mbox, raw = raw[:len(raw)-len(after)], after
	}
	m.raw = raw
	if i := bytes.IndexByte(raw, '\n'); i > 0 && raw[i-1] == '\r' {
		m.eol = "\r\n"
	}
	rest := raw
	for len(rest) > 0 {
		line, after := cutLine(rest)
		if len(line) == 0 {
			rest = after
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || line[0] == ' ' || line[0] == '\t' {
			break
		}
		value := [][]byte{line[colon+1:]}
		for len(after) > 0 && (after[0] == ' ' || after[0] == '\t') {
			line, after = cutLine(after)
			value = append(value, line)
		}
		m.fields = append(m.fields, message.NewField(string(rest[:colon]), string(bytes.Join(value, []byte("\n")))))
		rest = after
	}
	m.asRead, m.body = rest, withCRLF(rest)
	return m
}

func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest
}

// withCRLF ends every line in CRLF, as SMTP would carry it (RFC 5321 section 2.3.8).
func withCRLF(b []byte) []byte {
	if bytes.Count(b, []byte("\n")) == bytes.Count(b, []byte("\r\n")) {
		return b
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}

// withFields is the message as read, with fields on top.
func (m rawMessage) withFields(add []pipeline.Addition) []byte {
	var b bytes.Buffer
	b.Write(m.mbox)
	for _, a := range add {
		b.WriteString(strings.ReplaceAll(a.Name+":"+a.Value, "\r\n", m.eol) + m.eol)
	}
	b.Write(m.raw)
	return b.Bytes()
}
