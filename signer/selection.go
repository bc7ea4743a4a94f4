package signer

import (
	"errors"
	"fmt"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

var errTooManyNames = errors.New("too many names in h=")

// selection says which fields of a header are signed.
type selection struct {
	patterns []pattern
	exact    map[string]int // lower-case name -> pattern
	prefixes []int          // patterns that end in *
}

type pattern struct {
	name  string // as configured, without *
	more  int    // 1: named once more than it occurs
	added bool   // the field is added on the way where it is missing
}

// times is how often a field is named that occurs n times.
func (p pattern) times(n int) int {
	if n == 0 && p.added {
		return 0
	}
	return n + p.more
}

// addedOnTheWay are fields whose absence is not signed. A mail server adds a Date or Message-ID that is
// missing (RFC 6409 sections 8.2 and 8.3, RFC 5321 section 6.4), Sendmail after its filters; one that
// converts a body adds MIME fields, and a mailing list fields of its own. Each would break every
// signature over their absence.
func addedOnTheWay(lower string) bool {
	switch lower {
	case "date", "message-id", "sender", "in-reply-to", "references", "list-unsubscribe", "list-unsubscribe-post":
		return true
	}
	return lower == "mime-version" || strings.HasPrefix(lower, "content-")
}

// newSelection reads the lists of names. The first to mention a name sets its
// place; From comes first unless it is mentioned.
func newSelection(headers, oversign []string) (*selection, error) {
	s := &selection{exact: map[string]int{}}
	var faults []error
	from := false
	for _, name := range headers {
		from = from || strings.EqualFold(name, "From")
	}
	if !from {
		headers = append([]string{"From"}, headers...)
	}
	for _, written := range headers {
		name, prefix, ok := dkim.ParsePattern(written)
		if !ok {
			faults = append(faults, fmt.Errorf("%q is no field name of %d octets at most, nor the beginning of one and *", written, message.MaxFieldName))
			continue
		}
		if prefix {
			s.prefixes = append(s.prefixes, len(s.patterns))
			s.patterns = append(s.patterns, pattern{name: name})
			continue
		}
		s.add(name, 0)
	}
	for _, name := range oversign {
		if _, prefix, ok := dkim.ParsePattern(name); !ok || prefix {
			faults = append(faults, fmt.Errorf("%q is no field name of %d octets at most that could be oversigned", name, message.MaxFieldName))
			continue
		}
		s.add(name, 1)
	}
	return s, errors.Join(faults...)
}

func (s *selection) add(name string, more int) {
	lower := strings.ToLower(name)
	i, ok := s.exact[lower]
	if !ok {
		i = len(s.patterns)
		s.patterns = append(s.patterns, pattern{name: name, added: addedOnTheWay(lower)})
		s.exact[lower] = i
	}
	s.patterns[i].more = max(s.patterns[i].more, more)
}

// oversignSelected has those of the names oversigned that are selected, by themselves or by a *.
func (s *selection) oversignSelected(names []string) {
	for _, name := range names {
		lower := strings.ToLower(name)
		if _, listed := s.exact[lower]; listed || s.prefixOf([]byte(lower)) >= 0 {
			s.add(name, 1)
		}
	}
}

// unstable are fields that a * never selects, because they are added, changed or
// removed on the way (RFC 6376 section 5.4; RFC 5322 section 3.6.3 for Bcc).
func unstable(lower string) bool {
	switch lower {
	case "received", "return-path", "dkim-signature", "authentication-results", "bcc", "resent-bcc", "delivered-to", "x-original-to":
		return true
	}
	return strings.HasPrefix(lower, "arc-")
}

// wild is a name that a * selected.
type wild struct {
	name  string
	count int
}

// names are the names in h= for a header, each pattern's together; each field that
// is selected is shown to visit. The cost is linear in the header.
func (s *selection) names(h *message.Header, visit func(message.Field)) ([]string, error) {
	counts := make([]int, len(s.patterns))
	var wilds map[string]*wild
	order := make([][]*wild, len(s.patterns)) // of each prefix
	var scratch [message.MaxFieldName]byte
	total := 0
	for _, f := range h.Fields() {
		raw := f.Raw()
		name := raw[:len(raw)-len(f.Value())-1]
		if len(name) > message.MaxFieldName {
			continue
		}
		lower := lowerCase(scratch[:0], name)
		if i, ok := s.exact[string(lower)]; ok {
			counts[i]++
			total++
			visit(f)
			continue
		}
		i := s.prefixOf(lower)
		if i < 0 {
			continue
		}
		total++
		visit(f)
		w := wilds[string(lower)]
		if w == nil {
			w = &wild{name: f.Name()}
			if wilds == nil {
				wilds = map[string]*wild{}
			}
			wilds[string(lower)] = w
			order[i] = append(order[i], w)
		}
		w.count++
	}
	if total+len(s.patterns) > dkim.MaxNames {
		// Exact only where it matters: oversigned names count as well.
		for i, p := range s.patterns {
			total += p.times(counts[i]) - counts[i]
		}
		if total > dkim.MaxNames {
			return nil, fmt.Errorf("%w: %d, the limit is %d", errTooManyNames, total, dkim.MaxNames)
		}
	}
	list := make([]string, 0, total+len(s.patterns))
	for i, p := range s.patterns {
		for range p.times(counts[i]) {
			list = append(list, p.name)
		}
		for _, w := range order[i] {
			for range w.count {
				list = append(list, w.name)
			}
		}
	}
	return list, nil
}

// selects reports whether a field is among those that are signed.
func (s *selection) selects(f message.Field) bool {
	lower := strings.ToLower(f.Name())
	_, listed := s.exact[lower]
	return listed || s.prefixOf([]byte(lower)) >= 0
}

// prefixOf is the pattern with * that selects a name, or -1. The name comes from
// the message and goes into our field, so it must be one.
func (s *selection) prefixOf(lower []byte) int {
	for _, i := range s.prefixes {
		prefix := s.patterns[i].name
		if len(lower) >= len(prefix) && strings.EqualFold(string(lower[:len(prefix)]), prefix) {
			if name := string(lower); message.IsFieldName(name) && !unstable(name) {
				return i
			}
		}
	}
	return -1
}

// lowerCase appends a field name in lower case without the white space before the colon.
func lowerCase(dst, name []byte) []byte {
	for len(name) > 0 && (name[len(name)-1] == ' ' || name[len(name)-1] == '\t') {
		name = name[:len(name)-1]
	}
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
