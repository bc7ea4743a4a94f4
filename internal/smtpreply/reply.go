// Package smtpreply holds the SMTP reply to a message that is refused or deferred: a reply code
// (RFC 5321 section 4.2), an enhanced status code (RFC 3463) and a text. Rules make it, front doors
// print it.
package smtpreply

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"dkimd/internal/safetext"
)

const (
	// maxWritten is the longest reply that a rules file may spell out.
	maxWritten = 400
	// maxLine adds the longest enhanced code, for a reply that was written without one. The 512 octets
	// of an SMTP reply line (RFC 5321 section 4.5.3.1.5) then have room for what an MTA adds.
	maxLine = maxWritten + len(" 5.123.123")
)

// Class is the first digit of a reply code and of an enhanced status code.
type Class int

// The classes of a message that is not accepted.
const (
	Transient Class = 4 // deferred: the client tries again
	Permanent Class = 5 // refused for good
)

// Reply is one SMTP reply. The zero value is none.
type Reply struct {
	Code     int    // 550
	Enhanced string // "5.7.20"; empty only in a rule, which leaves the choice to dkimd
	Text     string // printable ASCII; front doors that need '%' doubled do it themselves
}

// MarshalText writes what String says.
func (r Reply) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String is the reply as a line without its CRLF; empty if there is none.
func (r Reply) String() string {
	if r == (Reply{}) {
		return ""
	}
	line := strconv.Itoa(r.Code)
	if r.Enhanced != "" {
		line += " " + r.Enhanced
	}
	if r.Text != "" {
		line += " " + r.Text
	}
	return line
}

// InternalFault defers a message for a fault of dkimd's own.
func InternalFault() Reply {
	return Reply{Code: 451, Enhanced: "4.7.5", Text: "internal fault while this message was checked, try again later"}
}

// Parse reads a reply that an operator wrote: a code, perhaps an enhanced code, and a text. The error
// says what to write instead.
func Parse(s string, class Class) (Reply, error) {
	switch {
	case !safetext.IsASCII(s):
		return Reply{}, errors.New("printable ASCII only, on one line")
	case len(s) > maxWritten:
		return Reply{}, fmt.Errorf("at most %d characters", maxWritten)
	}
	word, rest, _ := strings.Cut(s, " ")
	r := Reply{Code: code(word)}
	if err := r.checkCode(class); err != nil {
		return Reply{}, err
	}
	r.Text = strings.TrimSpace(rest)
	word, rest, _ = strings.Cut(r.Text, " ")
	if strings.Contains(word, ".") && digits(strings.ReplaceAll(word, ".", "")) {
		r.Enhanced, r.Text = word, strings.TrimSpace(rest)
		if err := r.checkEnhanced(class); err != nil {
			return Reply{}, err
		}
	}
	if r.Text == "" {
		return Reply{}, errors.New("add a text that tells the sender what to do")
	}
	return r, nil
}

// For is the reply as a front door may send it. If it is not a complete and safe one of that class, a
// plain reply of the class takes its place, and the error says why: an MTA that cannot read a reply
// answers as if dkimd were broken.
func (r Reply) For(class Class) (Reply, error) {
	err := errors.Join(r.checkCode(class), r.checkEnhanced(class))
	switch {
	case err != nil:
	case r.Text == "" || !safetext.IsASCII(r.Text):
		err = errors.New("the text must be printable ASCII on one line")
	case len(r.String()) > maxLine:
		err = fmt.Errorf("at most %d characters", maxLine)
	default:
		return r, nil
	}
	if class == Permanent {
		return Reply{Code: 550, Enhanced: "5.7.1", Text: "Message refused"}, err
	}
	return Reply{Code: 451, Enhanced: "4.7.1", Text: "Message deferred, please try again later"}, err
}

func (r Reply) checkCode(class Class) error {
	switch {
	case r.Code == 0:
		return errors.New("begin it with a three-digit code and a space")
	case r.Code/100 != int(class):
		return fmt.Errorf("the code must begin with %d", class)
	case r.Code/10%10 > 5: // RFC 5321 section 4.2
		return errors.New("there is no such code: the second digit is 0 to 5")
	case r.Code == 421:
		// RFC 5321 section 3.8: the MTA would close the connection, and defer mail of others on it.
		return errors.New("421 closes the connection: use 451")
	}
	return nil
}

// checkEnhanced wants class.subject.detail (RFC 3463 section 2).
func (r Reply) checkEnhanced(class Class) error {
	parts := strings.Split(r.Enhanced, ".")
	wellFormed := len(parts) == 3 && len(parts[0]) == 1
	for _, part := range parts {
		wellFormed = wellFormed && digits(part) && len(part) <= 3 && (len(part) == 1 || part[0] != '0')
	}
	switch {
	case !wellFormed:
		return fmt.Errorf("an enhanced code is three numbers: %d.7.1", class)
	case parts[0] != strconv.Itoa(int(class)):
		return fmt.Errorf("the enhanced code must begin with %d", class)
	}
	return nil
}

// code is the number of a word of three digits, or 0.
func code(word string) int {
	if len(word) != 3 || !digits(word) {
		return 0
	}
	n, _ := strconv.Atoi(word)
	return n
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
