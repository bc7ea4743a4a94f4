package message

import (
	"sync/atomic"
	"time"
)

const (
	// DefaultMemory is what messages may hold together where the configuration does not say.
	DefaultMemory = 256 << 20

	// reserve is the part of all memory that only messages below usualBytes get: many large
	// headers at once must not keep out the mail that everybody sends.
	reserve    = 8 // one eighth
	usualBytes = 64 << 10

	complainEvery = time.Minute
)

// Memory bounds what all messages under way hold together: headers, recipients, and packets of which
// a part has come. It is safe for concurrent use.
type Memory struct {
	limit, held atomic.Int64
	crowded     atomic.Bool
	changed     chan struct{}
	deferred    atomic.Uint64
	began       time.Time
	complained  atomic.Int64 // when Deferred last said that a line is due, in nanoseconds from complainEvery before began
}

// NewMemory returns a memory of so many bytes.
func NewMemory(limit int) *Memory {
	m := &Memory{changed: make(chan struct{}, 1), began: time.Now()}
	m.SetLimit(limit)
	return m
}

// SetLimit changes the limit. What is held stays.
func (m *Memory) SetLimit(limit int) { m.limit.Store(int64(limit)) }

// Limit is the limit in bytes.
func (m *Memory) Limit() int64 { return m.limit.Load() }

// Held is how many bytes are held at the moment.
func (m *Memory) Held() int64 { return m.held.Load() }

// Deferred is how many messages were deferred for want of memory.
func (m *Memory) Deferred() uint64 { return m.deferred.Load() }

// Crowded reports that more than half of the limit was held, and not less than a quarter since.
func (m *Memory) Crowded() bool { return m.crowded.Load() }

// Changed has a value when Crowded has changed. It is for one receiver.
func (m *Memory) Changed() <-chan struct{} { return m.changed }

// Hold begins what one message holds. A nil Memory has no bound.
func (m *Memory) Hold() Held { return Held{memory: m} }

func (m *Memory) take(n, limit int64) bool {
	held := m.held.Add(n)
	if held > limit {
		m.give(n)
		return false
	}
	if held > m.Limit()/2 && !m.Crowded() {
		m.setCrowded(true)
	}
	return true
}

func (m *Memory) give(n int64) {
	if held := m.held.Add(-n); held < m.Limit()/4 && m.Crowded() {
		m.setCrowded(false)
	}
}

func (m *Memory) setCrowded(crowded bool) {
	if !m.crowded.CompareAndSwap(!crowded, crowded) {
		return
	}
	select {
	case m.changed <- struct{}{}:
	default: // the receiver has not looked yet
	}
}

// Held is what one message holds of a Memory. Whoever began it must release it. One goroutine at a
// time uses it. Nil has no bound.
type Held struct {
	memory   *Memory
	bytes    int64
	exceeded bool
}

// Take takes n bytes. It reports false where they are not to be had, and from then on.
func (h *Held) Take(n int) bool {
	if h == nil || h.memory == nil {
		return true
	}
	limit := h.memory.Limit()
	if h.bytes+int64(n) > usualBytes {
		limit -= limit / reserve
	}
	if h.exceeded = h.exceeded || !h.memory.take(int64(n), limit); h.exceeded {
		return false
	}
	h.bytes += int64(n)
	return true
}

// Give gives n bytes back that were taken.
func (h *Held) Give(n int) {
	if h != nil && h.memory != nil {
		h.bytes -= int64(n)
		h.memory.give(int64(n))
	}
}

// Grow takes what a buffer needs to have room for n more bytes, of most in all, and returns it with that room.
func (h *Held) Grow(buf []byte, n, most int) (grown []byte, ok bool) {
	need := len(buf) + n
	if need <= cap(buf) {
		return buf, true
	}
	size := max(need, min(2*cap(buf), most))
	if !h.Take(size - cap(buf)) {
		return buf, false
	}
	return append(make([]byte, 0, size), buf...), true
}

// Exceed says that something was not kept for want of memory.
func (h *Held) Exceed() { h.exceeded = true }

// Exceeded reports that something could not be taken: the message is not known in full.
func (h *Held) Exceeded() bool { return h != nil && h.exceeded }

// Release gives everything back.
func (h *Held) Release() {
	h.Give(int(h.bytes))
	h.exceeded = false
}

// Deferred counts the message as deferred for want of memory. It reports whether the log
// should say so, and the limit.
func (h *Held) Deferred() (limit int64, due bool) {
	m := h.memory
	m.deferred.Add(1)
	last, now := m.complained.Load(), int64(complainEvery+time.Since(m.began))
	return m.Limit(), now-last >= int64(complainEvery) && m.complained.CompareAndSwap(last, now)
}
