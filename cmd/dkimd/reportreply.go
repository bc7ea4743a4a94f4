package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"dkimd/internal/advice"
	"dkimd/internal/autoreply"
	"dkimd/internal/domain"
	"dkimd/internal/eml"
	"dkimd/internal/message"
	"dkimd/internal/terminal"
	"dkimd/verifier"

	"github.com/spf13/cobra"
)

// exitLater has a mail server keep the message and try again (EX_TEMPFAIL of sysexits.h). Any other status but 0 has it
// send a bounce to somebody who asked for a report.
const exitLater = 75

const (
	replyTimeout  = 2 * time.Minute
	maxReplyBytes = 64 << 20 // of a message that is answered
)

// isReply reports whether a command line is one of an alias, in doubt also where it is not.
func isReply(args []string) bool {
	return slices.Contains(args, "report") && slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--reply") })
}

// replyStatus is the exit status for a mail server: whatever went wrong is ours, and no reason for a bounce. It is told to
// syslog, as Exim takes what a program prints for a failure.
func replyStatus(std stdio, work func() error) (status int) {
	defer func() {
		if p := recover(); p != nil {
			tellReply(std, syslog.LOG_ERR, fmt.Sprintf("panic: %v", p))
			status = exitLater
		}
	}()
	if err := work(); err != nil {
		if !errors.Is(err, errQuiet) {
			tellReply(std, syslog.LOG_ERR, err.Error())
		}
		return exitLater
	}
	return exitDone
}

// tellReply tells what happened: to a terminal, or whatever a test reads, else to syslog.
func tellReply(std stdio, level syslog.Priority, text string) {
	if f, file := std.err.(*os.File); !file || bool(terminal.PaletteOf(f)) {
		fmt.Fprintf(std.err, "dkimd: report: %s\n", terminal.Safe(text))
		return
	}
	if w, err := syslog.New(level|syslog.LOG_MAIL, "dkimd"); err == nil {
		_, _ = io.WriteString(w, "report: "+terminal.Safe(text))
		_ = w.Close()
	}
}

// answer answers the message on standard input, or says why not. An error means that it may be tried again.
func (q *reportQuery) answer(cmd *cobra.Command, std stdio) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), replyTimeout)
	defer cancel()
	c, err := load(cmd)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(std.in, maxReplyBytes+1))
	if err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	refuse := func(why string) error {
		tellReply(std, syslog.LOG_INFO, "no answer: "+why)
		return nil
	}
	if len(raw) > maxReplyBytes {
		return refuse("the message is too large")
	}
	m := eml.Split(raw)
	header := m.Header()
	q.fromEnvironment()
	known := advice.OfInternet(q.envelope.Client)
	if !known {
		q.envelope.Client = netip.Addr{}
	}
	q.envelope = q.envelope.Complete(header)
	if !q.envelope.SenderKnown {
		return errors.New("MAIL FROM is not known, so bounces would be answered: give --sender, or have the mail server write Return-Path")
	}
	host := cmp.Or(c.Hostname, hostName())
	if q.own == "" {
		q.own = "dkimd-report@" + host
	}
	received := autoreply.Received{Header: header, From: message.ReadFrom(header), Sender: q.envelope.Sender, Own: q.own}
	if why := received.Refuse(); why != "" {
		return refuse(why)
	}
	var r reported
	if err := r.judge(ctx, c, m, q.envelope); err != nil {
		return err
	}
	signatures := r.vouching()
	if why := r.unproven(signatures, known); why != "" {
		return refuse(why)
	}
	author := received.From.Domain()
	limit := autoreply.Limit{File: q.state, Domain: q.perDomain, All: q.inAll, Window: time.Hour, Now: time.Now()}
	why, err := limit.Take(string(cmp.Or(author.Organizational(), author)), signatures)
	if err != nil {
		return fmt.Errorf("count answers: %w", err)
	}
	if why != "" {
		return refuse(why)
	}
	to, _ := received.To()
	a := autoreply.Answer{From: q.own, To: to, Host: host, Subject: "DKIM report: " + r.headline(), Text: r.text(), Date: time.Now()}
	if err := sendAnswer(ctx, q.sendmail, to, a.Write(received)); err != nil {
		return errors.Join(err, limit.Forget(signatures)) // the mail server tries again
	}
	tellReply(std, syslog.LOG_INFO, "answered "+to)
	return nil
}

// fromEnvironment takes in what a mail server says of a message that it pipes into a command: Postfix's local(8) and Exim.
func (q *reportQuery) fromEnvironment() {
	const from = "the mail server"
	e := &q.envelope
	if sender, there := os.LookupEnv("SENDER"); there && !e.SenderKnown {
		e.Sender, e.SenderKnown, e.SenderFrom = bare(sender), true, from
	}
	if addr, err := netip.ParseAddr(os.Getenv("CLIENT_ADDRESS")); err == nil && !e.Client.IsValid() {
		e.Client, e.ClientFrom, e.HELO = addr.Unmap(), from, os.Getenv("CLIENT_HELO")
	}
	// The sender may have chosen a part of it, behind a +.
	if own := os.Getenv("RECIPIENT"); q.own == "" && autoreply.IsPlain(own) {
		q.own = own
	}
}

// vouching are the signatures by which the domain of From stands behind the message, each by what nobody else can write.
func (r *reported) vouching() []string {
	var list []string
	for _, s := range r.judged.Report.Results {
		if s.Status == verifier.Pass && s.Aligned != verifier.AlignNone {
			list = append(list, s.Domain+"/"+s.Selector+"/"+s.B[:min(len(s.B), signatureLetters)])
		}
	}
	return list
}

// unproven says why nobody vouches for From; empty: somebody does. SPF counts where the mail server named the client.
func (r *reported) unproven(signatures []string, clientNamed bool) string {
	switch {
	case len(signatures) > 0:
		return ""
	case !clientNamed:
		return "DKIM does not pass for the domain of From, and the mail server named no client of the internet"
	case !r.aligned():
		return "neither DKIM nor SPF passes for the domain of From"
	}
	return ""
}

// signatureLetters tell signatures apart, with 48 bits. A message may have its field of results show more of them.
const signatureLetters = 8

// aligned reports whether DKIM or SPF passes for the domain of From.
func (r *reported) aligned() bool {
	for i := range r.Demands {
		if r.Demands[i].Name == "aligned" {
			return r.Demands[i].State == advice.Met
		}
	}
	return false
}

// headline is the report in a few words.
func (r *reported) headline() string {
	required := 0
	for i := range r.Demands {
		if f := &r.Demands[i]; f.Required && f.State == advice.Unmet {
			required++
		}
	}
	switch {
	case required > 0:
		return terminal.Plural(required, "thing") + " to mend"
	case len(r.Todo) > 0:
		return "good, and " + terminal.Plural(len(r.Todo), "thing") + " could be better"
	}
	return "all is good"
}

// sendAnswer gives an answer to the mail server, with a null return path (RFC 3834 section 3.3): what cannot be delivered
// comes back to nobody.
func sendAnswer(ctx context.Context, sendmail, to string, answer []byte) error {
	c := exec.CommandContext(ctx, sendmail, "-i", "-f", "<>", "--", to) //nolint:gosec // the operator names the program; the address is plain
	c.Stdin = bytes.NewReader(answer)
	if said, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("send the answer: %w: %s", err, strings.TrimSpace(string(said)))
	}
	return nil
}

func hostName() string {
	name, err := os.Hostname()
	if host, parsed := domain.ParseHost(name); err == nil && parsed == nil {
		return string(host)
	}
	return "localhost"
}
