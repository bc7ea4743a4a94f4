package statuspage

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/safetext"
)

const (
	maxFound = 50  // messages of one answer
	maxQuery = 512 // bytes
)

// found is a record with its number.
type found struct {
	Number uint64
	*events.Event
}

// search finds the last messages that a query is about: a queue id, a Message-ID, a domain, an address, or a client's
// address. More reports that there may be further ones.
func (h *History) search(ctx context.Context, query string) (list []found, more bool) {
	needle, lower := []byte(plainPart(query)), []byte(nil)
	pieces, done := h.read()
	defer done()
	for _, p := range slices.Backward(pieces) {
		for number, line := range p.records {
			if ctx.Err() != nil {
				return list, true
			}
			if lower = appendLower(lower[:0], line); !bytes.Contains(lower, needle) {
				continue // most are not read any further
			}
			e := new(events.Event)
			if e.UnmarshalJSON(line) != nil || !isAbout(e, query) {
				continue
			}
			if len(list) == maxFound {
				return list, true
			}
			list = append(list, found{number, e})
		}
	}
	return list, false
}

func isAbout(e *events.Event, query string) bool {
	address := strings.TrimSuffix(strings.TrimPrefix(query, "<"), ">")
	same := func(other string) bool { return strings.EqualFold(other, address) }
	return e.About(query) || e.Names(domain.Fold(query)) || same(e.Sender) || same(e.Client) || slices.ContainsFunc(e.From, same)
}

// record is the one with a number; nil: it is not kept any more.
func (h *History) record(number uint64) *events.Event {
	pieces, done := h.read()
	defer done()
	for _, p := range pieces {
		if number < p.first {
			break
		}
		for n, line := range p.records {
			if n == number {
				e := new(events.Event)
				if e.UnmarshalJSON(line) != nil {
					return nil
				}
				return e
			}
		}
	}
	return nil
}

// plainPart is the longest part of a query that stands in a record as it is, in lower case.
func plainPart(query string) string {
	if !safetext.IsASCII(query) {
		return "" // a name may stand in its ASCII form
	}
	parts := strings.FieldsFunc(strings.TrimRight(strings.ToLower(query), "."), func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && !strings.ContainsRune("@.-_=+", r)
	})
	if len(parts) == 0 {
		return ""
	}
	return slices.MaxFunc(parts, func(a, b string) int { return len(a) - len(b) })
}

func appendLower(dst, src []byte) []byte {
	for _, c := range src {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// oldest is when the oldest record that is kept was written; zero: there is none.
func (h *History) oldest() (at time.Time) {
	pieces, done := h.read()
	defer done()
	if len(pieces) == 0 {
		return at
	}
	line, _, _ := bytes.Cut(pieces[0].lines, []byte{'\n'})
	if e := new(events.Event); e.UnmarshalJSON(line) == nil {
		at = e.Time
	}
	return at
}
