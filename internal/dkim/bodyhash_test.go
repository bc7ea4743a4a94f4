package dkim_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/dkim"
)

var (
	wspBeforeLineEnd = regexp.MustCompile(`[ \t]+(\r\n|$)`)
	wspRun           = regexp.MustCompile(`[ \t]+`)
)

// canonicalBody is RFC 6376 sections 3.4.3 and 3.4.4 word for word, over a whole body.
func canonicalBody(c dkim.Canonicalization, body []byte) []byte {
	if c == dkim.Relaxed {
		body = wspBeforeLineEnd.ReplaceAll(body, []byte("$1"))
		body = wspRun.ReplaceAll(body, []byte(" "))
	}
	for bytes.HasSuffix(body, []byte("\r\n")) {
		body = body[:len(body)-2]
	}
	if c == dkim.Relaxed && len(body) == 0 {
		return nil
	}
	return append(bytes.Clone(body), "\r\n"...)
}

func bodyHash(c dkim.Canonicalization, limit int64, chunks ...[]byte) ([32]byte, int64) {
	b := dkim.NewBodyHash(c, limit)
	for _, chunk := range chunks {
		n, err := b.Write(chunk)
		if n != len(chunk) || err != nil {
			panic(fmt.Sprint("Write: ", n, err))
		}
	}
	return b.Sum(), b.Length()
}

func checkBody(t *testing.T, c dkim.Canonicalization, body []byte, chunks ...[]byte) {
	t.Helper()
	checkChunks(t, c, canonicalBody(c, body), chunks...)
}

func checkChunks(t *testing.T, c dkim.Canonicalization, want []byte, chunks ...[]byte) {
	t.Helper()
	sum, length := bodyHash(c, -1, chunks...)
	if length != int64(len(want)) {
		t.Fatalf("%v: length %d of %.200q, want %d", c, length, chunks, len(want))
	}
	if sum != sha256.Sum256(want) {
		t.Fatalf("%v: hash of %.200q is not that of %.200q", c, chunks, want)
	}
}

func TestBodyHashCanonicalForm(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, simple, relaxed string }{
		"empty, RFC 6376 3.4.3 and 3.4.4":   {"", "\r\n", ""},
		"one line end":                      {"\r\n", "\r\n", ""},
		"only empty lines":                  {"\r\n\r\n\r\n", "\r\n", ""},
		"only white space":                  {" \t", " \t\r\n", ""},
		"white space and line ends":         {" \r\n\t\r\n", " \r\n\t\r\n", ""},
		"no final line end":                 {"a", "a\r\n", "a\r\n"},
		"the RFC's example, 3.4.5":          {" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"},
		"leading empty lines stay":          {"\r\n\r\na\r\n", "\r\n\r\na\r\n", "\r\n\r\na\r\n"},
		"inner empty lines stay":            {"a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n"},
		"inner white lines become empty":    {"a\r\n \t \r\nb\r\n", "a\r\n \t \r\nb\r\n", "a\r\n\r\nb\r\n"},
		"bare LF is no line end":            {"a \n\n", "a \n\n\r\n", "a \n\n\r\n"},
		"bare CR is no line end":            {"a \r\r", "a \r\r\r\n", "a \r\r\r\n"},
		"CR CR LF is a line with a CR":      {"a\r\r\n\r\r\n", "a\r\r\n\r\r\n", "a\r\r\n\r\r\n"},
		"white space before CR CR LF stays": {"a \t\r\r\n", "a \t\r\r\n", "a \r\r\n"},
		"white space before a bare CR":      {"a  \rb\r\n", "a  \rb\r\n", "a \rb\r\n"},
		"NUL and 8-bit are bytes":           {"\x00 \x00\xa0\xff  \xc3\xa4\r\n", "\x00 \x00\xa0\xff  \xc3\xa4\r\n", "\x00 \x00\xa0\xff \xc3\xa4\r\n"},
		"other white space is none":         {"a\v\f\u00a0\r\n", "a\v\f\u00a0\r\n", "a\v\f\u00a0\r\n"},
		"tabs become spaces":                {"\ta\tb\t\r\n", "\ta\tb\t\r\n", " a b\r\n"},
		"exclamation marks fool no borrow":  {"! !! ! !  ! \t!\x01 \x01  x", "! !! ! !  ! \t!\x01 \x01  x\r\n", "! !! ! ! ! !\x01 \x01 x\r\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for c, want := range map[dkim.Canonicalization]string{dkim.Simple: test.simple, dkim.Relaxed: test.relaxed} {
				body := []byte(test.body)
				if got := canonicalBody(c, body); string(got) != want {
					t.Fatalf("%v: the reference makes %q, want %q", c, got, want)
				}
				for first := range len(body) + 1 {
					for second := first; second <= len(body); second++ {
						checkChunks(t, c, []byte(want), body[:first], body[first:second], body[second:])
					}
				}
			}
		})
	}
}

