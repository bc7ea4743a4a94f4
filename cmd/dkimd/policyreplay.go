package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/pipeline"
	"dkimd/internal/terminal"
	"dkimd/policy"

	"github.com/spf13/cobra"
)

func policyReplayCommand(std stdio) *cobra.Command {
	r := &replay{UnknownFor: map[string]int{}, Changes: []*replayChange{}, rows: map[replayKey]*replayChange{}}
	var asJSON bool
	var since, until, published string
	var domains []string
	c := &cobra.Command{
		Use:   "replay [LOG]...",
		Short: "Try rules on recorded mail, and say what would change",
		Long: `Replay judges the mail in the log stream by other rules, and says for which
messages the verdict would be another one than they had. The log is read where
dkimd log finds it, or from the files. What no record tells is unknown, where it
decides, and counted.

  dkimd policy replay --rules new-rules --since 7d
  dkimd policy replay --enforce --domain gmail.com
  dkimd policy replay --dmarc-policy reject --domain example.org

With --dmarc-policy it says as well what receivers would have done if the
domains had published that policy.

Exit status: 0 nothing would change, 1 something would, 2 fix something first,
or there was nothing to judge.`,
		ValidArgsFunction: places(files("")),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := r.read(cmd, since, until, published, domains)
			if err == nil {
				err = r.run(cmd, args, std)
			}
			return say(std, asJSON, r, err)
		},
	}
	f := c.Flags()
	f.StringVar(&r.rules, "rules", "", "judge by the rules in this `directory` (default: that of [policy])")
	f.BoolVar(&r.enforce, "enforce", false, "take every rules file as in enforce mode")
	f.StringVar(&since, "since", "", "only records from this `time` on: 24h, 7d, 2w, 2026-11-23")
	f.StringVar(&until, "until", "", "only records before this `time`")
	f.StringArrayVar(&domains, "domain", nil, "only mail of this `domain`, or one below it, in From or MAIL FROM")
	f.StringVar(&published, "dmarc-policy", "", "as if these domains published this `policy`: none, quarantine, reject")
	f.IntVar(&r.messages, "messages", 3, "name so `many` messages for each line, the last ones")
	completeFlag(c, "dmarc-policy", oneOf("none", "quarantine", "reject"))
	completeFlag(c, "domain", signingDomains)
	return jsonFlag(c, &asJSON)
}

// replay is the answer of the command.
type replay struct {
	Judged     int             `json:"judged"`
	Changed    int             `json:"changed"`
	Unknown    int             `json:"unknown"`     // messages with a verdict that hangs on what no record tells
	UnknownFor map[string]int  `json:"unknown_for"` // what that is
	Unsigned   int             `json:"unsigned"`    // mail of ours that hangs on SPF under the policy of --dmarc-policy
	Changes    []*replayChange `json:"changes"`
	Skipped    int             `json:"skipped_lines"`
	found

	rules    string
	enforce  bool
	messages int
	from, to time.Time
	domains  []domain.Name
	policy   *pipeline.Published
	rows     map[replayKey]*replayChange
}

// replayKey tells one kind of change from the others.
type replayKey struct {
	Domain string        `json:"domain"`
	Was    replayVerdict `json:"was"`
	Is     replayVerdict `json:"is"`
}

type replayVerdict struct {
	Action policy.Action `json:"action"`
	File   string        `json:"file"`
	Rule   string        `json:"rule"`
}

// replayChange is how many messages would have another verdict, and the last of them.
type replayChange struct {
	replayKey

	Count    int             `json:"count"`
	Messages []replayMessage `json:"messages"`
}

type replayMessage struct {
	Time   time.Time `json:"time"`
	ID     string    `json:"id"`
	From   string    `json:"from"`
	Client string    `json:"client"`
}

// maxChanges bounds the rows: strangers choose their domains.
const maxChanges = 10_000

func (r *replay) read(cmd *cobra.Command, since, until, published string, domains []string) (err error) {
	now, help := time.Now(), helpOf(cmd)
	if r.from, r.to, err = period(since, until, now, help); err != nil {
		return err
	}
	for _, text := range domains {
		name, err := domain.ParseLax(text)
		if err != nil {
			return usageError(fmt.Errorf("--domain: got %q; want a domain", text), help)
		}
		r.domains = append(r.domains, name)
	}
	if r.messages < 0 {
		return usageError(fmt.Errorf("--messages: got %d; want at least 0", r.messages), help)
	}
	if published == "" {
		return nil
	}
	if r.policy, err = pipeline.NewPublished(published); err != nil {
		return usageError(fmt.Errorf("--dmarc-policy: got %q; want none, quarantine or reject", published), help)
	}
	if r.domains == nil {
		return usageError(errors.New("--dmarc-policy: want --domain beside it: whose policy it is"), help)
	}
	return nil
}

func (r *replay) run(cmd *cobra.Command, args []string, std stdio) error {
	c, err := load(cmd)
	if err != nil {
		return err
	}
	if _, err := os.Stat(r.rules); r.rules != "" && err != nil {
		return userError{fmt.Errorf("read the rules: %w", err), ""}
	}
	rules, faults := policy.Load(cmp.Or(r.rules, c.Policy.Directory), c.Lists)
	if rules.DefaultBroken() {
		return faults
	}
	if r.rules != "" && rules.Files() == 0 && len(faults) == 0 {
		return userError{fmt.Errorf("--rules: %s has no rules file (DOMAIN.toml, _default.toml)", r.rules), ""}
	}
	r.fault(faults.Err())
	source, err := logStream(cmd, std, args, r.from)
	if err != nil {
		return err
	}
	for e := range source.All() {
		if !e.Time.Before(r.from) && (r.to.IsZero() || e.Time.Before(r.to)) && !e.IsProbe() && (r.domains == nil || r.names(e)) {
			r.judge(rules, e)
		}
	}
	r.Skipped = source.skipped
	r.Changes = slices.SortedFunc(maps.Values(r.rows), func(a, b *replayChange) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Domain, b.Domain), strings.Compare(a.Is.Rule, b.Is.Rule))
	})
	if err := source.told(&r.found, r.Judged > 0); err != nil {
		return err
	}
	switch {
	case r.Judged == 0:
		return userError{errors.New("no recorded mail of others fits: there is nothing to judge"), "dkimd log --mode verify lists what there is"}
	case r.Changed > 0:
		return errQuiet
	}
	return nil
}

