package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"time"

	"dkimd/internal/eml"
	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/internal/milter/client"
	"dkimd/internal/socket"
	"dkimd/policy"

	"github.com/spf13/cobra"
)

// probe is what the flags of the command say.
type probe struct {
	client, auth, from, mta string
	assumed                 string // what is said of a client that nobody named
	recipients              []string
	edited, asJSON          bool
	messages, connections   int
	timeout                 time.Duration

	address socket.Address
	options client.Options
	mail    client.Mail
	answer  probeAnswer // with --json
}

func probeCommand(std stdio) *cobra.Command {
	p := &probe{}
	c := &cobra.Command{
		Use:   "probe SOCKET [FILE]",
		Short: "Send a test message to a milter and print every response",
		Long: `Probe connects to the socket of any milter, dkimd or another one, sends it the
message in FILE (or on standard input) as Postfix or Sendmail would, and prints
what is negotiated, each response with its time, the edits and the verdict.
SOCKET is written as in dkimd.toml or in the mail server's configuration; the
scheme may be left out: inet:HOST:PORT, unix:/PATH, HOST:PORT or a path. No mail
is delivered. In the records of dkimd such a message has an id that begins with
PROBE; dkimd log leaves it out.

With -n it sends the message that many times, over -c connections at once, and
prints how long the milter took.

Exit status: 0 the milter accepts the message, 1 it does not, or its responses
break the protocol, 2 fix something first.`,
		Args:              arguments("socket", "[file]"),
		ValidArgsFunction: places(milters, files("")),
		RunE: func(cmd *cobra.Command, args []string) error {
			args = append(args, "-")
			if !cmd.Flags().Changed("client") {
				p.assumed = " (no --client)"
			}
			err := p.read(args[0], args[1], std)
			if !p.asJSON {
				for _, w := range p.answer.Warnings {
					fmt.Fprintf(std.err, "dkimd: warning: %s\n", w.Text)
				}
			}
			if err != nil && p.asJSON {
				return say(std, true, &p.answer, err)
			}
			if err != nil {
				return err
			}
			if p.asJSON {
				return say(std, true, &p.answer, p.send(cmd.Context(), stdio{out: io.Discard, err: io.Discard}))
			}
			return p.send(cmd.Context(), std)
		},
	}
	f := c.Flags()
	f.StringVar(&p.client, "client", policy.SampleClient, "the client's IP `address`; none: submitted without a client")
	f.StringVar(&p.auth, "auth", "", "the `login` of an authenticated client")
	f.StringVar(&p.from, "from", "", "the MAIL FROM `address`, <> for a bounce (default: that of the From field)")
	f.StringArrayVar(&p.recipients, "rcpt", []string{"postmaster@localhost"}, "a RCPT TO `address`; may be given several times")
	f.StringVar(&p.mta, "mta", "postfix", "postfix or sendmail")
	f.BoolVar(&p.edited, "edited", false, "print the message with the edits carried out, and the rest on standard error")
	f.IntVarP(&p.messages, "messages", "n", 1, "how many times")
	f.IntVarP(&p.connections, "connections", "c", 1, "on how many connections")
	f.DurationVar(&p.timeout, "timeout", 30*time.Second, "how long to wait for an answer")
	completeFlag(c, "mta", oneOf("postfix", "sendmail"))
	return jsonFlag(c, &p.asJSON)
}

// send sends the message, once or many times.
func (p *probe) send(ctx context.Context, std stdio) error {
	if p.messages > 1 || p.connections > 1 {
		return p.load(ctx, std.out)
	}
	return p.once(ctx, std)
}

// read takes in the command line and the message that it names.
func (p *probe) read(address, file string, std stdio) error {
	const help = "probe --help"
	var err error
	if p.address, err = socket.ParseDial(address); err != nil {
		return usageError(fmt.Errorf("socket: got %q; %w", address, err), help)
	}
	p.answer.Socket = p.address.String()
	p.options = client.Options{Timeout: p.timeout}
	switch p.mta {
	case "postfix":
	case "sendmail":
		p.options.MTA = client.Sendmail
	default:
		return usageError(fmt.Errorf("--mta: got %q; want postfix or sendmail", p.mta), help)
	}
	p.mail.Peer = client.Peer{Name: "localhost"}
	if p.client != "" && p.client != "none" {
		addr, err := netip.ParseAddr(p.client)
		if err != nil {
			return usageError(fmt.Errorf("--client: got %q; want an IP address, or none", p.client), help)
		}
		p.mail.Peer = client.Peer{Name: "[" + p.client + "]", Addr: addr, Port: 25025}
	}
	if p.messages < 1 || p.connections < 1 || p.connections > 1000 || p.timeout <= 0 {
		return usageError(errors.New("want at least 1 message, 1 to 1000 connections, and a time to wait"), help)
	}
	if p.edited && (p.messages > 1 || p.connections > 1) {
		return usageError(errors.New("--edited is for one message"), help)
	}
	if p.edited && p.asJSON {
		return usageError(errors.New("--edited prints a message, and --json no message"), help)
	}
	for _, to := range p.recipients {
		p.mail.Recipients = append(p.mail.Recipients, bare(to))
	}
	if p.auth != "" {
		p.mail.AuthType, p.mail.AuthUser = "PLAIN", p.auth
	}
	return p.readMail(file, std)
}

// readMail reads the message.
func (p *probe) readMail(file string, std stdio) error {
	m, err := readMessage(file, std, "")
	if err != nil {
		return err
	}
	for _, note := range m.Notes {
		p.answer.warn(errors.New(note))
	}
	p.mail.Raw = eml.WithCRLF(m.Raw)
	p.mail.Sender = bare(p.from)
	if p.from == "" {
		if authors := message.ReadFrom(m.Header()).Addresses; len(authors) > 0 {
			p.mail.Sender = authors[0].String()
		}
	}
	return nil
}

// dial opens a session with the milter.
func (p *probe) dial(ctx context.Context) (*client.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	s, err := client.Dial(ctx, p.address.Network(), p.address.Address(), p.options)
	switch {
	case errors.Is(err, client.ErrProtocol):
		return nil, userError{fmt.Errorf("negotiate with %s: %w", p.address.Address(), err), "does a milter listen there?"}
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return nil, userError{fmt.Errorf("negotiate with %s: %w", p.address.Address(), err), "does a milter listen there, and is this user among its peers?"}
	case err != nil:
		return nil, userError{fmt.Errorf("connect to the milter: %w", err), ""}
	}
	return s, nil
}

// queueID is one that marks the record of the message.
func queueID(n int) string { return fmt.Sprintf(events.ProbeID+"%05d", n+1) }
