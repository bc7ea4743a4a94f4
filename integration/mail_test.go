//go:build integration

package integration_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// mail is a message that a test writes, field by field.
type mail struct {
	fields []string // without CRLF at their ends
	body   string   // with CRLF
}

var serial atomic.Int64

// unique makes names that no other message of this run has.
func unique(name string) string { return fmt.Sprintf("%s-%d", name, serial.Add(1)) }

// newMail is an ordinary message with a short body.
func newMail(from, subject string) *mail {
	return &mail{
		fields: []string{
			"From: Somebody <" + from + ">",
			"To: <reader@elsewhere.test>",
			"Subject: " + subject,
			"Date: " + time.Now().Format(time.RFC1123Z),
			"Message-ID: <" + unique("mail") + "@client.test>",
			"MIME-Version: 1.0",
			"Content-Type: text/plain; charset=utf-8",
			"Content-Transfer-Encoding: 8bit",
		},
		body: "Dear reader,\r\n\r\nthis is about " + subject + ".\r\n\r\n-- \r\nSomebody\r\n",
	}
}

// with adds fields on top, the first one topmost.
func (m *mail) with(fields ...string) *mail {
	m.fields = append(append([]string(nil), fields...), m.fields...)
	return m
}

// without takes out all fields of a name.
func (m *mail) without(name string) *mail {
	var kept []string
	for _, f := range m.fields {
		if !strings.HasPrefix(strings.ToLower(f), strings.ToLower(name)+":") {
			kept = append(kept, f)
		}
	}
	m.fields = kept
	return m
}

func (m *mail) bytes() []byte {
	var b bytes.Buffer
	for _, f := range m.fields {
		b.WriteString(f + "\r\n")
	}
	b.WriteString("\r\n" + m.body)
	return b.Bytes()
}

// fieldsOf returns the unfolded fields of a message's header, "Name: value".
func fieldsOf(data []byte) []string {
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

// named returns those fields' values that have this name.
func named(data []byte, name string) []string {
	var values []string
	for _, f := range fieldsOf(data) {
		n, value, _ := strings.Cut(f, ":")
		if strings.EqualFold(strings.TrimSpace(n), name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}
