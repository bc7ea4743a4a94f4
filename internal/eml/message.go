// Package eml reads a message as people keep one, in a file with the line ends
// of its system, and takes it apart as a mail server would (RFC 5322 section 2.1).
package eml

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"dkimd/internal/message"
)

// maxSize bounds a message: mail servers do not take larger ones.
const maxSize = 256 << 20

func errTooLarge() error { return fmt.Errorf("the message is larger than %d MiB", maxSize>>20) }

// Message is a message as it stood in a file, taken apart.
type Message struct {
	EOL     string // its line ends
	Raw     []byte // as read, without the line that an mbox has above it
	Fields  []message.Field
	RawBody []byte // the body as read
	Body    []byte // the body with CRLF line ends

	// Notes say what was around the message, and was taken off: the file is not the message as it was sent.
	Notes []string

	mboxLine []byte
}

// Read reads and splits the message in a file; "-" is standard input.
func Read(file string, stdin io.Reader) (Message, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the operator names it
		if err != nil {
			return Message{}, fmt.Errorf("read the message: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxSize+1))
	switch {
	case err != nil:
		return Message{}, fmt.Errorf("read the message: %w", err)
	case len(raw) > maxSize:
		return Message{}, errTooLarge()
	}
	raw, notes, err := unwrap(raw)
	if err != nil {
		return Message{}, err
	}
	raw, more := firstOfMbox(raw)
	m := Split(raw)
	if m.Notes = notes; more {
		m.Notes = append(m.Notes, "the file is an mbox with several messages: read is the first")
	}
	return m, nil
}

// nextInMbox is the line above another message in an mbox. Such a line of a message itself is written ">From ".
var nextInMbox = regexp.MustCompile(`\n\r?\nFrom [^\n]+\b\d\d:\d\d`)

// firstOfMbox is an mbox up to its second message, and whether it has one.
func firstOfMbox(raw []byte) ([]byte, bool) {
	if !bytes.HasPrefix(raw, []byte("From ")) {
		return raw, false
	}
	if at := nextInMbox.FindIndex(raw); at != nil {
		return raw[:at[0]+1], true
	}
	return raw, false
}

// Split takes a message apart at its first empty line. Lines may end in LF or
// CRLF. A line that cannot be a header field begins the body, as it does for a mail server.
func Split(raw []byte) Message {
	m := Message{EOL: "\n"}
	if bytes.HasPrefix(raw, []byte("From ")) || bytes.HasPrefix(raw, []byte(">From ")) {
		_, after := cutLine(raw)
		m.mboxLine, raw = raw[:len(raw)-len(after)], after
	}
	m.Raw = raw
	if i := bytes.IndexByte(raw, '\n'); i > 0 && raw[i-1] == '\r' {
		m.EOL = "\r\n"
	}
	rest := raw
	for len(rest) > 0 {
		line, after := cutLine(rest)
		if len(line) == 0 {
			rest = after
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || line[0] == ' ' || line[0] == '\t' {
			break
		}
		value := [][]byte{line[colon+1:]}
		for len(after) > 0 && (after[0] == ' ' || after[0] == '\t') {
			line, after = cutLine(after)
			value = append(value, line)
		}
		m.Fields = append(m.Fields, message.NewField(string(rest[:colon]), string(bytes.Join(value, []byte("\n")))))
		rest = after
	}
	m.RawBody, m.Body = rest, WithCRLF(rest)
	return m
}

func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest
}

// WithCRLF ends every line in CRLF, as SMTP would carry it (RFC 5321 section 2.3.8).
func WithCRLF(b []byte) []byte {
	if bytes.Count(b, []byte("\n")) == bytes.Count(b, []byte("\r\n")) {
		return b
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}

// Header is the header of the message, within the limits of the daemon.
func (m Message) Header() *message.Header {
	h := &message.Header{}
	for _, f := range m.Fields {
		h.Add(f.Name(), string(f.Value()))
	}
	return h
}

// WithFields is the message as read, with more fields on top of its header.
func (m Message) WithFields(fields ...message.Field) []byte {
	var b bytes.Buffer
	b.Write(m.mboxLine)
	for _, f := range fields {
		b.WriteString(strings.ReplaceAll(string(f.Raw()), "\r\n", m.EOL) + m.EOL)
	}
	b.Write(m.Raw)
	return b.Bytes()
}
