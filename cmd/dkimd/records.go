package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/events"
	"dkimd/internal/terminal"
	"dkimd/policy"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"
)

// logSource is where the log stream is read: what the log was rotated into, oldest first, or the journal.
type logSource struct {
	parts   []logPart
	named   bool    // on the command line, in whatever order
	skipped int     // lines that were no record, of what was read
	read    int64   // bytes
	faults  []error // of parts that could not be read, or not to their end
}

// logPart is a file, standard input, or the journal.
type logPart struct {
	name   string
	open   func(last int64) (io.ReadCloser, error)                           // at about its last bytes; 0: all of it
	follow func(ctx context.Context, since time.Time) (io.ReadCloser, error) // as it grows
}

// logStream finds the log stream: the files named, else those of the configuration that have records since then.
func logStream(cmd *cobra.Command, std stdio, files []string, since time.Time) (*logSource, error) {
	if len(files) == 0 {
		path, named := configFile(cmd)
		c, faults := config.Load(path, named)
		if len(faults) > 0 {
			return nil, faults
		}
		return configuredLog(cmd.Context(), c, since)
	}
	s := &logSource{named: true}
	for _, name := range files {
		if name == "-" {
			in := io.NopCloser(std.in)
			s.parts = append(s.parts, logPart{
				name:   "standard input",
				open:   func(int64) (io.ReadCloser, error) { return in, nil },
				follow: func(context.Context, time.Time) (io.ReadCloser, error) { return in, nil },
			})
		} else {
			s.file(name)
		}
	}
	return s, nil
}

// configuredLog finds what [log] output names.
func configuredLog(ctx context.Context, c *config.Config, since time.Time) (*logSource, error) {
	s := &logSource{}
	outputs := strings.Join(c.Log.Output, ", ")
	if i := slices.IndexFunc(c.Log.Output, filepath.IsAbs); i >= 0 {
		if c.Log.Format != "json" {
			return nil, userError{
				fmt.Errorf("the log stream in %s has format %s, and only json can be read", c.Log.Output[i], c.Log.Format),
				"where older records in it are JSON: dkimd log " + c.Log.Output[i],
			}
		}
		s.withRotated(c.Log.Output[i], since)
		return s, nil
	}
	query := []string{"--quiet", "--output=cat", "--unit=" + events.AppName}
	switch {
	case slices.Contains(c.Log.Output, "journal"):
		query = append(query, "--output-fields="+events.JournalRecord)
	case !slices.Contains(c.Log.Output, "stdout") && !slices.Contains(c.Log.Output, "stderr"):
		return nil, userError{fmt.Errorf("the log stream goes to %s, not to a file", outputs), "name a file in [log] output as well: records are JSON there"}
	case c.Log.Format != "json":
		return nil, userError{fmt.Errorf("the log stream goes to %s in format %s, and only json can be read", outputs, c.Log.Format), ""}
	}
	if _, err := exec.LookPath(journalReader); err != nil {
		return nil, userError{fmt.Errorf("the log stream goes to %s, not to a file", outputs), "name the file it ends up in, or pipe it into: dkimd log -"}
	}
	s.parts = append(s.parts, logPart{
		name: "the journal",
		open: func(last int64) (io.ReadCloser, error) {
			if last > 0 {
				return openJournal(ctx, query, since, "--lines="+strconv.FormatInt(last/usualRecord, 10))
			}
			return openJournal(ctx, query, since)
		},
		follow: func(ctx context.Context, since time.Time) (io.ReadCloser, error) {
			if since.IsZero() {
				return openJournal(ctx, query, since, "--follow", "--lines=0")
			}
			return openJournal(ctx, query, since, "--follow")
		},
	})
	return s, nil
}

// usualRecord is about how many bytes a record has.
const usualRecord = 1 << 10

// file adds a file. A pipe that nobody named on the command line is left alone: to open it may take forever, and what is read
// from it is lost to its reader.
func (s *logSource) file(path string) {
	s.parts = append(s.parts, logPart{
		name: path,
		open: func(last int64) (io.ReadCloser, error) { return openLog(path, last, s.named) },
		follow: func(ctx context.Context, since time.Time) (io.ReadCloser, error) {
			return followFile(ctx, path, !since.IsZero())
		},
	})
}

