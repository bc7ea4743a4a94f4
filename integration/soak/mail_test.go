//go:build integration

package soak_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/dkim/dkimtest"
)

// clients whose mail is ours, trusted, and a stranger's.
var (
	inside  = netip.MustParseAddr("192.0.2.9")
	trusted = netip.MustParseAddr("198.51.100.7")
	outside = netip.MustParseAddr("203.0.113.9")
)

// need is what a message needs of DNS to be answered as it should be.
type need uint8

const (
	needsNothing need = iota // or a key that is in the cache
	needsNew                 // a key that nobody has looked up before
)

// purpose is what a kind of mail is sent for.
type purpose uint8

const (
	toBeSigned purpose = iota
	toBeChecked
)

// kind is one kind of mail, whose answer is known.
type kind struct {
	name    string
	purpose purpose
	client  netip.Addr
	domain  string // of From and MAIL FROM
	login   string // authenticated as; empty: not
	need    need
	raw     func(c *corpus, r *rand.Rand, n int64) []byte
	// answer is what comes of it under the rules of a number and with a clock that is
	// wrong, as answer strings have it.
	answer func(rules int, wrong time.Duration) string
}

func always(answer string) func(int, time.Duration) string {
	return func(int, time.Duration) string { return answer }
}

func rejected(rules int, _ time.Duration) string { return "reject " + reply(rules) }

const (
	passed    = "accept dkim=pass"
	keyFailed = "tempfail 451 4.7.5"
	// dated is how far the special dates of signatures are from now.
	dated = 10 * time.Hour
)

// kinds are all kinds of mail there are.
func kinds() []kind {
	return []kind{
		{"rsa", toBeSigned, inside, "rsa.test", "", needsNothing, (*corpus).plain, always("accept signed=rsa.test/r1")},
		{"ed25519", toBeSigned, inside, "ed.test", "", needsNothing, (*corpus).plain, always("accept signed=ed.test/e1")},
		{"both", toBeSigned, inside, "both.test", "", needsNothing, (*corpus).plain, always("accept signed=both.test/e1 signed=both.test/r1")},
		{"login", toBeSigned, outside, "ed.test", "joe", needsNothing, (*corpus).plain, always("accept signed=ed.test/e1")},
		{"rotating", toBeSigned, inside, "rotating.test", "", needsNothing, (*corpus).plain, func(n int, _ time.Duration) string {
			return "accept signed=rotating.test/" + rotation(n)
		}},
		{"no key", toBeSigned, inside, "nokey.test", "", needsNothing, (*corpus).plain, always("accept")},

		{"good", toBeChecked, outside, "gmail.com", "", needsNothing, (*corpus).good, always(passed)},
		{"good, new key", toBeChecked, outside, "gmail.com", "", needsNew, (*corpus).fresh, always(passed)},
		{"stable", toBeChecked, outside, "stable.test", "", needsNothing, (*corpus).stable, always(passed)},
		{"forged", toBeChecked, outside, "gmail.com", "", needsNothing, (*corpus).forged, rejected},
		{"two From", toBeChecked, outside, "gmail.com", "", needsNothing, (*corpus).twoFrom, rejected}, // whatever its key is
		{"forged, new key", toBeChecked, outside, "gmail.com", "", needsNew, (*corpus).freshForged, rejected},
		{"no such key", toBeChecked, outside, "gmail.com", "", needsNew, (*corpus).keyless, rejected},
		{"servfail", toBeChecked, outside, "gmail.com", "", needsNothing, (*corpus).failing, always(keyFailed)},
		{"silence", toBeChecked, outside, "gmail.com", "", needsNothing, (*corpus).silent, always(keyFailed)},
		{"unsigned gmail", toBeChecked, outside, "gmail.com", "", needsNothing, (*corpus).plain, rejected},
		{"unsigned", toBeChecked, outside, "elsewhere.test", "", needsNothing, (*corpus).plain, always("accept dkim=none")},
		{"trusted", toBeChecked, trusted, "gmail.com", "", needsNothing, (*corpus).plain, always("accept dkim=none")},
		{"quarantine", toBeChecked, outside, "quarantine.test", "", needsNothing, (*corpus).plain, always("quarantine dkim=none")},
		{"tag", toBeChecked, outside, "tag.test", "", needsNothing, (*corpus).plain, always("accept dkim=none tag=unsigned")},
		{"expires", toBeChecked, outside, "gmail.com", "", needsNew, (*corpus).expires, func(n int, wrong time.Duration) string {
			if wrong > dated {
				return rejected(n, wrong)
			}
			return passed
		}},
		{"ahead", toBeChecked, outside, "gmail.com", "", needsNew, (*corpus).ahead, func(n int, wrong time.Duration) string {
			if dated-wrong > 24*time.Hour { // RFC 6376 section 3.5, t=: what dkimd takes for the future
				return rejected(n, wrong)
			}
			return passed
		}},
	}
}

