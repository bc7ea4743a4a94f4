package exim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"dkimd/internal/message"
)

// maxField is how much of one field is kept; a longer one is past the limit of
// a whole header anyway.
const maxField = message.MaxHeaderBytes + 1

// mail turns a message as Exim has it into that of the wire, and hands it on:
// lines end in CRLF again, and what Exim put in front is taken away. It holds
// one field of the header at a time, and nothing of the body.
type mail struct {
	ctx context.Context
	msg Message
	req *request
	err error // parse error: not a valid message

	line    []byte // of the header, as far as it has come
	field   []byte // complete lines, with LF between them
	any     bool   // there is a field
	cut     bool   // the line being read is longer than what is kept
	lines   int
	ours    preface
	body    bool // the header has ended
	cr      bool // the last byte of the body was CR
	scratch []byte
}

// preface is how much of what Exim puts in front of a message has come.
type preface uint8

const (
	prefaceMbox     preface = iota // the line that begins a mailbox
	prefaceSender                  // X-Envelope-From
	prefaceRcpts                   // X-Envelope-To
	prefaceReceived                // Exim's own Received
	prefaceDone
)

func newMail(ctx context.Context, msg Message, req *request) *mail {
	m := &mail{ctx: ctx, msg: msg, req: req}
	switch req.dialect {
	case dialectCheck:
	case dialectVerify:
		m.ours = prefaceReceived
	case dialectSign, dialectPing:
		// What leaves has Exim's Received in it, and is signed as it leaves.
		m.ours = prefaceDone
	}
	return m
}

// write takes the next bytes of the message.
func (m *mail) write(p []byte) {
	for !m.body && len(p) > 0 && m.err == nil {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			m.keep(p)
			return
		}
		m.keep(p[:end])
		p = p[end+1:]
		m.endLine()
	}
	if m.err == nil && len(p) > 0 {
		m.writeBody(p)
	}
}

func (m *mail) keep(p []byte) {
	if room := maxField - len(m.line); len(p) > room {
		p, m.cut = p[:max(room, 0)], true
	}
	m.line = m.append(m.line, p)
}

// append appends to a buffer. Without memory for it, nothing is kept any more and the pipeline defers the message.
func (m *mail) append(buf, p []byte) []byte {
	buf, ok := m.req.env.Held.Grow(buf, len(p), maxField)
	if !ok {
		return buf
	}
	return append(buf, p...)
}

// endLine handles a complete line of the header.
func (m *mail) endLine() {
	line := m.line
	m.line = m.line[:0]
	m.lines++
	if !m.cut {
		line = bytes.TrimSuffix(line, []byte("\r"))
	}
	m.cut = false
	switch {
	case m.ours == prefaceMbox:
		if m.ours++; !bytes.HasPrefix(line, []byte("From ")) {
			m.err = fmt.Errorf("the message does not begin as Exim begins it, but with %.60q", line)
		}
	case len(line) == 0:
		m.endHeader()
	case line[0] == ' ' || line[0] == '\t':
		if !m.any {
			m.err = fmt.Errorf("the header begins with a continuation line %.60q", line)
			return
		}
		if len(m.field)+1+len(line) <= maxField {
			m.field = m.append(m.append(m.field, []byte("\n")), line)
		} else {
			// Over every limit: only its size counts.
			m.field = m.append(m.field, bytes.Repeat([]byte(" "), max(maxField-len(m.field), 0)))
		}
	default:
		m.endField()
		m.field = m.append(m.field[:0], line)
		m.any = true
	}
}

// endField hands the field on, unless Exim made it.
func (m *mail) endField() {
	if !m.any {
		return
	}
	m.any = false
	name, value, found := bytes.Cut(m.field, []byte(":"))
	// Exim takes ": text" for a field without a name: refused, it would stay in the queue for good.
	if !found {
		m.err = fmt.Errorf("a line in the header that is not a field: %.60q", m.field)
		return
	}
	if !m.isExims(string(bytes.TrimRight(name, " \t")), value) {
		m.msg.Header(string(name), string(value))
	}
}

// isExims recognises the fields that Exim put in front of a message, in their
// order. A stranger's fields of the same names come later.
func (m *mail) isExims(name string, value []byte) bool {
	if m.ours == prefaceSender {
		m.ours++
		if m.req.env.Sender != "" && strings.EqualFold(name, "X-Envelope-From") &&
			string(bytes.TrimSpace(value)) == "<"+m.req.env.Sender+">" {
			return true
		}
	}
	if m.ours == prefaceRcpts {
		m.ours++
		if m.req.env.RecipientCount > 0 && strings.EqualFold(name, "X-Envelope-To") {
			return true
		}
	}
	if m.ours == prefaceReceived {
		m.ours++
		if strings.EqualFold(name, "Received") && bytes.Contains(value, []byte(m.req.env.QueueID)) {
			m.learnHost(value)
			return true
		}
	}
	return false
}

// learnHost takes $primary_hostname from Exim's own Received, where no line in front of the message had it: "spam ="
// has no room for one. It begins a line there, behind what the client said of itself, in which Exim leaves no line breaks.
func (m *mail) learnHost(received []byte) {
	if m.req.env.MTA != "" {
		return
	}
	for line := range bytes.Lines(received) {
		if words := bytes.Fields(line); len(words) > 1 && string(words[0]) == "by" {
			m.req.env.MTA = hostName(string(words[1]))
			return
		}
	}
}

func (m *mail) endHeader() {
	if m.endField(); m.err != nil {
		return
	}
	m.body = true
	m.req.env.Held.Give(cap(m.line) + cap(m.field))
	m.line, m.field = nil, nil
	m.msg.EndOfHeader(m.ctx)
}

// close ends the message.
func (m *mail) close() error {
	if m.err == nil && !m.body && m.req.dialect == dialectCheck {
		return errors.New("the message ends before its header does") // Exim gives every message an empty line
	}
	if m.err == nil && !m.body {
		if len(m.line) > 0 {
			m.endLine()
		}
		if m.err == nil && !m.body {
			m.endHeader()
		}
	}
	return m.err
}

// atLineStart reports that the header so far ends in a line end.
func (m *mail) atLineStart() bool { return !m.body && len(m.line) == 0 && m.lines > 0 }

// writeBody restores the CR that Exim took from each line end.
//
// What leaves gets a CR at every LF from Exim, also behind a CR. What comes in
// is kept with CRLF where spool_wireformat is set, so there a CR is not doubled.
func (m *mail) writeBody(p []byte) {
	keepCR := m.req.dialect != dialectSign
	out := m.scratch[:0]
	for len(p) > 0 {
		lf := bytes.IndexByte(p, '\n')
		if lf < 0 {
			out = append(out, p...)
			m.cr = p[len(p)-1] == '\r'
			break
		}
		out = append(out, p[:lf]...)
		if lf > 0 {
			m.cr = p[lf-1] == '\r'
		}
		if !m.cr || !keepCR {
			out = append(out, '\r')
		}
		out = append(out, '\n')
		m.cr = false
		p = p[lf+1:]
	}
	m.scratch = out
	m.msg.Body(out)
}
