package resolver

import (
	"encoding/binary"
	"strconv"
	"strings"

	"dkimd/internal/safetext"

	"github.com/miekg/dns"
)

// maxExplanation is how much of what a server says about its answer is kept.
const maxExplanation = 80

// Explained is an absence or a failure about which the server said more (Extended
// DNS Errors, RFC 8914).
type Explained struct {
	Words string // printable ASCII
	Err   error
}

func (e *Explained) Error() string { return e.Err.Error() + " (" + e.Words + ")" }
func (e *Explained) Unwrap() error { return e.Err }

// explanation is the first Extended DNS Error among the options of an OPT record.
type explanation struct {
	given bool
	code  uint16
	text  string
}

// readExplanation reads the options of an OPT record (RFC 6891 section 6.1.2), as far
// as they are well formed: they only say more about an answer.
func readExplanation(data []byte) (e explanation) {
	for len(data) >= 4 {
		option, size := binary.BigEndian.Uint16(data), int(binary.BigEndian.Uint16(data[2:]))
		if data = data[4:]; size > len(data) {
			return e
		}
		if option == dns.EDNS0EDE && size >= 2 {
			text := strings.TrimRight(string(data[2:min(size, 2+maxExplanation)]), "\x00")
			return explanation{given: true, code: binary.BigEndian.Uint16(data), text: text}
		}
		data = data[size:]
	}
	return e
}

// words are those of RFC 8914 and those of the server.
func (e explanation) words() string {
	words, known := dns.ExtendedErrorCodeToString[e.code]
	if !known {
		words = "extended error " + strconv.Itoa(int(e.code))
	}
	if e.text != "" && !strings.EqualFold(e.text, words) {
		words += ": " + e.text
	}
	return safetext.ASCII(words[:min(len(words), maxExplanation)])
}

// of is an error with what the server said about it.
func (e explanation) of(err error) error {
	if !e.given || err == nil {
		return err
	}
	return &Explained{Words: e.words(), Err: err}
}

// stale reports whether the server could not find out, and answers what it once knew
// (RFC 8767). An absence of then says nothing about now.
func (e explanation) stale() bool {
	return e.given && (e.code == dns.ExtendedErrorCodeStaleAnswer || e.code == dns.ExtendedErrorCodeStaleNXDOMAINAnswer)
}
