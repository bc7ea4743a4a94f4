//go:build integration

package differential_test

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"dkimd/internal/dkim/dkimtest"
)

// judges are the verifiers, and the count of what they said.
type judges struct {
	peers []peer

	mu        sync.Mutex
	samples   int
	compared  map[string]int // by peer
	explained map[string]int // by divergence and peer
	open      map[string]int // by what both said: disputes that nothing explains
}

func newJudges(peers ...peer) *judges {
	return &judges{peers: peers, compared: map[string]int{}, explained: map[string]int{}, open: map[string]int{}}
}

func allPeers(t *testing.T) *judges {
	t.Helper()
	return newJudges(startOpenDKIMVerifier(t), startPython(t), startPerl(t), goMsgauth{})
}

// all has every peer judge a sample, and compares with dkimd. With want every
// signature must be just that for dkimd.
func (j *judges) all(t *testing.T, s *sample, want class) []judgement {
	t.Helper()
	own := dkimd{}.verify(t, s)
	if want != "" {
		for i, o := range own {
			if o.class != want {
				t.Errorf("%s: signature %d: dkimd says %s (%s); want %s\n%.2000q", s.name, i+1, o.class, o.detail, want, s.raw)
			}
		}
	}
	for i, o := range own {
		c := &dispute{sample: s, signature: signaturesOf(s.raw)[i], own: o}
		if held := c.holds(); s.ours() && (held && !s.otherKey && o.class == fail || !held && (o.class == pass || o.class == policy)) {
			t.Errorf("%s: signature %d: dkimd says %s (%s), but that its hashes are right is %t\n%s", s.name, i+1, o.class, o.detail, held, c.shown())
		}
		err := grammatical(c.signature)
		refused := o.class == permerror && aboutField.MatchString(o.detail)
		if err != nil && !refused || err == nil && refused && !ownRule.MatchString(o.detail) {
			t.Errorf("%s: signature %d: dkimd says %s (%s), but the grammar %v\n%s", s.name, i+1, o.class, o.detail, err, c.shown())
		}
	}
	var wait sync.WaitGroup
	for _, p := range j.peers {
		wait.Go(func() { j.compare(t, s, own, p) })
	}
	wait.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.samples++
	return own
}

// ours reports whether a sample is signed with keys of the keyring, under names as usual.
func (s *sample) ours() bool { return !s.fixture }

// aboutField is what dkimd says of a signature whose field is not as it must be.
var aboutField = regexp.MustCompile(`^(signature field cannot be read|the From field is not signed|i= is not within d=|algorithm |d=\S+ is a public suffix)`)

// ownRule is what dkimd demands of a field beyond the grammar.
var ownRule = regexp.MustCompile(`is a public suffix$|h= has too many names$`)

// compare looks at the signatures one by one.
func (j *judges) compare(t *testing.T, s *sample, own []judgement, p peer) {
	t.Helper()
	theirs := p.verify(t, s)
	signatures := signaturesOf(s.raw)
	for i, o := range own {
		t1 := match(theirs, i, len(own), o)
		if same(o.class, t1.class) {
			j.count(p, "")
			continue
		}
		c := &dispute{sample: s, peer: p.name(), own: o, theirs: t1, signature: signatures[i], index: i, of: len(own)}
		if d := explain(c); d != "" {
			j.count(p, d)
			continue
		}
		j.count(p, "")
		odd := ""
		if len(s.odd) > 0 {
			odd = fmt.Sprintf("%.150q: ", strings.Join(s.odd, " and "))
		}
		if s.fixture {
			odd = s.name + ": "
		}
		kind := odd + fmt.Sprintf("dkimd %s (%s), %s %s (%s)", o.class, o.detail, p.name(), t1.class, variable.ReplaceAllString(t1.detail, "..."))
		j.mu.Lock()
		j.open[kind]++
		first := j.open[kind] == 1 && len(j.open) <= 12
		j.mu.Unlock()
		if first {
			t.Errorf("%s: signature %d of %d: %s\n%s", s.name, i+1, len(own), kind, c.shown())
		} else {
			t.Fail()
		}
	}
}

// variable is what differs from one message to the next in what a peer says.
var variable = regexp.MustCompile(`b'[^']*'|\d{3,}`)

// shown is the message, without the other signatures.
func (c *dispute) shown() string {
	var b strings.Builder
	fields, body := dkimtest.Split(c.sample.raw)
	for _, f := range fields {
		if text := string(f); text == c.signature+"\r\n" || !isSignature(text) {
			fmt.Fprintf(&b, "   %.1500q\n", text)
		}
	}
	fmt.Fprintf(&b, "   body %.1000q\n", body)
	for name, r := range c.sample.records {
		if len(c.sample.records) < 4 {
			fmt.Fprintf(&b, "   %s TXT %.1000q\n", name, r)
		}
	}
	return b.String()
}

func isSignature(field string) bool {
	name, _, _ := strings.Cut(field, ":")
	return strings.EqualFold(strings.TrimRight(name, " \t"), "DKIM-Signature")
}

// match finds what a peer says of dkimd's signature i of n.
func match(theirs []judgement, i, n int, own judgement) judgement {
	if len(theirs) == 1 && theirs[0].b == "" && theirs[0].class != pass {
		return theirs[0] // of the whole message
	}
	if len(theirs) == n {
		return theirs[i]
	}
	for _, t := range theirs {
		if t.b != "" && own.b != "" && (strings.HasPrefix(t.b, own.b) || strings.HasPrefix(own.b, t.b)) {
			return t
		}
	}
	return judgement{class: none}
}

// same reports whether two verifiers agree on what counts.
func same(a, b class) bool {
	if (a == pass) != (b == pass) {
		return false
	}
	// A failure to ask must not be taken for an answer.
	return (a == temperror) == (b == temperror) || a == broken || b == broken
}

func (j *judges) count(p peer, divergence string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.compared[p.name()]++
	if divergence != "" {
		j.explained[p.name()+": "+divergence]++
	}
}

func (j *judges) report(t *testing.T) {
	t.Helper()
	var lines []string
	for name, n := range j.compared {
		lines = append(lines, fmt.Sprintf("%6d signatures compared with %s", n, name))
	}
	slices.Sort(lines)
	var more []string
	for name, n := range j.explained {
		more = append(more, fmt.Sprintf("%6d explained: %s", n, name))
	}
	for kind, n := range j.open {
		more = append(more, fmt.Sprintf("%6d NOT explained: %s", n, kind))
	}
	sort.Strings(more)
	t.Logf("seed %d: %d messages\n%s\n%s", seed(), j.samples, strings.Join(lines, "\n"), strings.Join(more, "\n"))
}

// signaturesOf are the DKIM-Signature fields of a message, raw, top first.
func signaturesOf(raw []byte) []string {
	h, _ := split(raw)
	var found []string
	for _, f := range h.All("DKIM-Signature") {
		found = append(found, string(f.Raw()))
	}
	return found
}
