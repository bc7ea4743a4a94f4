package pipeline_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/pipeline"
	"dkimd/internal/resolver"
)

// killer is a message that has brought down others, with what DNS says to it.
type killer struct {
	head []string
	body []byte
	txt  []string // TXT records of every name
}

// size is what the sender spent on it.
func (k *killer) size() int {
	n := len(k.body)
	for _, f := range k.head {
		n += len(f) + 2
	}
	for _, r := range k.txt {
		n += len(r)
	}
	return n
}

// plain is a signed message of the same size with nothing odd about it.
func plain(size int) *killer {
	line := "The quick brown fox jumps over the lazy dog, and goes on.\r\n"
	return &killer{
		head: []string{signature("d=a.example; c=relaxed/relaxed; h=From:To:Subject"), "From: a@a.example", "To: b@b.example", "Subject: c"},
		body: []byte(strings.Repeat(line, size/len(line)+1))[:size],
		txt:  []string{killerKey},
	}
}

// signature is a field that gets as far as its hashes.
func signature(tags string) string {
	return "DKIM-Signature: v=1; a=rsa-sha256; s=s; " + tags + "; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=" +
		base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 256))
}

// killerKey is the record of some 2048-bit key.
var killerKey = rsaRecord(2048)

func rsaRecord(bits int) string {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
	if err != nil {
		panic(err)
	}
	n.SetBit(n, bits-1, 1).SetBit(n, 0, 1)
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537})
	if err != nil {
		panic(err)
	}
	return "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(der)
}

// cost is the least time of the processor in some runs, from MAIL to the record:
// other programs do not count.
func (w *world) cost(p *pipeline.Pipeline, k *killer) time.Duration {
	w.t.Helper()
	w.lookup = func(string) (resolver.Answer, error) { return resolver.Answer{Records: k.txt}, nil }
	return cputime.Least(runs, func() { w.take(p, k) })
}

// take takes a message from MAIL to the record, whatever DNS says.
func (w *world) take(p *pipeline.Pipeline, k *killer) {
	m := from(outside)
	msg := p.Begin(&m.env)
	for _, f := range k.head {
		name, value, _ := strings.Cut(f, ":")
		msg.Header(name, value)
	}
	msg.EndOfHeader(w.t.Context())
	for chunk := range slices.Chunk(k.body, 65535) {
		msg.Body(chunk)
	}
	msg.Finish(w.t.Context())
}

