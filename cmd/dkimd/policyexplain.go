package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"dkimd/internal/daemon"
	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/fault"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/spf"
	"dkimd/internal/terminal"
	"dkimd/policy"
	"dkimd/verifier"

	"github.com/spf13/cobra"
)

func policyExplainCommand(std stdio) *cobra.Command {
	var s policy.Sample
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain [FILE]",
		Short: "Say which rules judge a message, and why each holds or does not",
		Long: `Explain judges a message by the rules and says how it comes to the verdict:
which files claim it, and of each rule the condition that failed. The message is
in FILE (- is standard input), and its signatures are verified against DNS; or
options describe it:

  dkimd policy explain --from alice@gmail.com --signature 'gmail.com fail'

The daemon does not judge mail of ours or of a trusted client; explain does.

Exit status: 0 accepted, 1 not, 2 fix something first.`,
		Args:              arguments("[file]"),
		ValidArgsFunction: places(files("")),
		RunE: func(cmd *cobra.Command, args []string) error {
			e := &explanation{From: []domain.Name{}, Signatures: []explainedSignature{}, Walk: []string{}, Files: []policy.Explanation{}, Unclaimed: []domain.Name{}}
			return say(std, asJSON, e, e.explain(cmd, args, std, s))
		},
	}
	f := c.Flags()
	f.StringArrayVar(&s.From, "from", nil, "an `address` of From; may be given several times")
	f.IntVar(&s.FromFields, "from-fields", 0, "how many From `fields` there are (default 1, none without --from)")
	f.StringVar(&s.Sender, "sender", "", "the MAIL FROM `address`, <> for a bounce (default: that of From)")
	f.StringVar(&s.Client, "client", policy.SampleClient, "the client's IP `address`; none: submitted without a client")
	f.StringArrayVar(&s.Recipients, "rcpt", []string{"postmaster@localhost"}, "a RCPT TO `address`; may be given several times")
	f.BoolVar(&s.List, "list", false, "there is a List-Id field")
	f.StringArrayVar(&s.Signatures, "signature", nil, "a `signature`: domain, result, and perhaps algorithm, bits, testing, duplicates; may be given several times")
	f.StringVar(&s.DMARC, "dmarc", "", "what DMARC says, if not what --published and the signatures make of it: `result` pass, fail, none, permerror, temperror")
	f.StringVar(&s.SPF, "spf", "", "what SPF says: `result` none, neutral, pass, fail, softfail, permerror, temperror")
	f.BoolVar(&s.Testing, "published-testing", false, "the policy's record says t=y")
	f.StringVar(&s.Published, "published", "", "the From domain's DMARC `policy`: absent, none, quarantine, reject, temperror")
	completeFlag(c, "published", oneOf("absent", "none", "quarantine", "reject", "temperror"))
	return jsonFlag(c, &asJSON)
}

// explanation is the answer of the command.
type explanation struct {
	From       []domain.Name        `json:"from"` // domains that From claims
	FromFields int                  `json:"from_fields"`
	Sender     string               `json:"sender"` // MAIL FROM
	Client     string               `json:"client"`
	Signatures []explainedSignature `json:"signatures"`
	SPF        events.SPF           `json:"spf"`
	DMARC      events.DMARC         `json:"dmarc"`
	Walk       []string             `json:"walk"`      // what DNS was asked for DMARC
	Files      []policy.Explanation `json:"files"`     // that judge
	Unclaimed  []domain.Name        `json:"unclaimed"` // domains that no file judges
	Verdict    *policy.Verdict      `json:"verdict,omitempty"`
	Enforced   *policy.Verdict      `json:"enforced,omitempty"` // as if every file were in enforce mode
	found

	assumed string // what is said of a client that nobody named
}

// explainedSignature is what came of a signature, with the keys of a record of the log stream.
type explainedSignature struct {
	Domain     string   `json:"d"`
	Algorithm  string   `json:"a"`
	Result     string   `json:"result"`
	Reason     string   `json:"reason"`
	KeyBits    int      `json:"key_bits"`
	Testing    bool     `json:"testing"`
	Duplicates []string `json:"duplicates"`
}

