package harness

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Mail is a message that a test writes, field by field.
type Mail struct {
	Fields []string // without CRLF at their ends
	Body   string   // with CRLF
}

var serial atomic.Int64

// Unique makes names that no other message of this run has.
func Unique(name string) string { return fmt.Sprintf("%s-%d", name, serial.Add(1)) }

// NewMail is an ordinary message with a short body.
func NewMail(from, subject string) *Mail {
	return &Mail{
		Fields: []string{
			"From: Somebody <" + from + ">",
			"To: <reader@elsewhere.test>",
			"Subject: " + subject,
			"Date: " + time.Now().Format(time.RFC1123Z),
			"Message-ID: <" + Unique("mail") + "@client.test>",
			"MIME-Version: 1.0",
			"Content-Type: text/plain; charset=utf-8",
			"Content-Transfer-Encoding: 8bit",
		},
		Body: "Dear reader,\r\n\r\nthis is about " + subject + ".\r\n\r\n-- \r\nSomebody\r\n",
	}
}

// With adds fields on top, the first one topmost.
func (m *Mail) With(fields ...string) *Mail {
	m.Fields = append(append([]string(nil), fields...), m.Fields...)
	return m
}

// Without takes out all fields of a name.
func (m *Mail) Without(name string) *Mail {
	var kept []string
	for _, f := range m.Fields {
		if !strings.HasPrefix(strings.ToLower(f), strings.ToLower(name)+":") {
			kept = append(kept, f)
		}
	}
	m.Fields = kept
	return m
}

// Bytes is the message as SMTP carries it.
func (m *Mail) Bytes() []byte {
	var b bytes.Buffer
	for _, f := range m.Fields {
		b.WriteString(f + "\r\n")
	}
	b.WriteString("\r\n" + m.Body)
	return b.Bytes()
}

// Fields returns the unfolded fields of a message's header, "Name: value".
func Fields(data []byte) []string {
	header, _, _ := strings.Cut(string(data), "\r\n\r\n")
	var fields []string
	for line := range strings.SplitSeq(header, "\r\n") {
		if n := len(fields); n > 0 && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")) {
			fields[n-1] += line
		} else {
			fields = append(fields, line)
		}
	}
	return fields
}

// FieldValues returns those fields' values that have this name.
func FieldValues(data []byte, name string) []string {
	var values []string
	for _, f := range Fields(data) {
		n, value, _ := strings.Cut(f, ":")
		if strings.EqualFold(strings.TrimSpace(n), name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}
