package events

import (
	"strconv"
)

// appendExim is the record as Exim's main log has it: a line for each
// signature, in the words of Exim 4.9x with log_selector +dkim_verbose, and
// one for the verdict. The time is the host's local time, as there.
func appendExim(dst []byte, e *Event) []byte {
	return appendEximLines(dst, e, "2006-01-02 15:04:05 ", maxListBytes)
}

// appendEximLines begins each line with the time in a layout of package time.
func appendEximLines(dst []byte, e *Event, layout string, listBytes int) []byte {
	w := &textWriter{buf: dst, listBytes: listBytes}
	for i := range e.Signatures {
		w.eximHead(e, layout)
		if i >= MaxList || len(w.buf)-len(dst) > 2*maxListBytes {
			w.buf = append(w.buf, "DKIM: "...)
			w.buf = strconv.AppendInt(w.buf, int64(len(e.Signatures)-i), 10)
			w.buf = append(w.buf, " more signatures\n"...)
			break
		}
		w.eximSignature(&e.Signatures[i])
		w.buf = append(w.buf, '\n')
	}
	w.eximHead(e, layout)
	w.eximVerdict(e)
	return w.buf
}

func (w *textWriter) eximHead(e *Event, layout string) {
	w.buf = e.Time.Local().AppendFormat(w.buf, layout)
	if e.ID != "" {
		w.buf = appendToken(w.buf, e.ID)
		w.buf = append(w.buf, ' ')
	}
}

func (w *textWriter) eximSignature(s *Signature) {
	w.buf = append(w.buf, "DKIM: d="...)
	w.tag(s.Domain, "<UNSET>")
	w.buf = append(w.buf, " s="...)
	w.tag(s.Selector, "<UNSET>")
	w.buf = append(w.buf, " c="...)
	w.tag(s.Canonicalization, "simple/simple") // RFC 6376 section 3.5: what an absent c= means
	w.buf = append(w.buf, " a="...)
	w.tag(s.Algorithm, "err")
	w.buf = append(w.buf, " b="...)
	w.buf = strconv.AppendInt(w.buf, int64(s.SignatureBits), 10)
	if s.Identity != "" && s.Identity != "@"+s.Domain {
		w.pair("i=", s.Identity)
	}
	w.eximNumber(" t=", s.Timestamp, 1)
	w.eximNumber(" x=", s.Expiration, 1)
	w.eximNumber(" l=", s.BodyLength, 0)
	w.buf = append(w.buf, " ["...)
	words, reason := eximWords(s)
	w.buf = append(w.buf, words...)
	if reason != "" {
		w.buf = append(w.buf, " - "...)
		w.buf = appendWords(w.buf, reason)
	}
	w.buf = append(w.buf, ']')
}

func (w *textWriter) tag(s, unset string) {
	if s == "" {
		w.buf = append(w.buf, unset...)
		return
	}
	w.buf = appendToken(w.buf, s)
}

func (w *textWriter) eximNumber(tag string, n, least int64) {
	if n >= least {
		w.buf = append(w.buf, tag...)
		w.buf = strconv.AppendInt(w.buf, n, 10)
	}
}

// eximWords are Exim's own words for an outcome. Where Exim has none, because
// it does not look at what we look at, the reason takes their place.
func eximWords(s *Signature) (words, reason string) {
	switch {
	case s.Result == "pass":
		return "verification succeeded", ""
	case s.Result == "none" || s.Code == CodeSkipped:
		return "not verified", ""
	}
	switch s.Code {
	case CodeBodyHash:
		return "verification failed - body hash mismatch (body probably modified in transit)", ""
	case CodeSignature:
		return "verification failed - signature did not verify (headers probably modified in transit)", ""
	case CodeKeySize:
		return "verification failed - signature invalid (key too short)", ""
	case CodeKeyUnavailable:
		return "invalid - public key record (currently?) unavailable", ""
	case CodeKeyTooLong:
		return "invalid - overlong public key record", ""
	case CodeKeySyntax:
		return "invalid - syntax error in public key record", ""
	case CodeTags:
		return "invalid - signature tag missing or invalid", ""
	case CodeVersion:
		return "invalid - unsupported DKIM version", ""
	case CodeNone, CodeSkipped:
	}
	switch {
	case s.Result == "temperror":
		return "invalid - public key record (currently?) unavailable", ""
	case s.Result == "fail" && s.Reason == "":
		return "verification failed - unspecified reason", ""
	case s.Result == "fail":
		return "verification failed", s.Reason
	case s.Reason == "":
		return "invalid - unspecified problem", ""
	}
	return "invalid", s.Reason
}

func (w *textWriter) eximVerdict(e *Event) {
	if e.Helo != "" {
		w.buf = append(w.buf, "H=("...)
		w.buf = appendToken(w.buf, e.Helo)
		w.buf = append(w.buf, ") "...)
	}
	w.buf = append(w.buf, '[')
	w.buf = appendToken(w.buf, e.Client)
	w.buf = append(w.buf, ']')
	w.some("A=", e.Auth)
	w.buf = append(w.buf, " F=<"...)
	if e.Sender != "" {
		w.buf = appendPlain(w.buf, e.Sender, " \"\\()[]<>")
	}
	w.buf = append(w.buf, "> "...)
	w.eximAction(e)
	w.eximSigned(e)
	w.faults(e, "error: ")
}

// eximAction is the verdict in Exim's words where it has any, and whence it comes.
func (w *textWriter) eximAction(e *Event) {
	rule := e.rule()
	words := e.Verdict
	switch e.Verdict {
	case "reject":
		words = "rejected after DATA"
	case "tempfail":
		words = "temporarily rejected after DATA"
	case "accept":
		words = "accepted"
	case "discard":
		words = "discarded"
	case "quarantine":
		words = "quarantined"
	}
	w.buf = appendWords(w.buf, words)
	if rule != nil && rule.Reply != "" {
		w.buf = append(w.buf, ": "...)
		w.buf = appendReply(w.buf, rule.Reply)
	}
	w.buf = append(w.buf, " (dkimd: "...)
	w.buf = appendToken(w.buf, e.Mode)
	if e.Reason != "" {
		w.buf = append(w.buf, ", "...)
		w.buf = appendWords(w.buf, e.Why())
	}
	for _, checked := range [...][2]string{{", spf ", e.SPF.Result}, {", dmarc ", e.DMARC.Result}} {
		if checked[1] != "" {
			w.buf = appendToken(append(w.buf, checked[0]...), checked[1])
		}
	}
	if rule != nil {
		w.buf = append(w.buf, ", rule "...)
		w.buf = appendToken(w.buf, rule.File)
		w.buf = append(w.buf, ' ')
		w.rule(rule.Rule)
	}
	w.buf = append(w.buf, ')')
	for i := range e.Policy {
		if w.full("policy", i, len(e.Policy)) {
			break
		}
		if d := &e.Policy[i]; d.Mode == "monitor" {
			w.clause("rule ")
			w.buf = appendToken(w.buf, d.File)
			w.buf = append(w.buf, ' ')
			w.rule(d.Rule)
			w.buf = append(w.buf, " would "...)
			w.buf = appendToken(w.buf, d.Action)
		}
	}
}

func (w *textWriter) eximSigned(e *Event) {
	for i := range e.Signed {
		if w.full("signed", i, len(e.Signed)) {
			break
		}
		w.clause("DKIM signed d=")
		w.buf = appendToken(w.buf, e.Signed[i].Domain)
		w.pair("s=", e.Signed[i].Selector)
		w.pair("a=", e.Signed[i].Algorithm)
	}
}