// rotation is what logrotate adds to a name: .1, -20261129, perhaps with a time, and that of a compression, also
// of those that are not read, which is told then.
var rotation = regexp.MustCompile(`^[.-][0-9][0-9-]*(\.(?:gz|zst|bz2|xz))?$`)

// withRotated adds a file, and before it those that it was rotated into: by the time of their last record, which is when they
// were written last. What is compressed keeps that time. While a file is being compressed it is there twice: the other one is
// not whole yet.
func (s *logSource) withRotated(path string, since time.Time) {
	type written struct {
		path, plain string // plain is without compression
		ended       time.Time
	}
	var list []written
	extension := filepath.Ext(path)
	siblings, _ := os.ReadDir(filepath.Dir(path)) // whoever may not list them may read this one
	for _, entry := range siblings {
		name := entry.Name()
		rest, ok := strings.CutPrefix(name, filepath.Base(path))
		if !ok { // with logrotate's extension: dkimd-20261129.json
			rest, ok = strings.CutPrefix(name, strings.TrimSuffix(filepath.Base(path), extension))
			rest = strings.Replace(rest, extension, "", 1)
		}
		info, err := entry.Info()
		turned := rotation.FindStringSubmatch(rest)
		if ok && err == nil && info.Mode().IsRegular() && turned != nil && !info.ModTime().Before(since) {
			whole := filepath.Join(filepath.Dir(path), name)
			list = append(list, written{whole, strings.TrimSuffix(whole, turned[1]), info.ModTime()})
		}
	}
	slices.SortFunc(list, func(a, b written) int { return cmp.Or(a.ended.Compare(b.ended), strings.Compare(b.path, a.path)) })
	for _, r := range list {
		if r.plain == r.path || !slices.ContainsFunc(list, func(other written) bool { return other.path == r.plain }) {
			s.file(r.path)
		}
	}
	s.file(path)
}

// All are the records, as they were written. One part after the other is open. Parts that cannot be read, or not to their end,
// are in faults.
func (s *logSource) All() iter.Seq[*events.Event] {
	return func(yield func(*events.Event) bool) {
		for _, part := range s.parts {
			if !s.part(part, 0, yield) {
				return
			}
		}
	}
}

// Last are the records at the end of the log, about so many bytes of them: those of the newest part first, in their order.
func (s *logSource) Last(most int64) iter.Seq[*events.Event] {
	return func(yield func(*events.Event) bool) {
		for _, part := range slices.Backward(s.parts) {
			if s.read >= most || !s.part(part, most-s.read, yield) {
				return
			}
		}
	}
}

// part reads one part, or about its last bytes.
func (s *logSource) part(part logPart, last int64, yield func(*events.Event) bool) bool {
	in, err := part.open(last)
	if err != nil {
		s.faults = append(s.faults, userError{fmt.Errorf("read the log: %w", err), hintOf(err)})
		return true
	}
	broken := func(err error, hint string) {
		s.faults = append(s.faults, userError{fmt.Errorf("read the log: %s: %w", part.name, err), hint})
	}
	r := events.NewReader(&counted{in, &s.read})
	for e, err := range r.All() {
		if err != nil {
			broken(err, "")
			break
		}
		if !yield(e) {
			_ = in.Close()
			return false
		}
	}
	s.skipped += r.Skipped()
	if err := in.Close(); err != nil {
		broken(err, "")
	}
	return true
}

// counted counts what is read.
type counted struct {
	io.Reader
	n *int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}

