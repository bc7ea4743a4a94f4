// Package autoreply decides whether a message may be answered by a program (RFC 3834), how often that is done, and
// writes the answer. An answer goes to strangers: it must not make two programs talk to each other forever, must not
// reach people in whose name others write, and must carry nothing as header that came with the message.
package autoreply

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"mime/quotedprintable"
	"regexp"
	"slices"
	"strings"
	"time"

	"dkimd/internal/message"
)

// Received is a message that may be answered.
type Received struct {
	Header *message.Header
	From   message.Originator
	Sender string // MAIL FROM without angle brackets; empty: a bounce
	Own    string // the address that answers
}

// marker is in the Message-ID of each answer.
const marker = ".dkimd-report@"

// programNames are local parts, or the beginning or end of them, that no person reads.
var programNames = regexp.MustCompile(`(?i)^(mailer-daemon|mailer|uucp|listserv|majordomo|owner-.*|.*-owner|.*-request|.*-bounces?|bounces?([+=-].*)?)$`)

// Refuse says why a message must not be answered, whoever sent it; empty: nothing stands against it.
func (r Received) Refuse() string {
	local, _, _ := strings.Cut(r.Sender, "@")
	switch {
	case r.Sender == "":
		return "it is a bounce: MAIL FROM is empty"
	case programNames.MatchString(local):
		return "MAIL FROM is that of a program"
	case r.Header.Exceeded() != "":
		return "its header is over the limit of " + r.Header.Exceeded()
	}
	for _, f := range r.Header.Fields() {
		if why := refusedBy(f); why != "" {
			return why
		}
	}
	to, ok := r.To()
	switch {
	case !ok:
		return "From is not one plain address"
	case strings.EqualFold(to, r.Own) || strings.EqualFold(r.Sender, r.Own):
		return "it is from the address that answers"
	}
	if local, _, _ = strings.Cut(to, "@"); programNames.MatchString(local) {
		return "From is that of a program"
	}
	return ""
}

// refusedBy says what a field has against an answer.
func refusedBy(f message.Field) string {
	name, value := strings.ToLower(f.Name()), strings.ToLower(strings.TrimSpace(string(f.Value())))
	word := strings.TrimSpace(value[:max(strings.IndexAny(value+";", "; \t("), 0)])
	switch {
	case name == "auto-submitted" && word != "no":
		return "a program sent it: Auto-Submitted"
	case name == "precedence" && slices.Contains([]string{"bulk", "list", "junk"}, word):
		return "it went to many: Precedence"
	case strings.HasPrefix(name, "list-"):
		return "it came over a list: List-*"
	case name == "x-auto-response-suppress" && value != "none":
		return "it asks for no answer of a program: X-Auto-Response-Suppress"
	case name == "content-type" && word == "multipart/report":
		return "it is a report of a program: multipart/report"
	case (name == "in-reply-to" || name == "references" || name == "message-id") && strings.Contains(value, marker):
		return "it answers an answer"
	}
	return ""
}

// plain is an address that needs no quotes, and in which nothing can hide.
var plain = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])$")

// IsPlain reports whether an address may stand in a header and on a command line as it is.
func IsPlain(address string) bool { return plain.MatchString(address) }

// To is the address of the answer: that of From. RFC 3834 section 4 would have it go to MAIL FROM, since anybody can write
// From; but here From is authenticated before, and MAIL FROM need not be.
func (r Received) To() (string, bool) {
	if r.From.Domain() == "" || len(r.From.Addresses) != 1 {
		return "", false
	}
	to := r.From.Addresses[0].String()
	return to, IsPlain(to)
}

// Answer is what is sent.
type Answer struct {
	From, To string // plain addresses
	Host     string // of the Message-ID
	Subject  string
	Text     string // lines that end in LF
	Date     time.Time
}

// messageID is a Message-ID in which nothing can hide.
var messageID = regexp.MustCompile("^<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,120}@[A-Za-z0-9.-]{1,120}>$")

// Write is the answer to a message: RFC 3834 section 3.1. Of the message only its Message-ID comes into the header, and
// only where it is plain.
func (a Answer) Write(r Received) []byte {
	var b bytes.Buffer
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\n", name, value) }
	field("From", "<"+a.From+">")
	field("To", "<"+a.To+">")
	field("Subject", a.Subject)
	field("Date", a.Date.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	field("Message-ID", "<"+strings.ToLower(rand.Text())+marker+a.Host+">")
	if ids := r.Header.All("Message-ID"); len(ids) == 1 {
		if id := strings.TrimSpace(string(ids[0].Value())); messageID.MatchString(id) {
			field("In-Reply-To", id)
			field("References", id)
		}
	}
	field("Auto-Submitted", "auto-replied")
	field("X-Auto-Response-Suppress", "All")
	field("MIME-Version", "1.0")
	field("Content-Type", "text/plain; charset=utf-8")
	field("Content-Transfer-Encoding", "quoted-printable")
	b.WriteByte('\n')
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write([]byte(a.Text)) // into memory
	_ = q.Close()
	return bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n"))
}
