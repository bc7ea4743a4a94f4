package message_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/message"
)

// The limits of docs/design.md, from both sides, and in figures: a limit that is
// moved by one is noticed.
func TestLimits(t *testing.T) {
	t.Parallel()
	t.Run("2000 fields", func(t *testing.T) {
		t.Parallel()
		for n, want := range map[int]string{2000: "", 2001: "header fields"} {
			var h message.Header
			for range n {
				h.Add("X", " y")
			}
			if got := h.Exceeded(); got != want {
				t.Errorf("%d fields: %q, want %q", n, got, want)
			}
		}
	})
	t.Run("1 MiB of header", func(t *testing.T) {
		t.Parallel()
		for n, want := range map[int]string{1 << 20: "", 1<<20 + 1: "header bytes"} {
			var h message.Header
			h.Add("A", strings.Repeat("a", 1000)) // with colon and CRLF
			h.Add("X", strings.Repeat("x", n-1004-4))
			if got := h.Exceeded(); got != want {
				t.Errorf("%d bytes: %q, want %q", n, got, want)
			}
		}
	})
	t.Run("10000 recipients", func(t *testing.T) {
		t.Parallel()
		for n, want := range map[int]int{10_000: 10_000, 10_001: 10_000} {
			var e message.Envelope
			for range n {
				e.AddRecipient("a@b.example")
			}
			if len(e.Recipients) != want || e.RecipientCount != n {
				t.Errorf("%d recipients: %d kept, %d counted", n, len(e.Recipients), e.RecipientCount)
			}
		}
	})
	t.Run("1000 addresses", func(t *testing.T) {
		t.Parallel()
		for n, want := range map[int]bool{1000: true, 1001: false} {
			addresses, ok := message.ReadAddresses([]byte(strings.TrimSuffix(strings.Repeat("a@b.example,", n), ",")))
			if ok != want || len(addresses) != 1000 {
				t.Errorf("%d addresses: %d read, %v", n, len(addresses), ok)
			}
		}
	})
	// Past the limits of a header, From is kept within limits of its own.
	late := func(values ...string) message.Originator {
		var h message.Header
		for range message.MaxFields + 1 {
			h.Add("X", " y")
		}
		for _, v := range values {
			h.Add("From", v)
		}
		return message.ReadFrom(&h)
	}
	t.Run("64 KiB of From", func(t *testing.T) {
		t.Parallel()
		const author, other = "a@b.example,", "c@d.example"
		for n, lost := range map[int]bool{64 << 10: false, 64<<10 + 1: true} {
			first := author + strings.Repeat(" ", n-len(author)-2*len(other)) + other
			for name, h := range map[string]*message.Header{
				"one field": header("From: " + first + strings.Repeat(",", len(other))), "two": header("From: "+first, "From: "+other),
			} {
				got := message.ReadFrom(h)
				if got.Incomplete != lost || got.Readable == lost || !slices.Contains(got.Claimed, "b.example") {
					t.Errorf("%s of %d bytes: incomplete %v, readable %v, claimed %q", name, n, got.Incomplete, got.Readable, got.Claimed)
				}
			}
		}
	})
	t.Run("16 KiB of a field that goes past it", func(t *testing.T) {
		t.Parallel()
		const author, other = "a@b.example,", "c@d.example"
		for n, lost := range map[int]bool{16 << 10: false, 16<<10 + 1: true} {
			field := author + strings.Repeat(",", n-len(author)-len(other)) + other + strings.Repeat(",", 64<<10)
			if got := message.ReadFrom(header("From:" + field)); !got.Incomplete || slices.Contains(got.Claimed, "d.example") && lost || len(got.Claimed) != 2 && !lost {
				t.Errorf("%d octets: claimed %q", n, got.Claimed)
			}
		}
	})
	t.Run("1000 words of a name", func(t *testing.T) {
		t.Parallel()
		for n, readable := range map[int]bool{1000: true, 1001: false} {
			got := message.ReadFrom(header("From: " + strings.Repeat("a ", n) + "<a@b.example>"))
			if got.Readable != readable || len(got.Claimed) != 1 || got.Incomplete {
				t.Errorf("%d words: %+v", n, got)
			}
		}
	})
	t.Run("998 octets of a field with an unquoted @ in the name", func(t *testing.T) {
		t.Parallel()
		const name, address = "John @ ", " <a@b.example>"
		for n, angle := range map[int]domain.Name{998: "b.example", 999: ""} {
			if got := message.ReadFrom(header("From:" + name + strings.Repeat("x", n-len(name+address)) + address)); got.Angle != angle {
				t.Errorf("%d octets: %+v", n, got)
			}
		}
	})
	t.Run("1500 ways to write domains", func(t *testing.T) {
		t.Parallel()
		for n, lost := range map[int]bool{1500: false, 1501: true} {
			var value strings.Builder
			for i := range n {
				name := []byte("abcdefghijkl.example")
				for bit := range 12 {
					name[bit] -= byte(i>>bit&1) * ('a' - 'A')
				}
				fmt.Fprintf(&value, " a@%s", name)
			}
			if got := message.ReadFrom(header("From:" + value.String())); len(got.Claimed) != 1 || got.Incomplete != lost {
				t.Errorf("%d ways: claimed %q, incomplete %v", n, got.Claimed, got.Incomplete)
			}
		}
	})
	t.Run("54,000 to 60,000 octets of a field that Postfix may have cut", func(t *testing.T) {
		t.Parallel()
		const author, fold = "a@b.example,", ",\r\n "
		for n, lost := range map[int]bool{53_999: false, 54_000: true, 60_000: true, 60_001: false} {
			for _, name := range []string{"From:", "Sender:"} {
				line := name + author + strings.Repeat(",", n-len(name+author))
				// A line end counts as one octet.
				folded := name + author + strings.Repeat(fold, 1000) + strings.Repeat(",", n-len(name+author)-3*1000)
				for _, field := range []string{line, folded} {
					if got := message.ReadFrom(header(field)); got.Incomplete != lost || lost && got.Domain() != "" {
						t.Errorf("%s %d octets, %d folds: incomplete %v", name, n, strings.Count(field, "\n"), got.Incomplete)
					}
				}
			}
		}
	})
	t.Run("512 KiB of late From", func(t *testing.T) {
		t.Parallel()
		const author = "a@b.example"
		for n, lost := range map[int]bool{512 << 10: false, 512<<10 + 1: true} {
			if got := late(strings.Repeat(" ", n-1000), strings.Repeat(" ", 1000-len(author))+author); got.Incomplete != lost {
				t.Errorf("%d bytes: lost is %v", n, got.Incomplete)
			}
		}
	})
	t.Run("64 late From fields", func(t *testing.T) {
		t.Parallel()
		for n, lost := range map[int]bool{64: false, 65: true} {
			if got := late(slices.Repeat([]string{" a@b.example"}, n)...); got.Incomplete != lost {
				t.Errorf("%d fields: lost is %v", n, got.Incomplete)
			}
		}
	})
	t.Run("1000 domains of a From", func(t *testing.T) {
		t.Parallel()
		for n, lost := range map[int]bool{1000: false, 1001: true} {
			var value strings.Builder
			for i := range n {
				fmt.Fprintf(&value, " a@d%d.example", i)
			}
			var h message.Header
			h.Add("From", value.String())
			if got := message.ReadFrom(&h); len(got.Claimed) != min(n, 1000) || got.Incomplete != lost {
				t.Errorf("%d domains: %d claimed, lost is %v", n, len(got.Claimed), got.Incomplete)
			}
		}
	})
}
