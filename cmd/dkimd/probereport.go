package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/milter/client"
	"dkimd/internal/terminal"
)

// once sends the message once, and prints every response.
func (p *probe) once(ctx context.Context, std stdio) error {
	report := std.out
	if p.edited {
		report = std.err
	}
	p.options.Step = func(s client.Step) {
		printStep(report, s)
		p.answer.Steps = append(p.answer.Steps, stepOf(s))
	}
	p.mail.QueueID = queueID(0)
	began := time.Now()
	s, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // Quit has closed it
	fmt.Fprintf(report, "client: %s\n", cmp.Or(p.client, "none")+p.assumed)
	negotiated := time.Since(began)
	p.answer.Client, p.answer.Agreed = cmp.Or(p.client, "none"), agreementOf(s, negotiated)
	printAgreement(report, p.answer.Agreed, negotiated)
	fmt.Fprintln(report)
	r, err := s.Send(ctx, p.mail)
	took := time.Since(began)
	if err != nil {
		return fmt.Errorf("the milter does not answer as it should: %w", err)
	}
	p.answer.Result = resultOf(r, took)
	printEdits(report, r)
	fmt.Fprintf(report, "\nverdict: %s, %s in all\n", answerText(r, true), milliseconds(took))
	if p.edited {
		if _, err := std.out.Write(client.Apply(p.options.MTA, p.mail.Raw, r.Edits)); err != nil {
			return fmt.Errorf("write the message: %w", err)
		}
	}
	if err := s.Quit(); err != nil {
		return fmt.Errorf("end the session: %w", err)
	}
	if !accepts(r) {
		return errQuiet
	}
	return nil
}

func accepts(r client.Result) bool {
	return (r.Action == client.Continue || r.Action == client.Accept) && r.Quarantine == ""
}

// bits names the flags of a negotiation.
type bits []struct {
	bit  uint32
	name string
}

// of are the names of the flags that are set.
func (b bits) of(set uint32) []string {
	names := []string{}
	for _, flag := range b {
		if set&flag.bit != 0 {
			names = append(names, flag.name)
			set &^= flag.bit
		}
	}
	if set != 0 {
		names = append(names, fmt.Sprintf("%#x", set))
	}
	return names
}

// agreementOf is what was negotiated.
func agreementOf(s *client.Session, took time.Duration) *agreement {
	actions := bits{
		{client.ActionAddHeader, "add fields"},
		{client.ActionChangeHeader, "change fields"},
		{client.ActionReplaceBody, "replace the body"},
		{client.ActionAddRcpt, "add recipients"},
		{client.ActionAddRcptArgs, "add recipients with parameters"},
		{client.ActionRemoveRcpt, "remove recipients"},
		{client.ActionChangeSender, "change the sender"},
		{client.ActionQuarantine, "quarantine"},
		{client.ActionSetSymList, "choose macros"},
	}
	unsent := bits{
		{client.NoConnect, "connect"},
		{client.NoHelo, "helo"},
		{client.NoMail, "mail"},
		{client.NoRcpt, "rcpt"},
		{client.NoData, "data"},
		{client.NoUnknown, "unknown"},
		{client.NoHeader, "header"},
		{client.NoEOH, "end of header"},
		{client.NoBody, "body"},
	}
	unanswered := bits{
		{client.NoReplyConnect, "connect"},
		{client.NoReplyHelo, "helo"},
		{client.NoReplyMail, "mail"},
		{client.NoReplyRcpt, "rcpt"},
		{client.NoReplyData, "data"},
		{client.NoReplyUnknown, "unknown"},
		{client.NoReplyHeader, "header"},
		{client.NoReplyEOH, "end of header"},
		{client.NoReplyBody, "body"},
	}
	rest := s.Protocol &^ (client.NoEvents | client.NoReplies)
	other := bits{{client.Skip, "may end the body early"}, {client.LeadingSpace, "white space after the colon as it stands"}, {client.RejectedRcpt, "hears of rejected recipients"}}
	return &agreement{
		Version: s.Version, Seconds: took.Seconds(), Actions: actions.of(s.Actions), NotTold: unsent.of(s.Protocol & client.NoEvents),
		Unanswered: unanswered.of(s.Protocol & client.NoReplies), Besides: other.of(rest), Macros: s.Macros(),
	}
}

func printAgreement(w io.Writer, a *agreement, took time.Duration) {
	names := func(list []string) string { return cmp.Or(strings.Join(list, ", "), "none") }
	fmt.Fprintf(w, "negotiated version %d in %s\n", a.Version, milliseconds(took))
	fmt.Fprintf(w, "  it may:          %s\n", names(a.Actions))
	fmt.Fprintf(w, "  not told of:     %s\n", names(a.NotTold))
	fmt.Fprintf(w, "  does not answer: %s\n", names(a.Unanswered))
	fmt.Fprintf(w, "  besides:         %s\n", names(a.Besides))
	for _, stage := range slices.Sorted(maps.Keys(a.Macros)) {
		fmt.Fprintf(w, "  macros at %s: %s\n", stage, terminal.Safe(strings.Join(a.Macros[stage], " ")))
	}
}

func printStep(w io.Writer, s client.Step) {
	answer := answerText(s.Result, s.Name == "end of message")
	switch {
	case s.Err != nil:
		answer = "ERROR"
	case !s.Sent:
		answer = "not told"
	case !s.Answered && s.Result.Action == client.Continue:
		answer = "told, does not answer"
	}
	fmt.Fprintf(w, "%-15s %9s  %-24s %s\n", s.Name, milliseconds(s.Took), answer, terminal.Safe(s.Detail))
}

func printEdits(w io.Writer, r client.Result) {
	for _, e := range r.Edits {
		var what string
		switch e.Kind {
		case client.Insert:
			what = fmt.Sprintf("insert as field %d", e.Index+1)
		case client.Change, client.Remove:
			what = fmt.Sprintf("%s field %d of this name", e.Kind, e.Index)
		case client.ReplaceBody:
			fmt.Fprintf(w, "\nedit: replace the body: %d bytes\n", len(e.Value))
			continue
		case client.Add, client.AddRcpt, client.RemoveRcpt, client.ChangeSender:
			what = string(e.Kind)
		}
		fmt.Fprintf(w, "\nedit: %s\n", what)
		text := e.Value
		if e.Name != "" {
			text = e.Name + ":" + e.Value
		}
		for line := range strings.SplitSeq(text, "\n") {
			fmt.Fprintf(w, "  %s\n", terminal.Safe(line))
		}
	}
}

// answerText is an answer in words. Continue at the end of a message accepts it.
func answerText(r client.Result, end bool) string {
	text := string(r.Action)
	if end && r.Action == client.Continue {
		text = "accept"
	}
	if r.Reply != "" {
		text += " " + terminal.Safe(r.Reply)
	}
	if r.Quarantine != "" {
		text = "quarantine (" + terminal.Safe(r.Quarantine) + ")"
	}
	return text
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + "ms"
}
