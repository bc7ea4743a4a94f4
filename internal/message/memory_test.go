package message_test

import (
	"strings"
	"sync"
	"testing"

	"dkimd/internal/message"
)

// crowd holds bytes in small parts, as many usual messages do.
func crowd(t *testing.T, m *message.Memory, bytes int) (release func()) {
	t.Helper()
	const part = 32 << 10
	all := make([]message.Held, (bytes+part-1)/part)
	for i := range all {
		all[i] = m.Hold()
		if !all[i].Take(min(part, bytes-i*part)) {
			t.Fatalf("%d bytes are not to be had", bytes)
		}
	}
	return func() {
		for i := range all {
			all[i].Release()
		}
	}
}

// The last byte is to be had and none more, and all of them again once they are given back.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := message.NewMemory(1 << 20)
	release := crowd(t, m, 1<<20)
	one := m.Hold()
	if one.Take(1) || !one.Exceeded() || m.Held() != 1<<20 {
		t.Errorf("one byte more is taken: %d", m.Held())
	}
	release()
	if one.Take(1) {
		t.Error("a message that missed a part goes on as if it were whole")
	}
	one.Release()
	if !one.Take(1) || one.Exceeded() {
		t.Error("nothing is to be had after all was released")
	}
	one.Release()
	if m.Held() != 0 {
		t.Errorf("%d bytes are held in the end", m.Held())
	}
}

// Large messages leave an eighth to those that hold up to 64 KiB.
func TestMemoryIsKeptForUsualMessages(t *testing.T) {
	t.Parallel()
	m := message.NewMemory(1 << 20)
	for bytes, want := range map[int]bool{7 << 17: true, 7<<17 + 1: false} {
		large := m.Hold()
		if large.Take(bytes) != want {
			t.Errorf("%d bytes for one message: %v", bytes, !want)
		}
		large.Release()
	}
	defer crowd(t, m, 7<<17)()
	for bytes, want := range map[int]bool{64 << 10: true, 64<<10 + 1: false} {
		held := m.Hold()
		if held.Take(bytes) != want {
			t.Errorf("%d bytes of the reserve: %v", bytes, !want)
		}
		held.Release()
	}
}

// Whoever gives memory back to the system is told of the end of a peak, once.
func TestMemoryTellsOfPeaks(t *testing.T) {
	t.Parallel()
	m := message.NewMemory(1 << 20)
	changed := func() bool {
		select {
		case <-m.Changed():
			return true
		default:
			return false
		}
	}
	half := crowd(t, m, 1<<19)
	if changed() || m.Crowded() {
		t.Error("crowded at a half")
	}
	more := crowd(t, m, 1)
	if !changed() || !m.Crowded() {
		t.Error("not crowded over a half")
	}
	more()
	quarter := crowd(t, m, 1<<18)
	half()
	if changed() || !m.Crowded() {
		t.Error("not crowded any more at a quarter")
	}
	quarter()
	if !changed() || m.Crowded() || changed() {
		t.Error("crowded below a quarter")
	}
}

// What a header and an envelope keep is counted, and what they do not get they do not keep.
func TestHeadersTakeMemory(t *testing.T) {
	t.Parallel()
	m := message.NewMemory(1 << 20)
	fill := func(h *message.Header, name string, fields, size int) (kept int) {
		before := h.Bytes()
		for range fields {
			h.Add(name, strings.Repeat("x", size))
		}
		return h.Bytes() - before
	}
	for name, add := range map[string]func(h *message.Header, e *message.Envelope) (least int){
		"fields": func(h *message.Header, _ *message.Envelope) int { return fill(h, "X", 10, 20_000) },
		"many fields": func(h *message.Header, _ *message.Envelope) int {
			fill(h, "X", 2000, 1)
			return 2000 * 32
		},
		"late authors": func(h *message.Header, _ *message.Envelope) int {
			fill(h, "X", 2001, 1)
			fill(h, "From", 8, 60_000)
			fill(h, "Sender", 1, 100_000)
			return 2000*32 + 8*60_000 + 100_000
		},
		"recipients": func(_ *message.Header, e *message.Envelope) int {
			for range 1000 {
				e.AddRecipient("a@example.org")
			}
			return 1000 * (13 + 16)
		},
	} {
		t.Run(name, func(t *testing.T) {
			held := m.Hold()
			h, e := &message.Header{Held: &held}, &message.Envelope{Held: &held}
			least := add(h, e)
			if got := m.Held(); got < int64(least) || got > 2*int64(least) {
				t.Errorf("%d bytes are held, at least %d are kept", got, least)
			}
			release := crowd(t, m, 1<<20-int(m.Held()))
			fields, bytes := len(h.Fields()), h.Bytes()
			h.Add("From", strings.Repeat("x", 5000))
			if !held.Exceeded() || h.Exceeded() == "" || h.Bytes() != bytes || len(h.Fields()) != fields {
				t.Errorf("past all memory: %q, %d bytes", h.Exceeded(), h.Bytes())
			}
			if e.AddRecipient("b@example.org"); len(e.Recipients) == e.RecipientCount {
				t.Error("a recipient is kept past all memory")
			}
			release()
			if held.Release(); m.Held() != 0 {
				t.Errorf("%d bytes are held in the end", m.Held())
			}
		})
	}
}

// A buffer takes what its capacity grows by, twice as much each time, but for the last.
func TestGrow(t *testing.T) {
	t.Parallel()
	m := message.NewMemory(1 << 20)
	held := m.Hold()
	var buf []byte
	for range 1000 {
		grown, ok := held.Grow(buf, 100, 100_000)
		if !ok || cap(grown)-len(buf) < 100 {
			t.Fatalf("room for %d bytes", cap(grown)-len(buf))
		}
		if buf = append(grown, make([]byte, 100)...); m.Held() != int64(cap(buf)) {
			t.Fatalf("%d bytes are taken for %d", m.Held(), cap(buf))
		}
	}
	if cap(buf) != 100_000 {
		t.Errorf("a buffer of %d bytes for 100000", cap(buf))
	}
	if same, ok := held.Grow(buf, 2<<20, 4<<20); ok || len(same) != len(buf) || m.Held() != int64(cap(buf)) {
		t.Errorf("room past all memory; %d bytes are held", m.Held())
	}
	held.Release()
}

// Messages that come and go at once leave nothing behind.
func TestMemoryOfManyMessages(t *testing.T) {
	t.Parallel()
	m := message.NewMemory(1 << 20)
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 200 {
				held := m.Hold()
				for range 20 {
					held.Take(4 << 10)
				}
				held.Release()
			}
		})
	}
	all.Wait()
	if m.Held() != 0 || m.Crowded() {
		t.Errorf("%d bytes are held in the end; crowded: %v", m.Held(), m.Crowded())
	}
}

// Messages are deferred often, a line in the log is due once a minute.
func TestDeferralsAreCounted(t *testing.T) {
	t.Parallel()
	m := message.NewMemory(1 << 20)
	lines := 0
	for range 100 {
		held := m.Hold()
		if limit, due := held.Deferred(); due {
			lines++
			if limit != 1<<20 {
				t.Errorf("limit %d", limit)
			}
		}
	}
	if m.Deferred() != 100 || lines != 1 {
		t.Errorf("%d deferred, %d lines", m.Deferred(), lines)
	}
}
