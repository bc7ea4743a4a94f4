package main

import (
	"fmt"
	"math"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/terminal"

	"github.com/spf13/cobra"
)

// logQuery is which records, and what of them.
type logQuery struct {
	id, domain   string
	since, until string
	filters      []*logFilter
	follow       bool
	probes       bool
	why, sum     bool
	top, limit   int
	asJSON       bool

	from, to time.Time
	tests    []func(*events.Event) bool // of filters
	list     bool                       // the records are wanted, not what they come to
	probed   int                        // records of dkimd probe that were left out
}

func logCommand(std stdio) *cobra.Command {
	q := &logQuery{filters: logFilters()}
	c := &cobra.Command{
		Use:   "log [FILE]...",
		Short: "Read the log stream: list messages, say why, and sum them up",
		Long: `Log reads the log stream of the daemon (format json) from the files, from
standard input where FILE is -, or from where [log] output puts it: the file and
those that it was rotated into, or the journal (by journalctl -o cat -u dkimd).
Files may be compressed with gzip or zstd. What cannot be read is told of, and
the rest read; a pipe is read where it is named.

It prints a summary: by mode, domain, result of signatures, rule, and reason. It
lists the newest messages where a flag from --verdict on picks some, or --limit
or --why asks for them; --sum prints the summary of these. A flag given several
times fits any of its values. With --id it prints all that is known of one
message, with --follow each record as it is written. Messages of dkimd probe are
left out.

  dkimd log --since 24h
  dkimd log --verdict reject --from example.org --why
  dkimd log --id 4Xyz8q2Nk1z
  journalctl -u dkimd -o cat | dkimd log -

Exit status: 0 something was found, 1 no record fits, 2 fix something first,
also where only a part of the log could be read.`,
		ValidArgsFunction: places(files("")),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.read(cmd, time.Now()); err != nil {
				return err
			}
			if q.follow {
				return q.tail(cmd, args, std)
			}
			a := &logAnswer{query: q}
			return say(std, q.asJSON, a, q.answer(cmd, args, std, a))
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&q.id, "id", "", "only the message with this queue `id` or Message-ID, in full")
	f.StringVar(&q.since, "since", "", "only records from this `time` on: 24h, 7d, yesterday, 2026-11-23, 2026-11-23T14:00:00Z")
	f.StringVar(&q.until, "until", "", "only records before this `time`")
	f.StringVar(&q.domain, "domain", "", "only messages that name this `domain` in From or MAIL FROM, or have a signature of it")
	for _, filter := range q.filters {
		if filter.add(f); filter.words != nil {
			completeFlag(c, filter.flag, oneOf(filter.words...))
		}
	}
	f.BoolVar(&q.why, "why", false, "say of each message why it came out so, and what would have helped")
	f.IntVar(&q.limit, "limit", 100, "list at most so `many` messages, the newest")
	f.BoolVar(&q.sum, "sum", false, "print the summary where messages would be listed")
	f.IntVar(&q.top, "top", 10, "how many `lines` each table of the summary has at most")
	f.BoolVarP(&q.follow, "follow", "f", false, "print each record as it is written, one line each")
	f.BoolVar(&q.probes, "probes", false, "also records of messages that dkimd probe sent")
	completeFlag(c, "domain", signingDomains)
	return jsonFlag(c, &q.asJSON)
}

// read takes in the flags.
func (q *logQuery) read(cmd *cobra.Command, now time.Time) error {
	var err error
	if q.from, q.to, err = period(q.since, q.until, now, "log --help"); err != nil {
		return err
	}
	for _, filter := range q.filters {
		test, err := filter.test()
		if err != nil {
			return err
		}
		if test != nil {
			q.tests = append(q.tests, test)
		}
	}
	for _, flag := range []string{"limit", "sum", "top"} {
		if q.follow && cmd.Flags().Changed(flag) {
			return usageError(fmt.Errorf("--follow prints each record, and cannot be used with --%s", flag), "log --help")
		}
	}
	for flag, n := range map[string]int{"top": q.top, "limit": q.limit} {
		if n < 1 {
			return usageError(fmt.Errorf("--%s: got %d; want at least 1", flag, n), "log --help")
		}
	}
	if q.asJSON && !cmd.Flags().Changed("top") {
		q.top = math.MaxInt
	}
	q.list = !q.sum && (q.why || q.tests != nil || cmd.Flags().Changed("limit"))
	q.domain = string(domain.Fold(q.domain))
	return nil
}