// told puts into an answer what could not be read of the log. Where nothing else was found either, it is the error of the command.
func (s *logSource) told(f *found, something bool) error {
	if len(s.faults) == 0 || !something {
		return errors.Join(s.faults...)
	}
	for _, err := range s.faults {
		if user, ok := errors.AsType[userError](err); ok && user.hint != "" {
			err = fmt.Errorf("%w (hint: %s)", err, user.hint)
		}
		f.fault(err)
	}
	return userError{err: errQuiet}
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

// compressedError is a file that other programs decompress.
type compressedError struct{ path, program string }

func (e compressedError) Error() string {
	return e.path + " is compressed in a way that dkimd does not read"
}

func hintOf(err error) string {
	if c, ok := errors.AsType[compressedError](err); ok {
		return c.program + " " + c.path + " | dkimd log -"
	}
	return ""
}

// isRegular is nil for a file that can be read to its end.
func isRegular(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	return err
}

// maxWholly is how large a compressed file is read of which only the end is wanted.
const maxWholly = 8 << 20

// openLog opens a file, which may be compressed: its first bytes tell. With last it begins about so many bytes before the end
// where it can. A pipe has to be named.
func openLog(path string, last int64, named bool) (io.ReadCloser, error) {
	if err := isRegular(path); err != nil && !named {
		return nil, err
	}
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(f, 64<<10)
	magic, _ := in.Peek(4)
	var plain io.Reader = in
	var size int64
	if info, err := f.Stat(); err == nil && last > 0 {
		size = info.Size()
	}
	compressed := true
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}): // RFC 1952
		plain, err = gzip.NewReader(in)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878
		var z *zstd.Decoder
		if z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1)); err == nil {
			plain = z.IOReadCloser()
		}
	case bytes.HasPrefix(magic, []byte("BZh")):
		err = compressedError{path, "bzcat"}
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X'}):
		err = compressedError{path, "xzcat"}
	default:
		if compressed = false; size > last {
			_, err = f.Seek(size-last, io.SeekStart) // what is left of the first line is no record
			in.Reset(f)
		}
	}
	if compressed && size > maxWholly {
		err = errors.New("too large to read to its end")
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &logInput{plain, f}, nil
}

// logInput is the text of a file.
type logInput struct {
	io.Reader
	file *os.File
}

func (i *logInput) Close() error {
	if plain, ok := i.Reader.(io.Closer); ok {
		_ = plain.Close() // only read
	}
	return i.file.Close()
}

// journalReader prints the journal. With -o cat it prints the messages alone, which are the records: -o json would wrap each
// in another object, and leave out those over 4 KiB.
const journalReader = "journalctl"

// openJournal runs journalctl.
func openJournal(ctx context.Context, query []string, since time.Time, more ...string) (io.ReadCloser, error) {
	args := slices.Clone(query)
	if !since.IsZero() {
		args = append(args, "--since=@"+strconv.FormatInt(since.Unix(), 10))
	}
	c := exec.CommandContext(ctx, journalReader, append(args, more...)...) //nolint:gosec // all of them are ours
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	j := &journal{ReadCloser: out, command: c}
	c.Stderr = &j.said
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", journalReader, err)
	}
	return j, nil
}

// journal is what a run of journalctl prints.
type journal struct {
	io.ReadCloser
	command *exec.Cmd
	said    bytes.Buffer
	ended   bool // it has printed all
}

func (j *journal) Read(p []byte) (int, error) {
	n, err := j.ReadCloser.Read(p)
	j.ended = j.ended || errors.Is(err, io.EOF)
	return n, err
}

// Close ends journalctl. What went wrong with it is an error where all was read.
func (j *journal) Close() error {
	_ = j.ReadCloser.Close()
	if !j.ended {
		_ = j.command.Process.Kill()
	}
	if err := j.command.Wait(); err != nil && j.ended {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(j.said.String()))
	}
	return nil
}

// recent is how much of the end of the log tells what rules files were until now.
const recent = 1 << 20

// promoted are the rules files that enforce now, and only monitored in the last records of the log. What cannot be read tells nothing.
func promoted(ctx context.Context, c *config.Config, rules *policy.Rules) []string {
	if rules.Files() == 0 {
		return nil
	}
	source, err := configuredLog(ctx, c, time.Time{})
	if err != nil {
		return nil
	}
	type mode struct {
		at       time.Time
		monitors bool
	}
	modes := map[string]mode{}
	for e := range source.Last(recent) {
		for i := range e.Policy {
			if d := &e.Policy[i]; !e.Time.Before(modes[d.File].at) {
				modes[d.File] = mode{e.Time, d.Mode == "monitor"}
			}
		}
	}
	maps.DeleteFunc(modes, func(file string, m mode) bool { return !m.monitors || !rules.Enforces(file) })
	return slices.Sorted(maps.Keys(modes))
}