// TestBodyHashAnyChunking cuts bodies made of what matters at every place that matters.
func TestBodyHashAnyChunking(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"\r", "\n", "\r\n", "\r\n\r\n", " ", "  ", "\t", " \t", "a", "abcdefgh", "word word ", "\x00", "!", strings.Repeat("x", 70), strings.Repeat(" ", 40)}
	for range 1500 {
		var body []byte
		for range random.IntN(60) {
			body = append(body, pieces[random.IntN(len(pieces))]...)
		}
		var chunks [][]byte
		for rest := body; len(rest) > 0; {
			n := random.IntN(min(len(rest), 1+random.IntN(200))) + 1
			chunks = append(chunks, rest[:n])
			rest = rest[n:]
		}
		checkBody(t, dkim.Simple, body, chunks...)
		checkBody(t, dkim.Relaxed, body, chunks...)
		checkBody(t, dkim.Relaxed, body, body)
	}
}

func TestBodyHashLongRuns(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"spaces":            strings.Repeat(" ", 20_000) + "x",
		"trailing spaces":   "x" + strings.Repeat(" ", 20_000) + "\r\n",
		"line ends inside":  "x" + strings.Repeat("\r\n", 10_000) + "y",
		"line ends at end":  "x" + strings.Repeat("\r\n", 10_000),
		"white lines":       "x" + strings.Repeat(" \t\r\n", 6_000) + "y",
		"single spaces":     strings.Repeat("x ", 10_000),
		"double spaces":     strings.Repeat("x  ", 10_000),
		"bare line feeds":   strings.Repeat("\n", 10_000),
		"bare returns":      strings.Repeat("\r", 10_000),
		"spaces and CR":     strings.Repeat(" \r", 10_000),
		"trailing each row": strings.Repeat("some text on a line \r\n", 1000),
	} {
		for _, size := range []int{1, 7, 8, 1000, 65535, len(body)} {
			var chunks [][]byte
			for rest := []byte(body); len(rest) > 0; {
				n := min(size, len(rest))
				chunks = append(chunks, rest[:n])
				rest = rest[n:]
			}
			t.Run(fmt.Sprint(name, " by ", size), func(t *testing.T) {
				t.Parallel()
				checkBody(t, dkim.Simple, []byte(body), chunks...)
				checkBody(t, dkim.Relaxed, []byte(body), chunks...)
			})
		}
	}
}