// wants reports whether the query asks for the record.
func (q *logQuery) wants(e *events.Event) bool {
	switch {
	case !q.from.IsZero() && e.Time.Before(q.from), !q.to.IsZero() && !e.Time.Before(q.to):
		return false
	case q.id != "" && !e.About(q.id):
		return false
	case q.domain != "" && !e.Names(domain.Name(q.domain)):
		return false
	case slices.ContainsFunc(q.tests, func(test func(*events.Event) bool) bool { return !test(e) }):
		return false
	case e.IsProbe() && !q.probes && q.id == "":
		q.probed++
		return false
	}
	return true
}

// answer reads the stream for what is asked for.
func (q *logQuery) answer(cmd *cobra.Command, args []string, std stdio, a *logAnswer) error {
	source, err := logStream(cmd, std, args, q.from)
	if err != nil {
		return err
	}
	switch {
	case q.id != "":
		q.each(source, func(e *events.Event) { a.Records = append(a.Records, logRecord{e, q.why}) })
	case q.list:
		for _, e := range q.newest(source) {
			a.Records = append(a.Records, logRecord{e, q.why})
		}
	default:
		q.each(source, a.sum.Add)
		a.Summary = summaryOf(&a.sum, q.top)
	}
	a.Skipped, a.Probes = source.skipped, q.probed
	count := len(a.Records) + a.sum.Messages
	if err := source.told(&a.found, count > 0); err != nil || count > 0 {
		return err
	}
	return errQuiet
}

// each goes through the records that are asked for.
func (q *logQuery) each(source *logSource, do func(*events.Event)) {
	for e := range source.All() {
		if q.wants(e) {
			do(e)
		}
	}
}

// newest are the last records that are asked for, the newest first. Older files are not opened where enough are found; files
// that were named may come in any order.
func (q *logQuery) newest(source *logSource) []*events.Event {
	parts := source.parts
	var found []*events.Event
	for i := len(parts) - 1; i >= 0 && (source.named || len(found) < q.limit); i-- {
		source.parts = parts[i : i+1]
		most := q.limit
		if !source.named {
			most -= len(found)
		}
		var last []*events.Event
		q.each(source, func(e *events.Event) {
			if last = append(last, e); len(last) >= 2*most {
				last = append(last[:0], last[len(last)-most:]...)
			}
		})
		slices.Reverse(last)
		found = append(found, last[:min(most, len(last))]...)
	}
	if source.named && len(parts) > 1 {
		slices.SortStableFunc(found, func(a, b *events.Event) int { return b.Time.Compare(a.Time) })
	}
	return found[:min(q.limit, len(found))]
}

// tail prints records as they are written.
func (q *logQuery) tail(cmd *cobra.Command, args []string, std stdio) error {
	if len(args) > 1 {
		return usageError(fmt.Errorf("--follow: got %d files; want one", len(args)), "log --help")
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	source, err := logStream(cmd, std, args, q.from)
	if err != nil {
		return err
	}
	in, err := source.parts[len(source.parts)-1].follow(ctx, q.from)
	if err != nil {
		return userError{fmt.Errorf("read the log: %w", err), hintOf(err)}
	}
	defer in.Close() //nolint:errcheck // only read
	out := &painter{w: std.out, Palette: terminal.PaletteOf(std.out)}
	r := events.NewReader(in)
	for e, err := range r.Each() {
		switch {
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("read the log: %w", err)
		case err != nil || !q.wants(e):
			continue
		case q.asJSON:
			out.json(logRecord{e, q.why})
		default:
			out.line(e)
		}
		if q.why && !q.asJSON {
			out.why(e)
		}
		if out.err != nil {
			return fmt.Errorf("write: %w", out.err)
		}
	}
	source.skipped = r.Skipped()
	leftOut(std, source.skipped, q.probed)
	return nil
}
