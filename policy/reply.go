package policy

import (
	"strconv"
	"strings"
)

// reply is what a rule answers; what is empty in it is filled in per message.
type reply struct {
	code     string // "550"; empty: the action's default
	enhanced string // "5.7.20" (RFC 3463); empty: chosen by the outcome
	text     string // empty: chosen by the outcome
}

// parseReply reads the reply of a reject or tempfail rule: a code, perhaps an
// enhanced code, and a text. A hint says what is wrong with it.
func parseReply(s string, action Action) (r reply, hint string) {
	class := class(action)
	if !printable(s) {
		return r, "printable ASCII only, on one line"
	}
	if len(s) > maxLine {
		return r, "at most 400 characters"
	}
	code, rest, _ := strings.Cut(s, " ")
	switch {
	case len(code) != 3 || !digits(code):
		return r, "begin it with a three-digit code and a space"
	case code[0] != class:
		return r, "the code of " + action.String() + " begins with " + string(class)
	case code[1] > '5': // RFC 5321 section 4.2
		return r, "there is no such code: the second digit is 0 to 5"
	case code == "421":
		// RFC 5321 section 3.8: the MTA would close the connection, and defer mail of others on it.
		return r, "421 closes the connection: use 451"
	}
	r.code = code
	rest = strings.TrimSpace(rest)
	word, after, _ := strings.Cut(rest, " ")
	if strings.Contains(word, ".") && digits(strings.ReplaceAll(word, ".", "")) {
		switch {
		case !enhancedCode(word):
			return r, "an enhanced code is three numbers: " + string(class) + ".7.1"
		case word[0] != class:
			return r, "the enhanced code of " + action.String() + " begins with " + string(class)
		}
		r.enhanced, rest = word, strings.TrimSpace(after)
	}
	if rest == "" {
		return r, "add a text that tells the sender what to do"
	}
	r.text = rest
	return r, ""
}

// class is the first digit of an action's reply codes.
func class(action Action) byte {
	if action == Reject {
		return '5'
	}
	return '4'
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// enhancedCode checks the form class.subject.detail (RFC 3463 section 2).
func enhancedCode(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return false
	}
	for _, part := range parts {
		if !digits(part) || len(part) > 3 || len(part) > 1 && part[0] == '0' {
			return false
		}
	}
	return len(parts[0]) == 1
}

// circumstances are what a default reply tells of a message.
type circumstances struct {
	sender   string // the domain that was judged; from the message: hostile
	envelope bool   // it is that of MAIL FROM
	multiple bool   // more than one From field
	signed   bool   // there is a signature, whatever became of it
	passes   bool   // one of them passes
	aligned  bool   // one that passes is aligned with the sender
}

// of fills in what the rule leaves open, by the codes of RFC 7372 section 3.
func (r reply) of(action Action, c circumstances) string {
	if action != Reject && action != TempFail {
		return ""
	}
	var code, enhanced, text string
	mail := "this message"
	if c.sender != "" {
		mail = "this message from " + safeDomain(c.sender)
	}
	switch {
	case action == TempFail:
		code, enhanced, text = "451", "4.7.5", mail+" is not acceptable for now, try again later"
	case !c.signed:
		code, enhanced, text = "550", "5.7.20", mail+" has no DKIM signature, and local policy asks for one"
	case !c.passes:
		code, enhanced, text = "550", "5.7.20", mail+" has no valid DKIM signature, and local policy asks for one"
	case c.aligned:
		code, enhanced, text = "550", "5.7.21", mail+" has no DKIM signature that local policy accepts"
	case c.multiple:
		code, enhanced, text = "550", "5.7.22", mail+" has several From fields, so no DKIM signature can speak for its author"
	case c.envelope:
		code, enhanced, text = "550", "5.7.22", mail+" has no valid DKIM signature of its sender's domain"
	default:
		code, enhanced, text = "550", "5.7.22", mail+" has no valid DKIM signature of its author's domain"
	}
	if r.code != "" {
		code = r.code
	}
	if r.enhanced != "" {
		enhanced = r.enhanced
	}
	if r.text != "" {
		text = r.text
	}
	return code + " " + enhanced + " " + text
}

// maxShown is how much of a domain out of a message a reply repeats.
const maxShown = 100

// safeDomain makes a domain out of a message fit for a reply.
func safeDomain(domain string) string {
	out := make([]byte, 0, min(len(domain), maxShown)+3)
	for i := 0; i < len(domain) && i < maxShown; i++ {
		c := domain[i]
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && c != '-' && c != '_' && c != '.' {
			c = '?'
		}
		out = append(out, c)
	}
	if len(domain) > maxShown {
		out = append(out, "..."...)
	}
	return string(out)
}

func quoteShort(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strconv.Quote(s)
}
