package fault

import (
	"errors"
	"strings"

	"dkimd/internal/safetext"
)

// Finding is a fault, or something else that is wrong, as commands print it in JSON. Of the
// latter hardly more is known than the text. docs/commands.md describes the keys.
type Finding struct {
	Text string `json:"text"` // all of it in one line
	Fault
}

// Error is the text, and not that of the Fault, of which nothing may be known.
func (f Finding) Error() string { return f.Text }

// Findings are those of an error: one for each fault in it, or for each line of its text.
// The list is never nil: in JSON it is [].
func Findings(err error) []Finding {
	if err == nil {
		return []Finding{}
	}
	if all, ok := errors.AsType[Faults](err); ok && all.Error() == err.Error() {
		found := make([]Finding, len(all))
		for i, f := range all {
			found[i] = Finding{f.Error(), f}
		}
		return found
	}
	var found []Finding
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			found = append(found, Findings(one)...)
		}
		return found
	}
	known, _ := errors.AsType[Fault](err)
	for line := range strings.SplitSeq(err.Error(), "\n") {
		found = append(found, Finding{safetext.Printable(line), known})
	}
	return found
}
