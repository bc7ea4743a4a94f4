package spf

import (
	"unsafe"

	"github.com/maypok86/otter/v2"
)

// keptSize is the memory, in octets, that records take which are kept as they were read: some thousands of usual ones.
const keptSize = 4 << 20

// entryOverhead is what a record takes besides its text and terms: about, see TestKeptMemory.
const entryOverhead = 250

// newKept keeps records by their text. Whatever DNS says is looked up there, so a record that changes is another one, and
// one that is thrown out is read again. Reads take no lock.
func newKept() (*otter.Cache[string, *record], error) {
	return otter.New(&otter.Options[string, *record]{
		MaximumWeight: keptSize,
		Weigher:       weigh,
		Executor:      func(do func()) { do() }, // no goroutine without an owner
		Logger:        &otter.NoopLogger{},
	})
}

func weigh(text string, r *record) uint32 {
	return uint32(entryOverhead + len(text) + cap(r.terms)*int(unsafe.Sizeof(term{}))) //nolint:gosec // far below
}

// read is a record from DNS.
func (c *Checker) read(text string) *record {
	if r, ok := c.kept.GetIfPresent(text); ok {
		return r
	}
	r := readRecord(text)
	c.kept.Set(text, r)
	return r
}
