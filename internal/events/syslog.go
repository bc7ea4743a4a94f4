package events

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	facilityMail = 2 // RFC 5424 section 6.2.1

	// AppName is what syslog and the journal call dkimd.
	AppName = "dkimd"

	// maxSyslog is how long a message is at most, its header included: rsyslog
	// and syslog-ng cut at 8 KiB unless told otherwise, rsyslog a little below.
	maxSyslog = 8000
	// listSyslog is after how many bytes a list takes no further element, once
	// a message is longer than that.
	listSyslog = 512

	// ceeCookie says that the rest of a message is an object of JSON, to rsyslog's mmjsonparse and others.
	ceeCookie = "@cee: "
)

// The severities in use (RFC 5424 section 6.2.1).
const (
	severityError   = 3
	severityWarning = 4
	severityInfo    = 6
)

// severity says whether somebody should look: an error is a fault of dkimd's
// own, a warning mail that is deferred, or whose signature is in danger.
func (e *Event) severity() int {
	switch {
	case e.Error != "":
		return severityError
	case len(e.Warnings) > 0 || e.Verdict == "tempfail":
		return severityWarning
	}
	return severityInfo
}

// Syslog encodes a record as syslog messages: one for each line of it.
type Syslog struct {
	Format Format // JSON is written as Text in RFC 3164: people read that
	IETF   bool   // RFC 5424; otherwise RFC 3164 as syslog(3) writes it
	Host   string // HOSTNAME of RFC 5424; where it may not stand there, "-"
	PID    int    // PROCID
}

// Append appends the messages of a record, each ended by a line feed. Within a message
// there is none, because all text of strangers is escaped.
func (f *Syslog) Append(dst []byte, e *Event) []byte {
	if f.IETF && f.Format == JSON {
		return f.appendJSON(dst, e)
	}
	text := f.Format.untimed(nil, e, maxListBytes)
	if last := text[bytes.LastIndexByte(text, '\n')+1:]; len(last) > maxSyslog { // it has the lists
		text = f.Format.untimed(text[:0], e, listSyslog)
	}
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		start := len(dst)
		dst = f.head(dst, e)
		if f.IETF && !isASCII(line) {
			dst = append(dst, "\xef\xbb\xbf"...) // RFC 5424 section 6.4: UTF-8 begins with a BOM
		}
		dst = appendCut(dst, line, maxSyslog-(len(dst)-start))
		dst = append(dst, '\n')
	}
	return dst
}

// appendJSON appends the record as one message. It is ASCII: a BOM would stand before
// the cookie, which is then not found.
func (f *Syslog) appendJSON(dst []byte, e *Event) []byte {
	start := len(dst)
	dst = append(f.head(dst, e), ceeCookie...)
	head := len(dst)
	// With the last of these it fits, though each byte of a text may become six and HOSTNAME have 255.
	for _, within := range [...]bounds{{MaxValue, maxListBytes}, {MaxValue, listSyslog}, {256, listSyslog}, {24, 0}} {
		dst = appendShortJSON(dst[:head], e, within)
		if len(dst)-start <= maxSyslog {
			break
		}
	}
	return append(dst, '\n')
}

// head appends what stands before the message.
func (f *Syslog) head(dst []byte, e *Event) []byte {
	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(facilityMail<<3|e.severity()), 10)
	dst = append(dst, '>')
	if !f.IETF {
		// On the local socket no host name follows; the receiver knows its own.
		dst = e.Time.Local().AppendFormat(dst, time.Stamp)
		dst = append(dst, " "+AppName+"["...)
		dst = strconv.AppendInt(dst, int64(f.PID), 10)
		return append(dst, "]: "...)
	}
	// RFC 5424 section 6: VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA.
	dst = append(dst, "1 "...)
	dst = e.Time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	for _, part := range [...]string{syslogName(f.Host, 255), AppName, strconv.Itoa(f.PID), syslogName(e.Mode, 32), "-"} {
		dst = append(dst, ' ')
		dst = append(dst, part...)
	}
	return append(dst, ' ')
}

// syslogName is s where it may stand in the header of a message (PRINTUSASCII,
// RFC 5424 section 6), else "-": not known.
func syslogName(s string, most int) string {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return "-"
		}
	}
	if s == "" || len(s) > most {
		return "-"
	}
	return s
}

func isASCII(line []byte) bool {
	for _, c := range line {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendCut appends a line of at most max bytes. What decides stands at its
// beginning; it never cuts a character in two.
func appendCut(dst, line []byte, most int) []byte {
	if len(line) <= most {
		return append(dst, line...)
	}
	end := most - len("...")
	for !utf8.RuneStart(line[end]) {
		end--
	}
	dst = append(dst, line[:end]...)
	return append(dst, "..."...)
}
