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
	named   bool // on the command line, in whatever order
	skipped int  // lines that were no record, of what was read
}

// logPart is a file, standard input, or the journal.
type logPart struct {
	name   string
	open   func() (io.ReadCloser, error)
	follow func(ctx context.Context, since time.Time) (io.ReadCloser, error) // as it grows
}

// logStream finds the log stream: the files named, else those of the configuration that have records since then.
func logStream(cmd *cobra.Command, std stdio, files []string, since time.Time) (*logSource, error) {
	s := &logSource{}
	if len(files) == 0 {
		return s, s.configured(cmd, since)
	}
	s.named = true
	for _, name := range files {
		if name == "-" {
			in := io.NopCloser(std.in)
			s.parts = append(s.parts, logPart{
				name:   "standard input",
				open:   func() (io.ReadCloser, error) { return in, nil },
				follow: func(context.Context, time.Time) (io.ReadCloser, error) { return in, nil },
			})
		} else {
			s.file(name)
		}
	}
	return s, nil
}

// configured finds what [log] output names.
func (s *logSource) configured(cmd *cobra.Command, since time.Time) error {
	path, named := configFile(cmd)
	c, faults := config.Load(path, named)
	if len(faults) > 0 {
		return faults
	}
	outputs := strings.Join(c.Log.Output, ", ")
	if i := slices.IndexFunc(c.Log.Output, filepath.IsAbs); i >= 0 {
		if c.Log.Format != "json" {
			return userError{
				fmt.Errorf("the log stream in %s has format %s, and only json can be read", c.Log.Output[i], c.Log.Format),
				"where older records in it are JSON: dkimd log " + c.Log.Output[i],
			}
		}
		s.withRotated(c.Log.Output[i], since)
		return nil
	}
	if !slices.Contains(c.Log.Output, "stdout") && !slices.Contains(c.Log.Output, "stderr") {
		return userError{fmt.Errorf("the log stream goes to %s, not to a file", outputs), "name a file in [log] output as well: records are JSON there"}
	}
	if c.Log.Format != "json" {
		return userError{fmt.Errorf("the log stream goes to %s in format %s, and only json can be read", outputs, c.Log.Format), ""}
	}
	if _, err := exec.LookPath(journalReader); err != nil {
		return userError{fmt.Errorf("the log stream goes to %s, not to a file", outputs), "name the file it ends up in, or pipe it into: dkimd log -"}
	}
	s.parts = append(s.parts, logPart{
		name: "the journal",
		open: func() (io.ReadCloser, error) { return openJournal(cmd.Context(), since, false) },
		follow: func(ctx context.Context, since time.Time) (io.ReadCloser, error) {
			return openJournal(ctx, since, true)
		},
	})
	return nil
}

func (s *logSource) file(path string) {
	s.parts = append(s.parts, logPart{
		name: path,
		open: func() (io.ReadCloser, error) { return openLog(path) },
		follow: func(ctx context.Context, since time.Time) (io.ReadCloser, error) {
			return followFile(ctx, path, !since.IsZero())
		},
	})
}

// rotation is what logrotate adds to a name: .1, -20261129, perhaps with a time, and that of a compression.
var rotation = regexp.MustCompile(`^[.-][0-9][0-9-]*(\.(gz|zst))?$`)

// withRotated adds a file, and before it those that it was rotated into: by the time of their last record, which is when they
// were written last. What is compressed keeps that time. While a file is being compressed it is there twice: the other one is
// not whole yet.
func (s *logSource) withRotated(path string, since time.Time) {
	type written struct {
		path  string
		ended time.Time
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
		if ok && err == nil && info.Mode().IsRegular() && rotation.MatchString(rest) && !info.ModTime().Before(since) {
			list = append(list, written{filepath.Join(filepath.Dir(path), name), info.ModTime()})
		}
	}
	slices.SortFunc(list, func(a, b written) int { return cmp.Or(a.ended.Compare(b.ended), strings.Compare(b.path, a.path)) })
	for _, r := range list {
		plain := strings.TrimSuffix(strings.TrimSuffix(r.path, ".gz"), ".zst")
		if plain == r.path || !slices.ContainsFunc(list, func(other written) bool { return other.path == plain }) {
			s.file(r.path)
		}
	}
	s.file(path)
}

// All are the records, as they were written. One part after the other is open.
func (s *logSource) All() iter.Seq2[*events.Event, error] {
	return func(yield func(*events.Event, error) bool) {
		for _, part := range s.parts {
			if !s.part(part, yield) {
				return
			}
		}
	}
}

func (s *logSource) part(part logPart, yield func(*events.Event, error) bool) bool {
	in, err := part.open()
	if err != nil {
		return yield(nil, userError{fmt.Errorf("read the log: %w", err), hintOf(err)})
	}
	r := events.NewReader(in)
	defer func() { s.skipped += r.Skipped() }()
	for e, err := range r.All() {
		if err != nil {
			err = userError{fmt.Errorf("read the log: %s: %w", part.name, err), "name the files that can be read: dkimd log FILE..."}
		}
		if !yield(e, err) || err != nil {
			_ = in.Close()
			return false
		}
	}
	if err := in.Close(); err != nil {
		return yield(nil, userError{fmt.Errorf("read the log: %s: %w", part.name, err), ""})
	}
	return true
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

// openLog opens a file, which may be compressed: its first bytes tell.
func openLog(path string) (io.ReadCloser, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(f, 64<<10)
	magic, _ := in.Peek(4)
	var plain io.Reader = in
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
func openJournal(ctx context.Context, since time.Time, follow bool) (io.ReadCloser, error) {
	args := []string{"--quiet", "--output=cat", "--unit=dkimd"}
	if !since.IsZero() {
		args = append(args, "--since=@"+strconv.FormatInt(since.Unix(), 10))
	}
	if follow {
		args = append(args, "--follow")
		if since.IsZero() {
			args = append(args, "--lines=0")
		}
	}
	c := exec.CommandContext(ctx, journalReader, args...)
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

// openEnd opens the last bytes of a log, to be read by the way. A pipe is left alone: to open it may take forever, and what is
// read from it is lost to its reader.
func openEnd(path string, most int64) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path) //nolint:gosec // [log] output names it
	if err == nil {
		_, err = f.Seek(max(0, info.Size()-most), io.SeekStart) // what is left of the first line is no record
	}
	return f, err
}

// recent is how much of the end of the log tells what rules files were until now.
const recent = 1 << 20

// promoted are the rules files that enforce now, and only monitored in the last records of a log. One that cannot be read tells nothing.
func promoted(path string, rules *policy.Rules) []string {
	f, err := openEnd(path, recent)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // only read
	modes := map[string]string{}
	for e, err := range events.NewReader(f).All() {
		if err != nil {
			break
		}
		for i := range e.Policy {
			modes[e.Policy[i].File] = e.Policy[i].Mode
		}
	}
	maps.DeleteFunc(modes, func(file, mode string) bool { return mode != "monitor" || !rules.Enforces(file) })
	return slices.Sorted(maps.Keys(modes))
}
