package events

import (
	"strconv"
	"strings"
	"time"

	"dkimd/internal/safetext"
)

// appendText is the record as one line for people. What decides stands in
// front, in columns; the rest follows as key=value and clauses after "; ".
func appendText(dst []byte, e *Event) []byte {
	dst = e.Time.UTC().AppendFormat(dst, time.RFC3339)
	return appendTextLine(append(dst, ' '), e, maxListBytes)
}

// appendTextLine is the same without the time. A list takes no further
// element after this many bytes.
func appendTextLine(dst []byte, e *Event, listBytes int) []byte {
	w := &textWriter{buf: dst, listBytes: listBytes}
	w.column(e.ID, 11)
	w.column(strings.ToUpper(e.Verdict), len("QUARANTINE"))
	w.column(e.Mode, len(ModeUnsigned))
	w.from(e)
	w.pair("client=", e.Client)
	w.some("helo=", e.Helo)
	w.some("auth=", e.Auth)
	w.buf = append(w.buf, " to="...)
	w.buf = strconv.AppendInt(w.buf, int64(e.Recipients), 10)
	w.buf = append(w.buf, " bytes="...)
	w.buf = strconv.AppendInt(w.buf, e.Bytes, 10)
	w.some("message_id=", e.MessageID)
	if e.Reason != "" {
		w.clause("reason: ")
		w.buf = appendWords(w.buf, e.Why())
	}
	w.signatures(e)
	w.checked("spf: ", e.SPF.Domain, e.SPF.Result, e.SPF.Why())
	w.checked("dmarc: ", e.DMARC.Domain, e.DMARC.Result, e.DMARC.Why())
	w.policy(e)
	if e.Stripped > 0 {
		w.clause("stripped=")
		w.buf = strconv.AppendInt(w.buf, int64(e.Stripped), 10)
	}
	w.faults(e, "ERROR: ")
	w.clause("total=")
	w.buf = append(w.buf, e.Total.Round(100*time.Microsecond).String()...)
	if e.DNS > 0 {
		w.buf = append(w.buf, " dns="...)
		w.buf = append(w.buf, e.DNS.Round(100*time.Microsecond).String()...)
	}
	return w.buf
}

type textWriter struct {
	buf       []byte
	list      int // where the list being written begins
	listBytes int // after how many bytes it is full
}

// column pads a value with blanks, and ends it with one.
func (w *textWriter) column(s string, width int) {
	start := len(w.buf)
	w.buf = appendToken(w.buf, s)
	for len(w.buf)-start < width {
		w.buf = append(w.buf, ' ')
	}
	w.buf = append(w.buf, ' ')
}

func (w *textWriter) pair(key, s string) {
	w.buf = append(w.buf, ' ')
	w.buf = append(w.buf, key...)
	w.buf = appendToken(w.buf, s)
}

func (w *textWriter) some(key, s string) {
	if s != "" {
		w.pair(key, s)
	}
}

func (w *textWriter) clause(words string) {
	w.buf = append(w.buf, "; "...)
	w.buf = append(w.buf, words...)
}

// full ends a list that is too long, and says how much it leaves out.
func (w *textWriter) full(name string, i, n int) bool {
	if i == 0 {
		w.list = len(w.buf)
	}
	if i < MaxList && len(w.buf)-w.list <= w.listBytes {
		return false
	}
	w.clause("left out: ")
	w.buf = strconv.AppendInt(w.buf, int64(n-i), 10)
	w.buf = append(w.buf, ' ')
	w.buf = append(w.buf, name...)
	return true
}

// faults are the warnings, and the error behind its label.
func (w *textWriter) faults(e *Event, label string) {
	for i, warning := range e.Warnings {
		if w.full("warnings", i, len(e.Warnings)) {
			break
		}
		w.clause("warning: ")
		w.buf = appendWords(w.buf, warning)
	}
	if e.Error != "" {
		w.clause(label)
		w.buf = appendWords(w.buf, e.Error)
	}
}