// corpus makes messages.
type corpus struct {
	w                     *world
	texts                 []string // bodies
	goods, bads, enduring [][]byte
}

func newCorpus(t *testing.T, w *world) corpus {
	t.Helper()
	c := corpus{w: w, texts: []string{"", "Dear reader,\r\n\r\nthis is short.\r\n"}}
	r := w.rng(1)
	for _, size := range []int{1 << 10, 2 << 10, 4 << 10, 8 << 10, 30 << 10, 200 << 10} {
		var b strings.Builder
		for b.Len() < size {
			b.WriteString(strings.Repeat("words and  spaces \t", 1+r.IntN(3)) + "\r\n")
		}
		c.texts = append(c.texts, b.String())
	}
	now := time.Now()
	for i := range 16 {
		raw := c.text(r, "gmail.com", int64(-i))
		good, err := c.sign(raw, "hot", "hot", "gmail.com", now, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		enduring, err := c.sign(c.text(r, "stable.test", int64(-i)), "hot", "hot", "stable.test", now, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		c.goods, c.enduring = append(c.goods, good), append(c.enduring, enduring)
		c.bads = append(c.bads, forge(r, good))
	}
	return c
}

// forge changes something that is signed.
func forge(r *rand.Rand, raw []byte) []byte {
	if r.IntN(2) == 0 {
		return []byte(strings.Replace(string(raw), "Subject: A", "Subject: Another", 1))
	}
	return append(slices.Clone(raw), "One line more.\r\n"...)
}

// text is an unsigned message; not all are of the same size.
func (c *corpus) text(r *rand.Rand, domain string, n int64) []byte {
	body := c.texts[min(r.IntN(len(c.texts)), r.IntN(len(c.texts)))]
	return fmt.Appendf(nil, "From: Somebody <somebody@%s>\r\nTo: <reader@soak.test>\r\nSubject: A message\r\n\tin two lines\r\n"+
		"Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d@%s>\r\nMIME-Version: 1.0\r\n\r\n%s", domain, n, domain, body)
}

// sign signs with the key of a word, under a selector.
func (c *corpus) sign(raw []byte, word, selector, domain string, at, until time.Time) ([]byte, error) {
	key := c.w.keys[word+"._domainkey."+domain]
	algorithm, expires := "rsa-sha256", ""
	if word == "cold" || domain == "stable.test" {
		algorithm = "ed25519-sha256"
	}
	if !until.IsZero() {
		expires = fmt.Sprintf(" x=%d;", until.Unix())
	}
	field := fmt.Sprintf("DKIM-Signature: v=1; a=%s; c=relaxed/relaxed; d=%s; s=%s;\r\n\tt=%d;%s h=from:from:subject:to:date:message-id;\r\n\tbh=%s;\r\n\tb=%s",
		algorithm, domain, selector, at.Unix(), expires, dkimtest.BodyHash, dkimtest.Value)
	return dkimtest.Sign(raw, field, dkimtest.Options{
		Key: key, RelaxHeader: true, RelaxBody: true, Names: []string{"from", "from", "subject", "to", "date", "message-id"}, Length: -1,
	})
}

// cold is a message of gmail.com signed under a selector of its own, which begins
// with what DNS says of it.
func (c *corpus) cold(r *rand.Rand, n int64, word string, at, until time.Time) []byte {
	raw, err := c.sign(c.text(r, "gmail.com", n), "cold", fmt.Sprintf("%s-%d", word, n), "gmail.com", at, until)
	if err != nil {
		panic(err) // the keys are ours
	}
	return raw
}

// plain is unsigned: newMessage makes it, for each domain.
func (c *corpus) plain(*rand.Rand, int64) []byte { return nil }

func (c *corpus) good(r *rand.Rand, _ int64) []byte   { return c.goods[r.IntN(len(c.goods))] }
func (c *corpus) stable(r *rand.Rand, _ int64) []byte { return c.enduring[r.IntN(len(c.enduring))] }
func (c *corpus) forged(r *rand.Rand, _ int64) []byte { return c.bads[r.IntN(len(c.bads))] }

func (c *corpus) fresh(r *rand.Rand, n int64) []byte {
	return c.cold(r, n, "cold", time.Now(), time.Time{})
}

func (c *corpus) freshForged(r *rand.Rand, n int64) []byte { return forge(r, c.fresh(r, n)) }

func (c *corpus) twoFrom(r *rand.Rand, n int64) []byte {
	return append([]byte("From: somebody@gmail.com\r\n"), c.fresh(r, n)...)
}

func (c *corpus) keyless(r *rand.Rand, n int64) []byte {
	return c.cold(r, n, "none", time.Now(), time.Time{})
}

func (c *corpus) failing(r *rand.Rand, n int64) []byte {
	return c.cold(r, n, "fails", time.Now(), time.Time{})
}

func (c *corpus) silent(r *rand.Rand, n int64) []byte {
	return c.cold(r, n, "silent", time.Now(), time.Time{})
}

func (c *corpus) expires(r *rand.Rand, n int64) []byte {
	return c.cold(r, n, "cold", time.Now().Add(-time.Hour), time.Now().Add(dated))
}

func (c *corpus) ahead(r *rand.Rand, n int64) []byte {
	return c.cold(r, n, "cold", time.Now().Add(dated), time.Time{})
}

// message is one message on its way.
type message struct {
	kind   *kind
	number int64
	raw    []byte
	sender string
	began  time.Time

	rules, clocks, dns, short int // marks
}

// newMessage makes a message and takes down what is in force when it begins.
func (w *world) newMessage(k *kind, r *rand.Rand) *message {
	n := w.ledger.next()
	m := &message{kind: k, number: n, raw: k.raw(&w.corpus, r, n), sender: fmt.Sprintf("m%d@%s", n, k.domain)}
	if m.raw == nil {
		m.raw = w.corpus.text(r, k.domain, n)
	}
	return m
}

func (w *world) begin(m *message) {
	m.began = time.Now()
	m.rules, m.clocks, m.dns, m.short = w.rules.mark(), w.clocks.mark(), w.dnsFails.mark(), w.short.mark()
}

// judge says what is wrong with the answer to a message, and whether only one answer was right.
func (w *world) judge(m *message, answer string) (fault string, certain bool) {
	right := map[string]bool{}
	dns := w.dnsFails.since(m.dns)
	failing := slices.Contains(dns, true) || slices.Contains(w.short.since(m.short), true)
	if m.kind.need == needsNew && failing {
		right[keyFailed] = true
	}
	if m.kind.need != needsNew || slices.Contains(dns, false) {
		for _, rules := range w.rules.since(m.rules) {
			for _, wrong := range w.clocks.since(m.clocks) {
				right[m.kind.answer(rules, wrong)] = true
			}
		}
	}
	if right[answer] {
		return "", len(right) == 1
	}
	var list []string
	for a := range right {
		list = append(list, fmt.Sprintf("%q", a))
	}
	slices.Sort(list)
	return fmt.Sprintf("%s (%s): %q; want %s", m.sender, m.kind.name, answer, strings.Join(list, " or ")), false
}
