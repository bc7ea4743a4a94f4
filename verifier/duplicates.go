package verifier

import (
	"slices"
	"strings"

	"dkimd/internal/message"
)

// once are the fields of which a message has one at most: RFC 5322 section 3.6, RFC 2045 section 3
// and RFC 2183 section 2.
func once() []string {
	return []string{
		"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-ID", "Content-Description", "Content-Disposition",
	}
}

// repeated is one of those fields that a message has more than once.
type repeated struct {
	name  string
	count int
}

// repeatedIn finds them. The cost is linear in the header.
func repeatedIn(h *message.Header) []repeated {
	names := once()
	counts := make([]int, len(names))
	for _, f := range h.Fields() {
		if i := slices.IndexFunc(names, f.Is); i >= 0 {
			counts[i]++
		}
	}
	var list []repeated
	for i, n := range counts {
		if n > 1 {
			list = append(list, repeated{names[i], n})
		}
	}
	return list
}

// duplicates are the names of those that a signature with this h= leaves out at the top. RFC 6376
// section 5.4.2 has it cover the lowest, while a mail program may show the highest (section 8.15).
func duplicates(list []repeated, signed []string) []string {
	if len(list) == 0 {
		return nil
	}
	covered := make([]int, len(list))
	for _, name := range signed {
		if i := slices.IndexFunc(list, func(r repeated) bool { return strings.EqualFold(r.name, name) }); i >= 0 {
			covered[i]++
		}
	}
	var names []string
	for i, r := range list {
		if covered[i] < r.count {
			names = append(names, r.name)
		}
	}
	return names
}
