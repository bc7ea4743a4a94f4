package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"dkimd/internal/advice"
	"dkimd/internal/autoreply"
	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/eml"
	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/resolver"
	"dkimd/internal/spf"
	"dkimd/verifier"

	"github.com/spf13/cobra"
)

func reportCommand(std stdio) *cobra.Command {
	var q reportQuery
	var asJSON, asHTML bool
	c := &cobra.Command{
		Use:   "report [FILE]",
		Short: "Say what receivers make of a message, and what to do",
		Long: `Report reads a message from FILE or standard input and says what a receiver
makes of it: its signatures and their keys, SPF, DMARC, what Gmail, Yahoo and
Microsoft ask of those who send, and what to do, worst first. SPF needs to know
who sent it: the options say, or the fields that the receiving server wrote on
top (Return-Path, Received), as far as these are there.

With --reply it answers the message instead, for an alias or a transport of the
mail server, and prints nothing; docs/report.md says how to set that up:

  check: "|/usr/bin/dkimd report --reply"

Exit status: 0 all that is required is there, 1 it is not, 2 fix something
first. With --reply: 0 answered, or rightly not; 75 try again later.`,
		Args:              arguments("[file]"),
		ValidArgsFunction: places(files("")),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.read(cmd, args); err != nil {
				return err
			}
			if q.reply {
				return q.answer(cmd, std)
			}
			r := &reported{asHTML: asHTML && !asJSON, From: []string{}, Signatures: []reportedSignature{}, Walk: []string{}, Demands: []advice.Finding{}, Todo: []string{}}
			return say(std, asJSON, r, r.report(cmd, append(args, "-")[0], std, q.envelope))
		},
	}
	f := c.Flags()
	f.StringVar(&q.client, "client", "", "the IP `address` of the client that sent the message")
	f.StringVar(&q.envelope.HELO, "helo", "", "the `name` that the client gave in HELO or EHLO")
	f.StringVar(&q.envelope.Sender, "sender", "", "the MAIL FROM `address`, <> for a bounce")
	f.BoolVar(&asHTML, "html", false, "print a page of HTML that needs nothing else")
	f.BoolVar(&q.reply, "reply", false, "answer the message on standard input by mail")
	f.StringVar(&q.own, "from", "", "with --reply: the `address` that answers (default: the one that the mail server names as recipient)")
	f.StringVar(&q.state, "state", "/var/lib/dkimd/report.state", "with --reply: the `file` that counts answers")
	f.IntVar(&q.perDomain, "per-domain", 10, "with --reply: how many `answers` a domain gets in an hour")
	f.IntVar(&q.inAll, "in-all", 100, "with --reply: how many `answers` are sent in an hour")
	f.StringVar(&q.sendmail, "sendmail", "/usr/sbin/sendmail", "with --reply: the `program` that takes the answer")
	completeFlag(c, "state", files(""))
	completeFlag(c, "sendmail", files(""))
	return jsonFlag(c, &asJSON)
}

// reportQuery is what the options of the command say.
type reportQuery struct {
	client   string
	envelope advice.Envelope // who sent the message, as far as options say
	reply    bool

	own, state, sendmail string
	perDomain, inAll     int
}

const byOption = "the options"

func (q *reportQuery) read(cmd *cobra.Command, args []string) error {
	e := &q.envelope
	if q.client != "" {
		c := message.NewClient("", q.client)
		// A mail server that does not know it says so, and must not hear of a fault for it.
		if c.Kind != message.ClientAddress && !q.reply {
			return usageError(fmt.Errorf("--client: got %q; want an IP address", q.client), helpOf(cmd))
		}
		e.Client, e.ClientFrom = c.Addr, byOption
	}
	if cmd.Flags().Changed("sender") {
		e.Sender, e.SenderKnown, e.SenderFrom = bare(e.Sender), true, byOption
	}
	switch {
	case q.reply && len(args) > 0:
		return usageError(errors.New("--reply: the message comes on standard input"), helpOf(cmd))
	case q.perDomain < 1 || q.inAll < 1 || q.inAll > autoreply.MaxAnswers:
		return usageError(fmt.Errorf("--per-domain, --in-all: want at least 1, and --in-all at most %d", autoreply.MaxAnswers), helpOf(cmd))
	}
	return nil
}

// reported is the answer of the command.
type reported struct {
	From       []string            `json:"from"` // addresses
	Envelope   reportedEnvelope    `json:"envelope"`
	Bytes      int                 `json:"bytes"`
	Signatures []reportedSignature `json:"signatures"`
	SPF        events.SPF          `json:"spf"`
	DMARC      events.DMARC        `json:"dmarc"`
	Walk       []string            `json:"walk"` // what DNS was asked for DMARC
	Demands    []advice.Finding    `json:"demands"`
	Todo       []string            `json:"todo"` // names of the demands that are not met, worst first
	found

	asHTML bool
	judged advice.Message
}

