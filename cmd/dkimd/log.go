package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/terminal"
	"dkimd/internal/tomlfile"

	"github.com/spf13/cobra"
)

// logQuery is which records, and what of them.
type logQuery struct {
	id, domain   string
	since, until string
	follow       bool
	probes       bool
	top          int
	asJSON       bool

	from, to time.Time
}

func logCommand(std stdio) *cobra.Command {
	q := &logQuery{}
	c := &cobra.Command{
		Use:   "log [FILE]",
		Short: "Read the log stream: what became of a message, and summaries",
		Long: `Log reads the log stream of the daemon (format json) from FILE, from standard
input where FILE is -, or from the file that [log] output names. It prints a
summary: by mode, domain, result of signatures, rule, and reason. With --id it
prints all that is known of one message, with --follow each record as it is
written. Messages of dkimd probe are left out.

  dkimd log --since 24h
  dkimd log --id 4Xyz8q2Nk1z
  journalctl -u dkimd -o cat | dkimd log -

Exit status: 0 something was found, 1 no record fits, 2 fix something first.`,
		Args:              arguments("[file]"),
		ValidArgsFunction: places(files("")),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.read(time.Now()); err != nil {
				return err
			}
			if q.asJSON && !cmd.Flags().Changed("top") {
				q.top = math.MaxInt
			}
			if !q.asJSON || q.follow {
				return q.run(cmd, args, std, nil)
			}
			a := &logAnswer{}
			return say(std, q.asJSON, a, q.run(cmd, args, std, a))
		},
	}
	f := c.Flags()
	f.StringVar(&q.id, "id", "", "only the message with this queue `id` or Message-ID, in full")
	f.StringVar(&q.domain, "domain", "", "only messages that name this `domain` in From or MAIL FROM, or have a signature of it")
	f.StringVar(&q.since, "since", "", "only records from this `time` on: 24h, 7d, 2w, 2026-11-23, 2026-11-23T14:00:00Z")
	f.StringVar(&q.until, "until", "", "only records before this `time`")
	f.BoolVarP(&q.follow, "follow", "f", false, "print each record as it is written, one line each")
	f.BoolVar(&q.probes, "probes", false, "also records of messages that dkimd probe sent")
	f.IntVar(&q.top, "top", 10, "how many `lines` each table has at most")
	completeFlag(c, "domain", signingDomains)
	return jsonFlag(c, &q.asJSON)
}

// read takes in the flags.
func (q *logQuery) read(now time.Time) error {
	for _, bound := range []struct {
		flag, text string
		at         *time.Time
	}{{"since", q.since, &q.from}, {"until", q.until, &q.to}} {
		if bound.text == "" {
			continue
		}
		var ok bool
		if *bound.at, ok = pointInTime(bound.text, now); !ok {
			return usageError(fmt.Errorf("--%s: got %q; want a time like 24h, 7d, 2w, 2026-11-23 or 2026-11-23T14:00:00Z", bound.flag, bound.text), "log --help")
		}
	}
	if q.top < 1 {
		return usageError(fmt.Errorf("--top: got %d; want at least 1", q.top), "log --help")
	}
	q.domain = string(domain.Fold(q.domain))
	return nil
}

// pointInTime reads a time of day, in local time unless it says otherwise, or how long ago it was.
func pointInTime(text string, now time.Time) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, true
		}
	}
	d, ok := tomlfile.ParseDuration(text)
	return now.Add(-d), ok && d > 0
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
	}
	return true
}

// run reads the stream. It prints what is asked for, or puts it into an answer.
func (q *logQuery) run(cmd *cobra.Command, args []string, std stdio, a *logAnswer) error {
	file, err := logFile(cmd, args)
	if err != nil {
		return err
	}
	in := std.in
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the operator names it
		if err != nil {
			return userError{fmt.Errorf("read the log: %w", err), ""}
		}
		defer f.Close() //nolint:errcheck // only read
		if compressed(f) {
			return userError{fmt.Errorf("read the log: %s is compressed", file), "zcat " + file + " | dkimd log -"}
		}
		in = f
		if q.follow {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if q.from.IsZero() {
				if _, err := f.Seek(0, io.SeekEnd); err != nil {
					return fmt.Errorf("read the log: %w", err)
				}
			}
			in = &tail{ctx: ctx, path: file, file: f}
		}
	}
	return q.show(in, std, a)
}

// compressed reports whether logrotate has been there. A pipe is not asked: what is read from it is gone.
func compressed(f io.ReaderAt) bool {
	magic := make([]byte, 2)
	n, _ := f.ReadAt(magic, 0)
	return n == len(magic) && magic[0] == 0x1f && magic[1] == 0x8b
}