func (w *textWriter) from(e *Event) {
	w.buf = append(w.buf, "from="...)
	if len(e.From) == 0 {
		w.buf = append(w.buf, '-')
	}
	for i, address := range e.From {
		if w.full("from", i, len(e.From)) {
			break
		}
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = appendToken(w.buf, address)
	}
	switch {
	case e.Sender == "":
		w.buf = append(w.buf, " sender=<>"...)
	case len(e.From) != 1 || e.From[0] != e.Sender:
		w.pair("sender=", e.Sender)
	}
}

func (w *textWriter) signatures(e *Event) {
	if e.Mode == ModeVerify || e.Mode == ModeTrusted || len(e.Signatures) > 0 {
		w.clause("dkim: ")
		if len(e.Signatures) == 0 {
			w.buf = append(w.buf, "none"...)
		}
	}
	for i := range e.Signatures {
		if w.full("signatures", i, len(e.Signatures)) {
			break
		}
		s := &e.Signatures[i]
		if i > 0 {
			w.buf = append(w.buf, ", "...)
		}
		w.key(s.Domain, s.Selector, s.Result)
		if s.Reason != "" {
			w.buf = append(w.buf, " ("...)
			w.buf = appendWords(w.buf, s.Reason)
			w.buf = append(w.buf, ')')
		}
		for i, name := range s.Duplicates {
			if i == 0 {
				w.buf = append(w.buf, " duplicates "...)
			} else {
				w.buf = append(w.buf, '+')
			}
			w.buf = appendToken(w.buf, name)
		}
	}
	for i := range e.Signed {
		if w.full("signed", i, len(e.Signed)) {
			break
		}
		if i == 0 {
			w.clause("signed: ")
		} else {
			w.buf = append(w.buf, ", "...)
		}
		w.key(e.Signed[i].Domain, e.Signed[i].Selector, e.Signed[i].Algorithm)
	}
}

// checked is a clause with a domain and its result, or nothing where there is no result.
func (w *textWriter) checked(name, domain, result, why string) {
	if result == "" {
		return
	}
	w.clause(name)
	if domain != "" {
		w.buf = append(appendToken(w.buf, domain), ' ')
	}
	w.buf = appendToken(w.buf, result)
	if why != "" {
		w.buf = append(w.buf, " ("...)
		w.buf = append(appendWords(w.buf, why), ')')
	}
}

func (w *textWriter) key(domain, selector, word string) {
	w.buf = appendToken(w.buf, domain)
	w.buf = append(w.buf, '/')
	w.buf = appendToken(w.buf, selector)
	w.buf = append(w.buf, ' ')
	w.buf = appendToken(w.buf, word)
}

func (w *textWriter) policy(e *Event) {
	for i := range e.Policy {
		if w.full("policy", i, len(e.Policy)) {
			break
		}
		d := &e.Policy[i]
		w.clause("rule ")
		w.buf = appendToken(w.buf, d.File)
		w.buf = append(w.buf, ' ')
		w.rule(d.Rule)
		if d.Mode != "enforce" {
			w.buf = append(w.buf, " ["...)
			w.buf = appendToken(w.buf, d.Mode)
			w.buf = append(w.buf, ']')
		}
		w.buf = append(w.buf, ' ')
		w.buf = appendToken(w.buf, d.Action)
		if d.Reply != "" {
			w.buf = append(w.buf, ' ')
			w.quoted(d.Reply)
		}
	}
}

// rule names the rule that held; where none did, the file accepts.
func (w *textWriter) rule(name string) {
	if name == "" {
		w.buf = append(w.buf, "(no rule held)"...)
		return
	}
	w.quoted(name)
}

func (w *textWriter) quoted(s string) {
	w.buf = strconv.AppendQuote(w.buf, safetext.Clip(s, MaxValue))
}