// No message costs much more than a plain one of its size. Each of these takes
// others seconds to minutes; see docs/adr and the tests of the packages for how.
//
//nolint:paralleltest // it measures time
func TestKillersCostWhatTheirSizeCosts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	author := "From: a@a.example"
	key := []string{killerKey}
	names := func(n int) string { return "From" + strings.Repeat(":X", n-1) }
	numbered := func(n int) (fields []string, h string) {
		var list []string
		for i := range n {
			fields = append(fields, fmt.Sprintf("X%d: v", i))
			list = append(list, fmt.Sprintf("X%d", n-i))
		}
		return fields, "From:" + strings.Join(list, ":")
	}
	signatures := make([]string, 500)
	for i := range signatures {
		signatures[i] = signature(fmt.Sprintf("d=d%d.example; h=From:From; l=%d", i, i))
	}
	var authors strings.Builder
	for i := range 999 {
		fmt.Fprintf(&authors, "a@a%d.example,", i)
	}
	some, ofSome := numbered(990)
	many, ofMany := numbered(4000)
	killers := map[string]killer{
		"8 MB of CRLF, simple":            {[]string{signature("d=a.example; h=From"), author}, bytes.Repeat([]byte("\r\n"), 4<<20), key},
		"8 MB of CRLF, relaxed":           {[]string{signature("d=a.example; c=relaxed/relaxed; h=From"), author}, bytes.Repeat([]byte("\r\n"), 4<<20), key},
		"8 MB of CRLF in a body":          {[]string{signature("d=a.example; h=From"), author}, append(bytes.Repeat([]byte("\r\n"), 4<<20), "x\r\n"...), key},
		"8 MB of white space and CRLF":    {[]string{signature("d=a.example; c=relaxed/relaxed; h=From"), author}, bytes.Repeat([]byte(" \t\r\n"), 2<<20), key},
		"4000 fields, 20000 names":        {append(slices.Repeat([]string{"X: v"}, 4000), signature("d=a.example; h="+names(20000)), author), nil, key},
		"4000 fields, 4000 other names":   {append(many, signature("d=a.example; h="+ofMany), author), nil, key},
		"1990 fields, 1000 names":         {append(slices.Repeat([]string{"X: v"}, 1990), signature("d=a.example; h="+names(1000)), author), nil, key},
		"990 fields of 990 names":         {append(some, signature("d=a.example; h="+ofSome), author), nil, key},
		"a key of 262144 bits":            {[]string{signature("d=a.example; h=From"), author}, nil, []string{rsaRecord(262144)}},
		"a key of 16384 bits":             {[]string{signature("d=a.example; h=From"), author}, nil, []string{rsaRecord(16384)}},
		"a TXT record of 60 KB":           {[]string{signature("d=a.example; h=From"), author}, nil, []string{"v=DKIM1; n=" + strings.Repeat("x", 60<<10)}},
		"60 KB of tags in a TXT record":   {[]string{signature("d=a.example; h=From"), author}, nil, []string{strings.Repeat("a=;", 20<<10)}},
		"1000 TXT records":                {[]string{signature("d=a.example; h=From"), author}, nil, slices.Repeat(key, 1000)},
		"500 signatures":                  {append(signatures, author), []byte(strings.Repeat("x\r\n", 100_000)), key},
		"100 signatures, 1000 authors":    {append(signatures[:100:100], "From: "+authors.String()+"a@z.example"), nil, key},
		"500 signatures that are nothing": {append(slices.Repeat([]string{"DKIM-Signature: " + strings.Repeat("a=;", 600)}, 500), author), nil, key},
		"a signature of 20000 tags":       {[]string{signature("d=a.example; h=From; " + strings.Repeat("x=;", 10000)), author}, nil, key},
		"comments in From":                {[]string{signature("d=a.example; h=From"), "From: " + strings.Repeat("(", 1<<20-200)}, nil, key},
		"comments closed in From":         {[]string{signature("d=a.example; h=From"), "From: " + strings.Repeat("(", 500_000) + strings.Repeat(")", 500_000) + "a@a.example"}, nil, key},
		"@ after @ in From":               {[]string{signature("d=a.example; h=From"), "From: " + strings.Repeat("a@b.c ", 160_000)}, nil, key},
		"encoded words in From":           {[]string{signature("d=a.example; h=From"), "From: " + strings.Repeat("=?u?b?YUBi?= ", 45_000)}, nil, key},
		"names in encoded words":          {[]string{signature("d=a.example; h=From"), "From: " + strings.Repeat("=?u?q?@b.c?= =?iso-2022-jp?q?a=40?= ", 18_000) + "<a@a.example>"}, nil, key},
		"spaces in a domain":              {[]string{signature("d=a.example; h=From"), "From: " + strings.Repeat("@b.c d.e\u00a0f ", 45_000)}, nil, key},
		"comments in results":             {[]string{"Authentication-Results: " + strings.Repeat("(", 1<<20-200), author}, nil, nil},
		"results in comments":             {append(slices.Repeat([]string{"Authentication-Results: ((((mx.example.net;;;=" + strings.Repeat("(\\", 200)}, 1990), author), nil, nil},
		"an endless header":               {append(slices.Repeat([]string{"X-Endless: " + strings.Repeat("v", 900)}, 20_000), author), nil, nil},
		"an endless field":                {[]string{"X: " + strings.Repeat("\r\n v", 5<<20), author}, nil, nil},
		"an endless line":                 {[]string{signature("d=a.example; c=relaxed/relaxed; h=From"), author}, bytes.Repeat([]byte("x"), 100<<20), key},
	}
	w := newWorld(t)
	p := w.pipeline()
	for name, k := range killers {
		t.Run(name, func(t *testing.T) {
			usual := w.cost(p, plain(k.size()))
			got := w.cost(p, &k)
			// Reading addresses takes some 50 ns an octet, an hundred times what hashing
			// them takes; the rest of what is allowed is for clocks that tick slowly.
			head := k.size() - len(k.body)
			if limit := 20*usual + slow*(time.Duration(head)*200*time.Nanosecond+40*time.Millisecond); got > limit {
				t.Errorf("%d bytes take %v; a plain message of that size %v", k.size(), got, usual)
			}
			t.Logf("%d KiB: %v, plain %v, ratio %.1f", k.size()>>10, got.Round(time.Microsecond), usual.Round(time.Microsecond), float64(got)/float64(usual))
		})
	}
}