// logFile is where the stream is.
func logFile(cmd *cobra.Command, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	path, named := configFile(cmd)
	c, faults := config.Load(path, named)
	if len(faults) > 0 {
		return "", faults
	}
	if i := slices.IndexFunc(c.Log.Output, filepath.IsAbs); i >= 0 {
		if c.Log.Format != "json" {
			return "", userError{
				fmt.Errorf("the log stream in %s has format %s, and only json can be read", c.Log.Output[i], c.Log.Format),
				"where older records in it are JSON: dkimd log " + c.Log.Output[i],
			}
		}
		return c.Log.Output[i], nil
	}
	hint := "name the file it ends up in, or: journalctl -u dkimd -o cat | dkimd log -"
	if !slices.Contains(c.Log.Output, "stdout") && !slices.Contains(c.Log.Output, "stderr") {
		hint = "name a file in [log] output as well: records are JSON there"
	}
	return "", userError{fmt.Errorf("the log stream goes to %s, not to a file", strings.Join(c.Log.Output, ", ")), hint}
}

// show reads the stream and prints what is asked for.
func (q *logQuery) show(in io.Reader, std stdio, a *logAnswer) error {
	var summary events.Summary
	out := &painter{w: std.out, Palette: terminal.PaletteOf(std.out)}
	r := events.NewReader(in)
	records := r.All()
	if q.follow {
		records = r.Each()
	}
	count, probes := 0, 0
	for e, err := range records {
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if !q.wants(e) {
			continue
		}
		if e.IsProbe() && !q.probes && q.id == "" {
			probes++
			continue
		}
		switch {
		case q.follow || q.id != "" && a == nil:
			q.one(out, e, count == 0)
		case q.id != "":
			a.Records = append(a.Records, e)
		default:
			summary.Add(e)
		}
		if count++; out.err != nil {
			return fmt.Errorf("write: %w", out.err)
		}
	}
	if a != nil {
		a.Skipped, a.Probes = r.Skipped(), probes
		if q.id == "" {
			a.Summary = summaryOf(&summary, q.top)
		}
		if count == 0 {
			return errQuiet
		}
		return nil
	}
	leftOut(std, r.Skipped(), probes)
	switch {
	case count == 0 && !q.follow:
		fmt.Fprintln(std.err, "dkimd: no record fits")
		return errQuiet
	case !q.follow && q.id == "":
		out.summary(&summary, q.top)
	}
	return out.err
}

// one prints one record.
func (q *logQuery) one(out *painter, e *events.Event, first bool) {
	switch {
	case q.follow && q.asJSON:
		out.json(e)
	case q.follow:
		out.line(e)
	default:
		if !first {
			out.text("\n")
		}
		out.details(e)
	}
}

// leftOut says what of the stream is not shown.
func leftOut(std stdio, skipped, probes int) {
	if skipped > 0 {
		fmt.Fprintf(std.err, "dkimd: left out of the log as no record of format json: %s\n", terminal.Plural(skipped, "line"))
	}
	if probes > 0 {
		fmt.Fprintf(std.err, "dkimd: left out as sent by dkimd probe, not by mail: %s (--probes shows them)\n", terminal.Plural(probes, "record"))
	}
}

// tail is a file that grows, and that may be renamed with a new one in its place.
type tail struct {
	ctx  context.Context //nolint:containedctx // an io.Reader has none
	path string
	file *os.File
}

// tailInterval is how often a file that is followed is looked at.
const tailInterval = 200 * time.Millisecond

// Read waits for more. It returns io.EOF once the context is done.
func (t *tail) Read(p []byte) (int, error) {
	tick := time.NewTicker(tailInterval)
	defer tick.Stop()
	for {
		n, err := t.file.Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if t.renew() {
			continue
		}
		select {
		case <-t.ctx.Done():
			return 0, io.EOF
		case <-tick.C:
		}
	}
}

// renew opens the file anew where another one has come to its place, and goes
// back to its beginning where it was cut.
func (t *tail) renew() bool {
	ours, err := t.file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(t.path)
	if err != nil {
		return false // between the renaming and the new file
	}
	if os.SameFile(ours, now) {
		at, err := t.file.Seek(0, io.SeekCurrent)
		if err == nil && now.Size() < at {
			_, err = t.file.Seek(0, io.SeekStart)
			return err == nil
		}
		return false
	}
	next, err := os.Open(t.path)
	if err != nil {
		return false
	}
	_ = t.file.Close()
	t.file = next
	return true
}
