package verifier

import (
	"fmt"
	"math"
	"time"
)

// fault is a reason why a signature did not pass: what kind, in the words for
// people, and what lower layers said.
type fault struct {
	kind  error
	words string
	cause error
}

func (f *fault) Error() string { return f.words }

func (f *fault) Unwrap() []error {
	if f.cause == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.cause}
}

// because gives a sentinel its details.
func because(kind error, format string, args ...any) error {
	return &fault{kind: kind, words: fmt.Sprintf(format, args...)}
}

// maxReason bounds the words of a reason.
const maxReason = 200

// printable makes attacker text fit for logs, replies and header fields:
// printable ASCII, at most limit characters.
func printable(s string, limit int) string {
	clean := len(s) <= limit
	for i := 0; clean && i < len(s); i++ {
		clean = ' ' <= s[i] && s[i] <= '~'
	}
	if clean {
		return s
	}
	out := []byte(s[:min(len(s), limit)])
	for i, c := range out {
		if c < ' ' || c > '~' {
			out[i] = '?'
		}
	}
	return string(out)
}

// moment writes seconds since 1970 as a date, where there is such a date.
func moment(seconds int64) string {
	if seconds < 0 || seconds > math.MaxUint32*50 { // a few thousand years
		return fmt.Sprintf("@%d", seconds)
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
}
