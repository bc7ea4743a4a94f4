package statuspage

import (
	"container/heap"
	"strings"

	"dkimd/internal/safetext"
)

// sketch counts the mail of the domains that send most, in a fixed number of places: a new domain takes the place of
// the one with the least mail, and inherits its rank ("Efficient Computation of Frequent and Top-k Elements in Data
// Streams", Metwally and others, 2005). So a flood of invented domains drives out each other, and no busy one.
type sketch struct {
	byName map[string]*sender
	order  order
}

// sender is the mail of one domain as far as it was counted.
type sender struct {
	domain string
	counts
	inherited uint64 // the rank it took over
	index     int    // in order
	would     [maxWould]wouldAct
}

// maxWould is how many rules are told of one domain.
const maxWould = 3

// wouldAct is how often a rule in monitor mode would have acted.
type wouldAct struct {
	rule  *ruleHits
	count uint32
}

func newSketch() sketch { return sketch{byName: map[string]*sender{}} }

// touch finds the place of a domain; fix must follow once it counted.
func (s *sketch) touch(domain string) *sender {
	if domain == "" {
		domain = noDomain
	}
	domain = safetext.Clip(domain, maxName)
	if one := s.byName[domain]; one != nil {
		return one
	}
	domain = clone(domain)
	one := &sender{domain: domain}
	if len(s.order) < maxDomains {
		heap.Push(&s.order, one)
	} else {
		least := s.order[0]
		delete(s.byName, least.domain)
		*least = sender{domain: domain, inherited: least.rank(), index: least.index}
		one = least
	}
	s.byName[domain] = one
	return one
}

func (s *sketch) fix(one *sender) { heap.Fix(&s.order, one.index) }

// noDomain stands for messages whose sender has none.
const noDomain = "(none)"

// maxName is the longest name of a domain (RFC 1035 section 2.3.4), in text.
const maxName = 253

func (s *sender) rank() uint64 { return s.inherited + s.total() }

// wouldHave counts a rule that would have acted.
func (s *sender) wouldHave(r *ruleHits) {
	for i := range s.would {
		w := &s.would[i]
		if w.rule == nil {
			w.rule = r
		}
		if w.rule == r {
			w.count++
			return
		}
	}
}

// order is a heap, the sender with the lowest rank first.
type order []*sender

func (o order) Len() int           { return len(o) }
func (o order) Less(i, j int) bool { return o[i].rank() < o[j].rank() }

func (o order) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].index, o[j].index = i, j
}

// Push is heap.Interface.
func (o *order) Push(one any) {
	s, _ := one.(*sender)
	s.index = len(*o)
	*o = append(*o, s)
}

// Pop is heap.Interface; nothing is ever taken off.
func (o *order) Pop() any { return nil }

// clone is a text of its own, of bounded length: what it was cut from may be large.
func clone(s string) string { return strings.Clone(safetext.Clip(s, maxText)) }

const maxText = 1024
