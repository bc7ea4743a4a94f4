package pipeline

import (
	"bytes"
	"strings"

	"dkimd/internal/message"
)

// maxLine is the longest line that SMTP carries, without its CRLF (RFC 5321 section 4.5.3.1.6).
const maxLine = 998

// lineMeter looks in mail we sign for what endangers the signature on its way.
type lineMeter struct {
	current, longest int
	cr               bool // the last chunk ended in CR
}

// measure takes the next bytes of the body.
func (l *lineMeter) measure(p []byte) {
	for {
		lf := bytes.IndexByte(p, '\n')
		if lf < 0 {
			l.current += len(p)
			l.cr = len(p) > 0 && p[len(p)-1] == '\r' || len(p) == 0 && l.cr
			return
		}
		line := l.current + lf
		if lf > 0 && p[lf-1] == '\r' || lf == 0 && l.cr {
			line--
		}
		l.cr = false
		l.longest = max(l.longest, line)
		l.current = 0
		p = p[lf+1:]
	}
}

// warnings says what a mail server behind us may change.
func (l *lineMeter) warnings(h *message.Header) []string {
	var found []string
	if max(l.longest, l.current) > maxLine {
		found = append(found, "a body line is longer than 998 octets: a mail server may break it and the signature with it")
	}
	for _, f := range h.All("Content-Transfer-Encoding") {
		if strings.EqualFold(strings.TrimSpace(string(f.Value())), "8bit") {
			found = append(found, "8-bit content: a mail server without 8BITMIME may convert it and break the signature")
		}
	}
	return found
}