// reportedEnvelope is who sent the message, and who says so.
type reportedEnvelope struct {
	Client      string `json:"client"`
	ClientFrom  string `json:"client_from"`
	HELO        string `json:"helo"`
	Sender      string `json:"sender"`
	SenderKnown bool   `json:"sender_known"`
	SenderFrom  string `json:"sender_from"`
}

// reportedSignature is a signature, its key, and what was changed where it does not verify.
type reportedSignature struct {
	events.Signature

	Headers []string     `json:"h"`
	Key     *reportedKey `json:"key,omitempty"` // where there is one
	Changed []string     `json:"changed"`
}

// reportedKey is the record of a key.
type reportedKey struct {
	Strict bool   `json:"strict"`          // t=s
	TTL    int    `json:"ttl_seconds"`     // how long resolvers keep it yet
	Dated  string `json:"dated,omitempty"` // the day that the selector tells
}

// report reads the message and finds out all there is to say.
func (r *reported) report(cmd *cobra.Command, file string, std stdio, envelope advice.Envelope) error {
	c, err := load(cmd)
	if err != nil {
		return err
	}
	m, err := readMessage(file, std, cmd.CommandPath()+" message.eml")
	if err != nil {
		return err
	}
	for _, note := range m.Notes {
		r.warn(errors.New(note))
	}
	if err := r.judge(cmd.Context(), c, m, envelope); err != nil {
		return err
	}
	if advice.Fails(r.Demands) {
		return errQuiet
	}
	return nil
}

// judge verifies a message and judges it by what receivers ask.
func (r *reported) judge(ctx context.Context, c *config.Config, m eml.Message, envelope advice.Envelope) error {
	dns, err := daemon.OpenResolver(c)
	if err != nil {
		return err
	}
	defer dns.Close() //nolint:errcheck // only a cache is lost
	header := m.Header()
	e := envelope.Complete(header)
	from := message.ReadFrom(header)
	asked := spf.Request{Client: e.Client, HELO: e.HELO, Sender: e.Sender}
	if !e.SenderKnown { // then nobody knows whose record to ask for
		asked.Client = netip.Addr{}
	}
	report, err := verified(ctx, c, dns, verifier.Request{Header: header, From: from, Prefer: from.Claimed}, asked, m.Body)
	if err != nil {
		return err
	}
	r.Envelope = reportedEnvelope{ClientFrom: e.ClientFrom, HELO: e.HELO, Sender: e.Sender, SenderKnown: e.SenderKnown, SenderFrom: e.SenderFrom}
	if e.Client.IsValid() {
		r.Envelope.Client = e.Client.String()
	}
	for _, a := range from.Addresses {
		r.From = append(r.From, a.String())
	}
	r.Bytes = len(m.Raw)
	r.SPF, r.DMARC = pipeline.Policies(report)
	r.Walk = pipeline.Walk(report)
	r.describe(ctx, dns, m, report)
	r.judged = advice.Message{Header: header, Body: m.Body, From: from, Report: report, Client: advice.LookReverse(ctx, dns, e.Client)}
	r.Demands = r.judged.Findings()
	for _, f := range advice.Todo(r.Demands) {
		r.Todo = append(r.Todo, f.Name)
	}
	return nil
}

// describe says what there is to say of each signature.
func (r *reported) describe(ctx context.Context, dns *resolver.Resolver, m eml.Message, report *verifier.Report) {
	all := pipeline.Signatures(report)
	why := explained(ctx, dns, m, all)
	for i, s := range all {
		one := reportedSignature{Signature: s, Headers: orEmpty(report.Results[i].Headers), Changed: []string{}}
		one.Duplicates = orEmpty(s.Duplicates)
		if i < len(why) && s.Result != verifier.Pass.String() {
			one.Changed = orEmpty(why[i].Findings)
		}
		if answer, err, known := dns.Cached(dkim.RecordName(s.Selector, domain.Name(s.Domain))); known && err == nil && len(answer.Records) == 1 {
			record, _ := dkim.ParseKeyRecord(answer.Records[0])
			one.Key = &reportedKey{Strict: record.Strict, TTL: int(answer.TTL.Round(time.Second).Seconds())}
			if day, ok := advice.SelectorDate(s.Selector, time.Now()); ok {
				one.Key.Dated = day.Format(time.DateOnly)
			}
		}
		r.Signatures = append(r.Signatures, one)
	}
}
