// Package fault says what the operator must fix: the file, the line, the key, what was
// found there, what belongs there and what to do. It reads no file; whoever read one makes the faults.
package fault

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/safetext"
)

// maxFaults is how many faults of one file are listed; the rest is only counted.
const maxFaults = 100

// Fault is one thing the operator must fix. Empty parts are left out of its text.
type Fault struct {
	Path string `json:"path,omitempty"` // the file
	Line int    `json:"line,omitempty"` // counted from 1; 0: no particular line
	Key  string `json:"key,omitempty"`  // the key's whole path: milter.listen, rule[2].action (counted from 1)
	Got  string `json:"got,omitempty"`  // what the file says, escaped and at most about 60 characters
	Want string `json:"want,omitempty"` // what belongs there
	Hint string `json:"hint,omitempty"` // what to do
}

// Error is the fault as FILE:LINE: KEY: got VALUE; want WHAT (hint: DO THIS).
// Whatever the file contains, the text is one line without control characters.
func (f Fault) Error() string {
	var b strings.Builder
	if f.Path != "" {
		b.WriteString(f.Path)
		if f.Line > 0 {
			b.WriteString(":" + strconv.Itoa(f.Line))
		}
		b.WriteString(": ")
	}
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	if f.Got != "" {
		b.WriteString("got " + f.Got)
	}
	if f.Want != "" {
		if f.Got != "" {
			b.WriteString("; ")
		}
		b.WriteString("want " + f.Want)
	}
	if f.Hint != "" {
		if f.Got != "" || f.Want != "" {
			b.WriteByte(' ')
		}
		b.WriteString("(hint: " + f.Hint + ")")
	}
	return safetext.Printable(b.String())
}

// Faults are all the faults of one or more files. As an error they are one
// text of several lines; errors.As finds each.
type Faults []Fault

// Err is the faults as an error; nil when there is none.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// Error is every fault on a line of its own.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As the single faults.
func (f Faults) Unwrap() []error {
	all := make([]error, len(f))
	for i, fault := range f {
		all[i] = fault
	}
	return all
}

// Sorted brings faults into the order of their lines, each once, and no more than maxFaults.
func (f Faults) Sorted() Faults {
	out := make(Faults, 0, len(f))
	seen := make(map[Fault]bool, len(f))
	for _, fault := range f {
		if !seen[fault] {
			seen[fault] = true
			out = append(out, fault)
		}
	}
	slices.SortStableFunc(out, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
	if len(out) > maxFaults {
		rest := len(out) - maxFaults
		out = append(out[:maxFaults:maxFaults], Fault{Path: out[0].Path, Got: strconv.Itoa(rest) + " more faults"})
	}
	return out
}