// names reports whether the message is of one of the domains.
func (r *replay) names(e *events.Event) bool {
	return slices.ContainsFunc(e.Senders(), func(name domain.Name) bool {
		return slices.ContainsFunc(r.domains, name.Within)
	})
}

// judge judges a recorded message again. Mail that no rules were asked about has nothing to change.
func (r *replay) judge(rules *policy.Rules, e *events.Event) {
	if e.Mode == events.ModeUnsigned && r.policy != nil {
		r.Unsigned++
	}
	if e.Mode != events.ModeVerify {
		return
	}
	r.Judged++
	m, report := pipeline.Recorded(e)
	if r.policy != nil {
		r.policy.Assume(&m, report)
	}
	v := rules.Select(m).Judge(report)
	if r.enforce {
		v = v.Enforced()
	}
	was, is := verdictOf(e), replayVerdict{v.Action, v.File, v.Rule}
	if r.policy != nil {
		action, unknown := r.policy.Disposition(report)
		if v.Unknown |= unknown; action > is.Action {
			is = replayVerdict{Action: action, Rule: "(p=" + r.policy.String() + ")"}
		}
	}
	switch {
	case v.Unknown != 0:
		r.Unknown++
		for _, what := range v.Unknown.Words() {
			r.UnknownFor[what]++
		}
	case is.Action != was.Action:
		r.change(e, was, is)
	}
}

// verdictOf is the verdict that rules came to then.
func verdictOf(e *events.Event) (v replayVerdict) {
	for i := range e.Policy {
		d := &e.Policy[i]
		if d.Mode == "monitor" {
			continue
		}
		for action := policy.Accept; action <= policy.Reject; action++ {
			if action.String() == d.Action && (v.File == "" || action > v.Action) {
				v = replayVerdict{action, d.File, d.Rule}
			}
		}
	}
	return v
}

func (r *replay) change(e *events.Event, was, is replayVerdict) {
	r.Changed++
	key := replayKey{cmp.Or(e.Author(), "(none)"), was, is}
	row := r.rows[key]
	if row == nil && len(r.rows) >= maxChanges {
		key.Domain = events.Others
		row = r.rows[key]
	}
	if row == nil { // texts are parts of their records, which they would keep in memory
		key.Domain, key.Was.File, key.Was.Rule = strings.Clone(key.Domain), strings.Clone(was.File), strings.Clone(was.Rule)
		row = &replayChange{replayKey: key, Messages: []replayMessage{}}
		r.rows[key] = row
	}
	row.Count++
	row.Messages = append(row.Messages, replayMessage{e.Time, strings.Clone(e.ID), strings.Clone(strings.Join(e.From, ", ")), strings.Clone(e.Client)})
	row.Messages = row.Messages[max(0, len(row.Messages)-r.messages):]
}

func (r *replay) print(std stdio) error {
	leftOut(std, r.Skipped, 0)
	palette := terminal.PaletteOf(std.out)
	fmt.Fprintf(std.out, "%s judged: %d would change, %d unknown\n", terminal.Plural(r.Judged, "message"), r.Changed, r.Unknown)
	table := terminal.NewTable(std.out, palette, "domain", "was", "would be", "rules file", "rule", "messages")
	rows := make([][]string, len(r.Changes))
	for i, c := range r.Changes {
		by := c.Is
		if by.Rule == "" { // nothing holds any more
			by = c.Was
		}
		rows[i] = []string{
			terminal.Clip(terminal.Safe(c.Domain), maxName), c.Was.Action.String(), palette.Paint(colourOf(c.Is.Action.String()), c.Is.Action.String()),
			terminal.Safe(by.File), terminal.Clip(terminal.Safe(by.Rule), maxName), strconv.Itoa(c.Count),
		}
		table.Fit(rows[i]...)
	}
	for i, c := range r.Changes {
		if i == 0 {
			fmt.Fprintln(std.out)
		}
		if err := table.Row(rows[i]...); err != nil {
			return err
		}
		for _, m := range c.Messages {
			fmt.Fprintf(std.out, "  %s  %s  from %s, client %s\n", m.Time.Local().Format("2006-01-02 15:04:05"),
				terminal.Safe(cmp.Or(m.ID, "(no queue id)")), terminal.Clip(terminal.Safe(cmp.Or(m.From, "nobody")), maxName), terminal.Safe(m.Client))
		}
	}
	for _, what := range slices.Sorted(maps.Keys(r.UnknownFor)) {
		fmt.Fprintf(std.out, "\nunknown, for want of %s: %s\n", what, terminal.Plural(r.UnknownFor[what], "message"))
	}
	if r.Unsigned > 0 {
		fmt.Fprintf(std.out, "\nmail that left here unsigned: %s; with receivers they hang on SPF\n", terminal.Plural(r.Unsigned, "message"))
	}
	return nil
}
