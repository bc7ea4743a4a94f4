package policy

import (
	"slices"
	"strings"
)

// Gap is a set of what the record of a message does not tell of it, where rules are tried on that. A message itself has none.
type Gap uint16

// The gaps. The rules are tried with everything that may be there: only where it decides is the verdict unknown.
const (
	GapRecipients Gap = 1 << iota // there are more than Message.Recipients holds
	GapList                       // whether it is from a list
	GapFrom                       // what is wrong with From
	GapNames                      // what a name in From shows
	GapAuthors                    // From claims more domains
	GapSPF                        // nobody asked
	GapDMARC                      // nobody asked
	GapSignatures                 // there are more, or what came of them is not known
)

// Words are what is not known, in words.
func (g Gap) Words() []string {
	var words []string
	for i, word := range []string{"recipients", "list", "from", "names in From", "author domains", "SPF", "DMARC", "signatures"} {
		if g&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return words
}

// String is Words as one text.
func (g Gap) String() string { return strings.Join(g.Words(), ", ") }

// doubt is the gaps on which it hangs whether the conditions on the message hold; none: they hold.
func (r *rule) doubt(m *Message) Gap {
	var g Gap
	if r.recipients != nil || r.anyRecipient != nil && !slices.ContainsFunc(m.Recipients, r.anyRecipient.Has) {
		g |= GapRecipients
	}
	if r.list != either {
		g |= GapList
	}
	if r.from&(missing|multiple) != 0 {
		g |= GapFrom
	}
	if r.from&misleading != 0 && r.from&authorOf(m.From) == 0 {
		g |= GapNames
	}
	return g & m.Gaps
}

// doubtful keeps the rules of which it is not known whether their conditions on the message hold.
func (c *Case) doubtful(rules []*rule, m *Message) {
	for _, r := range rules {
		if g := r.doubt(m); g != 0 {
			if c.doubts == nil {
				c.doubts = map[*rule]Gap{}
			}
			c.doubts[r] = g
		}
	}
}