func (e *explanation) explain(cmd *cobra.Command, args []string, std stdio, s policy.Sample) error {
	m, report, rules, err := e.explained(cmd, args, std, s)
	if err != nil {
		return err
	}
	e.From, e.FromFields, e.Sender, e.Client = orEmpty(m.From.Claimed), m.From.Fields, m.Sender, m.Client.String()
	if !cmd.Flags().Changed("client") {
		e.assumed = " (no --client)"
	}
	for i := range report.Results {
		r := &report.Results[i]
		e.Signatures = append(e.Signatures, explainedSignature{
			Domain: r.Domain, Algorithm: r.Algorithm, Result: r.Status.String(), Reason: r.Reason(), KeyBits: r.KeyBits, Testing: r.Testing,
			Duplicates: orEmpty(r.Duplicates),
		})
	}
	e.SPF, e.DMARC = pipeline.Policies(report)
	e.Walk = pipeline.Walk(report)
	list, verdict := rules.Explain(m, report)
	enforced := verdict.Enforced()
	e.Files, e.Unclaimed, e.Verdict, e.Enforced = orEmpty(list), orEmpty(unclaimed(m, list)), &verdict, &enforced
	if verdict.Action != policy.Accept {
		return errQuiet
	}
	return nil
}

// explained is the message that is asked about, what came of its signatures, and the rules.
func (e *explanation) explained(cmd *cobra.Command, args []string, std stdio, s policy.Sample) (m policy.Message, report *verifier.Report, rules *policy.Rules, err error) {
	c, err := load(cmd)
	if err != nil {
		return m, nil, nil, err
	}
	rules, faults := policy.Load(c.Policy.Directory, c.Lists)
	if rules.DefaultBroken() {
		return m, nil, nil, faults
	}
	e.fault(faults.Err())
	if s.Client == "none" {
		s.Client = ""
	}
	described := slices.ContainsFunc([]string{"from", "signature", "published", "published-testing", "dmarc", "spf", "from-fields"}, cmd.Flags().Changed)
	bounce := cmd.Flags().Changed("sender")
	if !bounce && len(s.From) > 0 {
		s.Sender = s.From[0]
	}
	switch {
	case s.FromFields < 0 || s.FromFields > 100:
		return m, nil, nil, usageError(fmt.Errorf("--from-fields: got %d; want a whole number from 0 to 100", s.FromFields), helpOf(cmd))
	case len(args) == 0 && (described || bounce):
		m, report, err = s.Message()
		if err != nil {
			return m, nil, nil, usageError(atFlag(err), helpOf(cmd))
		}
		return m, report, rules, nil
	case described:
		return m, nil, nil, usageError(errors.New("a message file has a From and signatures of its own"), helpOf(cmd))
	case len(args) == 0:
		return m, nil, nil, usageError(errors.New("explain: want a message file, or --from or --sender"), helpOf(cmd))
	}
	read, err := readMessage(args[0], std, "")
	if err != nil {
		return m, nil, nil, err
	}
	for _, note := range read.Notes {
		e.warn(errors.New(note))
	}
	header := read.Header()
	if m, err = messageOf(header, s, bounce); err != nil {
		return m, nil, nil, usageError(err, helpOf(cmd))
	}
	dns, err := daemon.OpenResolver(c)
	if err != nil {
		return m, nil, nil, err
	}
	defer dns.Close() //nolint:errcheck // only a cache is lost
	request := verifier.Request{Header: header, From: m.From, Prefer: rules.Select(m).Signers()}
	report, err = verified(cmd.Context(), c, dns, request, spf.Request{Client: m.Client.Addr, Sender: m.Sender}, read.Body)
	return m, report, rules, err
}

// messageOf is a message with the envelope of a sample; without a sender in it, with that of From.
func messageOf(header *message.Header, s policy.Sample, sender bool) (policy.Message, error) {
	s.From, s.Signatures = nil, nil
	m, _, err := s.Message()
	if err != nil {
		return m, atFlag(err)
	}
	m.From = message.ReadFrom(header)
	m.Misleading = func() domain.Name { return message.Misleading(header, m.From) }
	m.List = m.List || len(header.All("List-Id")) > 0
	if !sender && len(m.From.Addresses) > 0 {
		m.Sender = m.From.Addresses[0].String()
	}
	return m, nil
}

// atFlag is a fault of a sample where the command line has it.
func atFlag(err error) error {
	f, ok := errors.AsType[fault.Fault](err)
	if !ok {
		return err
	}
	f.Key = "--" + strings.TrimSuffix(f.Key, "s") // signatures are given one by one
	return f
}

