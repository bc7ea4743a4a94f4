package exim

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/exim/filter"
	"dkimd/internal/message"
)

// dialect is what a peer speaks, by the first line of its request.
type dialect uint8

const (
	dialectCheck dialect = iota
	dialectVerify
	dialectSign
	dialectPing
)

const (
	lineVerify = "DKIMD/1 VERIFY"
	linePing   = "DKIMD/1 PING"
	// lineCheck is followed by a version, which never meant anything.
	lineCheck = "CHECK RSPAMC/"
)

// request is what stands in front of a message.
type request struct {
	dialect dialect
	env     *message.Envelope

	length      int64 // CHECK: all that follows the blank line; SIGN: the message
	headersSize int64 // VERIFY: the header as Exim gives it
	bodySize    int64 // VERIFY: the body as Exim gives it
	trueSize    int64 // VERIFY: the body as Exim has it
	nul         int64 // VERIFY: NUL bytes in the body, which Exim gives as spaces

	recipientNumber int64
	address         string
	hostname        string
	seen            map[string]bool
}

// needed are the lines without which a request is refused; an empty value
// counts as a line. CHECK leaves out what Exim does not know.
func (d dialect) needed() []string {
	switch d {
	case dialectCheck:
		return []string{"content-length", "queue-id", "from", "recipient-number"}
	case dialectVerify:
		return []string{
			"queue-id", "from", "ip", "helo", "user", "rcpts", "protocol",
			"headers-size", "body-size", "body-true-size", "nul",
		}
	case dialectSign:
		return []string{"queue-id", "length", "ip", "protocol"}
	case dialectPing:
	}
	return nil
}

// readRequest reads the lines up to the blank one.
func readRequest(w *wire) (*request, error) {
	first, err := w.line()
	if err != nil {
		return nil, err
	}
	r := &request{env: &message.Envelope{Front: message.Exim, Purpose: message.OnlyVerify, Held: &w.held}, seen: map[string]bool{}}
	switch line := string(first[:min(len(first), 64)]); {
	case line == linePing:
		r.dialect = dialectPing
		return r, nil
	case line == filter.Sign:
		r.dialect = dialectSign
		r.env.Purpose = message.OnlySign
	case line == lineVerify:
		r.dialect = dialectVerify
	case strings.HasPrefix(line, lineCheck):
		r.dialect = dialectCheck
	default:
		return nil, fmt.Errorf("unknown first line %q (hint: Exim must say variant=rspamd, DKIMD/1 VERIFY or DKIMD/1 SIGN)", line)
	}
	for {
		line, err := w.line()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			break
		}
		if err := r.add(line); err != nil {
			return nil, err
		}
	}
	if err := r.complete(); err != nil {
		return nil, err
	}
	w.endOfHead()
	return r, nil
}

// add takes one line. Each stands once: a second one could only be forged, by a
// line break in something that a stranger said.
func (r *request) add(line []byte) error {
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found {
		return fmt.Errorf("a line %.60q without a colon in front of the message", line)
	}
	key := strings.ToLower(string(name[:min(len(name), 40)]))
	text := string(bytes.TrimSpace(value))
	if r.dialect == dialectCheck && key == "rcpt" {
		r.env.AddRecipient(unangle(text))
		return nil
	}
	if key != "rcpts" { // AddRecipient takes its own
		r.env.Held.Take(len(text))
	}
	if r.seen[key] {
		return fmt.Errorf("the line %.40q stands twice in front of the message", name)
	}
	if len(r.seen) < 100 {
		r.seen[key] = true
	}
	return r.set(key, text)
}

func (r *request) set(key, text string) error {
	switch key {
	case "queue-id":
		r.env.QueueID = text
	case "from":
		r.env.Sender = unangle(text)
	case "ip":
		r.address = text
	case "helo":
		r.env.Helo = text
	case "user":
		r.env.AuthUser = text
	case "hostname":
		r.hostname = text
	case "protocol":
		r.env.AuthType = authType(text)
	case "host":
		if r.dialect == dialectCheck {
			break // not a line of Exim's
		}
		r.env.MTA = hostName(text)
	case "fold":
		// A client that puts folded fields into the message. Fields that come in Exim removes itself.
		r.env.CanReplaceFields = r.dialect == dialectSign && text == "yes"
	case "rcpts":
		for _, address := range splitAddresses(text) {
			r.env.AddRecipient(address)
		}
	case "content-length", "length":
		return number(key, text, &r.length)
	case "recipient-number":
		return number(key, text, &r.recipientNumber)
	case "headers-size":
		return number(key, text, &r.headersSize)
	case "body-size":
		return number(key, text, &r.bodySize)
	case "body-true-size":
		return number(key, text, &r.trueSize)
	case "nul":
		return number(key, text, &r.nul)
	default:
		// Exim may add lines to what it says to rspamd; ours are ours.
		if r.dialect != dialectCheck {
			return fmt.Errorf("an unknown line %.40q in front of the message", key)
		}
	}
	return nil
}

// complete checks that all is there, and fits together.
func (r *request) complete() error {
	for _, key := range r.dialect.needed() {
		if !r.seen[key] {
			return fmt.Errorf("no line %q in front of the message", key)
		}
	}
	if !isQueueID(r.env.QueueID) {
		return fmt.Errorf("a queue id %.60q", r.env.QueueID)
	}
	if r.dialect == dialectCheck && r.recipientNumber != int64(r.env.RecipientCount) {
		return fmt.Errorf("%d recipients announced, %d named", r.recipientNumber, r.env.RecipientCount)
	}
	if r.dialect == dialectSign && r.length == 0 {
		return errors.New("an empty message to sign")
	}
	r.env.Client = message.NewClient(r.hostname, r.address)
	if r.env.Client.Kind == message.ClientLocal {
		// Exim calls the local user who submits mail its authenticated id.
		r.env.AuthType = ""
	}
	return nil
}

func number(key, text string, n *int64) error {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < 0 {
		return fmt.Errorf("the line %q has %.40q; want a number", key, text)
	}
	*n = value
	return nil
}

// isQueueID lets through only the characters of a queue id: it is echoed to Exim, which compares it.
func isQueueID(id string) bool {
	return len(id) > 0 && len(id) <= 64 && strings.Trim(id, "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

// hostName is a name that Exim gives as its own, or empty where no host can have it.
func hostName(s string) string {
	n, err := domain.ParseHost(s)
	if err != nil {
		return ""
	}
	return string(n)
}

func unangle(s string) string {
	if len(s) >= 2 && s[0] == '<' && s[len(s)-1] == '>' {
		return s[1 : len(s)-1]
	}
	return s
}

// authType tells by $received_protocol whether the client logged in (RFC 3848,
// RFC 6531 section 3.7.3, and Exim's own words for mail without SMTP extensions).
func authType(protocol string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(protocol), "local-"), "utf8")
	switch name {
	case "esmtpa", "esmtpsa", "asmtp", "asmtps", "smtpa", "smtpsa":
		return name
	}
	return ""
}

// splitAddresses splits $recipients, which has ", " between addresses; a
// quoted local part may hold that too (RFC 5321 section 4.1.2).
func splitAddresses(s string) []string {
	var list []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			list = append(list, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	if last := strings.TrimSpace(s[start:]); last != "" {
		list = append(list, last)
	}
	return list
}