// TestBodyHashLimit: RFC 6376 section 3.5, l= counts octets of the canonical body.
func TestBodyHashLimit(t *testing.T) {
	t.Parallel()
	body := []byte(" a  b \r\n\r\n" + strings.Repeat("line of  text\r\n", 300) + "\r\n\r\n")
	for _, c := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
		canonical := canonicalBody(c, body)
		for _, limit := range []int64{0, 1, 3, 5, 8, 255, 256, 2047, 2048, 2049, int64(len(canonical)) - 1, int64(len(canonical)), int64(len(canonical)) + 1, 1 << 62} {
			want := sha256.Sum256(canonical[:min(limit, int64(len(canonical)))])
			sum, length := bodyHash(c, limit, body[:11], body[11:])
			if sum != want {
				t.Errorf("%v l=%d: wrong hash", c, limit)
			}
			if length != int64(len(canonical)) {
				t.Errorf("%v l=%d: length %d, want %d", c, limit, length, len(canonical))
			}
		}
	}
}

func TestBodyHashSumEndsTheBody(t *testing.T) {
	t.Parallel()
	b := dkim.NewBodyHash(dkim.Relaxed, -1)
	_, _ = b.Write([]byte("a\r\n"))
	first := b.Sum()
	_, _ = b.Write([]byte("b\r\n"))
	if b.Sum() != first || b.Length() != 3 {
		t.Error("a write after Sum changed the hash")
	}
}

func TestBodyHashWriteAllocatesNothing(t *testing.T) {
	for name, chunk := range map[string][]byte{
		"text":     ordinaryMail(),
		"line end": bytes.Repeat([]byte("\r\n"), 30_000),
		"dense":    bytes.Repeat([]byte("a  "), 20_000),
		"rows":     bytes.Repeat([]byte("a line that ends in a space \r\n"), 2000),
	} {
		for _, c := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
			b := dkim.NewBodyHash(c, -1)
			if n := testing.AllocsPerRun(20, func() { _, _ = b.Write(chunk) }); n != 0 {
				t.Errorf("%v, %s: %v allocations a chunk", c, name, n)
			}
		}
	}
}

// TestBodyHashLineEndFloodIsLinear: eight times the empty lines may take eight times as long.
// (The go-msgauth canonicalizer needs 64 times; see docs.)
func TestBodyHashLineEndFloodIsLinear(t *testing.T) {
	flood := func(size int, tail string) time.Duration {
		chunk := bytes.Repeat([]byte("\r\n"), 32<<10)
		return cputime.Least(3, func() {
			for _, c := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
				b := dkim.NewBodyHash(c, -1)
				for range size / len(chunk) {
					_, _ = b.Write(chunk)
					_, _ = b.Write([]byte(tail))
				}
				b.Sum()
			}
		})
	}
	for _, tail := range []string{"", " ", "x"} {
		small, large := flood(1<<20, tail), flood(8<<20, tail)
		if large > 24*small+50*time.Millisecond {
			t.Errorf("tail %q: 1 MiB of line ends takes %v, 8 MiB %v", tail, small, large)
		}
	}
}

func FuzzBodyHashChunking(f *testing.F) {
	f.Add([]byte(" C \r\nD \t E\r\n\r\n\r\n"), []byte{3, 1, 2}, int64(-1))
	f.Add([]byte("a\r\r\n \r\n\n\n\r"), []byte{1}, int64(4))
	f.Add([]byte("! \x01  \t! word word  word\r\n \t\r\n"), []byte{9, 1}, int64(9))
	f.Fuzz(func(t *testing.T, body, cuts []byte, limit int64) {
		for _, c := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
			b := dkim.NewBodyHash(c, limit)
			rest := body
			for i := 0; len(rest) > 0; i++ {
				n := len(rest)
				if len(cuts) > 0 {
					n = min(n, int(cuts[i%len(cuts)])+1)
				}
				_, _ = b.Write(rest[:n])
				rest = rest[n:]
			}
			want := canonicalBody(c, body)
			length := int64(len(want))
			if limit >= 0 && limit < length {
				want = want[:limit]
			}
			if b.Sum() != sha256.Sum256(want) || b.Length() != length {
				t.Errorf("%v of %q in chunks of %v differs from the RFC's %q", c, body, cuts, want)
			}
		}
	})
}