func (e *explanation) print(std stdio) error {
	var b strings.Builder
	from := cmp.Or(terminal.Safe(joinNames(e.From)), "no domain")
	if e.FromFields > 1 { // then no signature counts
		from += fmt.Sprintf(", in %d fields", e.FromFields)
	}
	fmt.Fprintf(&b, "From: %s; MAIL FROM: <%s>; client: %s%s\n", from, terminal.Safe(e.Sender), e.Client, e.assumed)
	for i := range e.Signatures {
		e.Signatures[i].print(&b)
	}
	if len(e.Signatures) == 0 {
		fmt.Fprintln(&b, "no signature")
	}
	printPolicies(&b, e.SPF, e.DMARC)
	for _, line := range e.Walk {
		fmt.Fprintln(&b, "  "+terminal.Safe(line))
	}
	for i := range e.Files {
		printFile(&b, &e.Files[i])
	}
	for _, name := range e.Unclaimed {
		fmt.Fprintf(&b, "\n%s: no file claims it\n", terminal.Safe(string(name)))
	}
	if len(e.Files) == 0 && len(e.Unclaimed) == 0 {
		fmt.Fprint(&b, "\nno file judges mail that names no domain\n")
	}
	fmt.Fprintf(&b, "\nverdict: %s\n", outcomeOf(e.Verdict))
	if e.Enforced.Action != e.Verdict.Action {
		fmt.Fprintf(&b, "with every file in enforce mode: %s\n", outcomeOf(e.Enforced))
	}
	_, err := io.WriteString(std.out, b.String())
	return err
}

func outcomeOf(v *policy.Verdict) string {
	return strings.TrimSpace(v.Action.String() + " " + v.Reply.String())
}

func joinNames(names []domain.Name) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = string(name)
	}
	return strings.Join(texts, ", ")
}

// printFile says how one file came to its decision.
func printFile(w io.Writer, e *policy.Explanation) {
	d, where := e.Decision, ""
	if e.Envelope {
		where = " (MAIL FROM)"
	}
	fmt.Fprintf(w, "\n%s%s is judged by %s, mode %s\n", cmp.Or(terminal.Safe(d.Sender), "A From without a domain"), where, d.File, d.Mode)
	for _, t := range e.Tried {
		switch {
		case t.Holds && t.Why != "":
			fmt.Fprintf(w, "  %q holds: %s (%s)\n", t.Name, t.Action, terminal.Safe(t.Why))
		case t.Holds:
			fmt.Fprintf(w, "  %q holds: %s\n", t.Name, t.Action)
		default:
			fmt.Fprintf(w, "  %q does not hold: %s\n", t.Name, terminal.Safe(t.Why))
		}
	}
	fmt.Fprintf(w, "  so: %s", d.Action)
	if d.Rule == "" {
		fmt.Fprint(w, ", because no rule holds")
	} else if strings.HasPrefix(d.Rule, "(") {
		fmt.Fprintf(w, " %s", d.Rule)
	}
	fmt.Fprintln(w)
}

func (s *explainedSignature) print(w io.Writer) {
	fmt.Fprintf(w, "signature d=%s: %s", terminal.Safe(s.Domain), s.Result)
	if s.Reason != "" {
		fmt.Fprintf(w, " (%s)", s.Reason)
	}
	if s.Testing && s.Result != verifier.Pass.String() {
		fmt.Fprint(w, ", counts as absent: its key is in test mode (t=y)")
	}
	if len(s.Duplicates) > 0 {
		fmt.Fprint(w, ", leaves duplicate fields unsigned: "+strings.Join(s.Duplicates, ", "))
	}
	fmt.Fprintln(w)
}

// unclaimed are the sender domains that no file judges.
func unclaimed(m policy.Message, list []policy.Explanation) []domain.Name {
	domains := slices.Clone(m.From.Claimed)
	if envelope := message.DomainOf(m.Sender); envelope != "" && !slices.Contains(domains, envelope) {
		domains = append(domains, envelope)
	}
	return slices.DeleteFunc(domains, func(name domain.Name) bool {
		return slices.ContainsFunc(list, func(e policy.Explanation) bool { return e.Decision.Sender == string(name) })
	})
}