// From floods: what a forger may fill a From field with costs at most ten times a plain message of the size. Up to
// 64 KiB all is read, at some 30 ns an octet at most.
//
//nolint:paralleltest // it measures time
func TestFromFloodsCostAtMostTenPlainMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	floods := map[string]string{ // %d: another number each time
		"encoded words": "=?u?b?YUBi?= ", "names in encoded words": "=?u?q?@b.c?= =?iso-2022-jp?q?a=40?= ", "words without an end": "=?u?b? ",
		"other names in encoded words": "=?u?q?@1.2.3.%d?=, ", "ISO-2022-JP": "=?iso-2022-jp?b?GyRCOzNFRBsoQg==?= ", "UTF-7": "=?utf-7?q?a+AEA-b?= ",
		"EBCDIC": "=?cp037?B?g4WWfIeUgYmTS4OWlA==?= ", "HZ": "=?hz-gb-2312?q?~{@@~}@?= ", "escape sequences": "\x1b(B@b",
		"white space in a domain": "@b.c d.e\u00a0f ", "at signs": "@", "domains": "@b.c ", "addresses": "a@b.c, ", "other names": "@a%d ",
		"literals": "a@[1.2.%d.1], ", "addresses of numbers": "@1.2.%d.1 ", "U-labels": "@\u3002\u00e9%d ", "names of dots": "@a.",
		"open comments": "(", "comments": "()", "addresses in comments": "(a@b.c)", "quotes": `"`, "quoted addresses": `"a@b.c" `, "backslashes": `\@b.c`,
		"angle brackets": "<a@b.c> ", "empty angle brackets": "<>@b.c", "groups": "a:", "full width": "\uff20b.c ",
	}
	w := newWorld(t)
	p := w.pipeline()
	for name, unit := range floods {
		for _, size := range []int{60 << 10, 585_000} {
			var value strings.Builder
			for i := 0; value.Len() < size; i++ {
				value.WriteString(strings.ReplaceAll(unit, "%d", strconv.Itoa(i)))
			}
			flood := killer{head: []string{signature("d=a.example; h=From"), "From: " + value.String() + "<a@a.example>"}, txt: []string{killerKey}}
			allowed := time.Duration(0)
			if size < 64<<10 {
				allowed = 2 * time.Millisecond
			}
			got, usual := time.Hour, time.Hour
			for range 8 { // on a busy machine some rounds are slow
				got, usual = min(got, w.cost(p, &flood)), min(usual, w.cost(p, plain(flood.size())))
				if got <= slow*(10*usual+allowed) {
					break
				}
			}
			if got > slow*(10*usual+allowed) {
				t.Errorf("%d octets of %s take %v, a plain message of that size %v: ratio %.1f", size, name, got, usual, float64(got)/float64(usual))
			}
			t.Logf("%d octets of %s: ratio %.1f", size, name, float64(got)/float64(usual))
		}
	}
}
