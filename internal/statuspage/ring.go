package statuspage

import (
	"bytes"
	"slices"
)

// ring holds the last records, a line of JSON each, in pieces: the oldest piece goes when there is no room for another
// one. What is written in a piece does not change while there are readers, who need no lock then.
type ring struct {
	most    int // bytes
	pieces  []piece
	held    int    // bytes of all pieces
	next    uint64 // the number of the next record
	readers int
	spare   []byte // a piece that nobody reads: fresh memory costs more than what is written into it
}

type piece struct {
	first uint64 // number of its first record
	lines []byte
}

// ringPieces is how many pieces a ring has when records are short.
const ringPieces = 32

// newRing makes a ring with the number of its first record.
func newRing(most int, first uint64) ring { return ring{most: most, next: first} }

// append takes in a line, and returns its number; 0: it was not kept.
func (r *ring) append(line []byte) uint64 {
	if len(line) > r.most {
		return 0
	}
	last := len(r.pieces) - 1
	if last < 0 || len(r.pieces[last].lines)+len(line) > cap(r.pieces[last].lines) {
		size := max(r.most/ringPieces, len(line))
		for r.held+size > r.most {
			old := r.pieces[0].lines
			if r.held -= cap(old); r.readers == 0 {
				r.spare = old[:0]
			}
			r.pieces = slices.Delete(r.pieces, 0, 1)
		}
		lines := r.spare
		if r.spare = nil; cap(lines) != size {
			lines = make([]byte, 0, size)
		}
		r.pieces = append(r.pieces, piece{r.next, lines})
		r.held += size
		last = len(r.pieces) - 1
	}
	r.pieces[last].lines = append(r.pieces[last].lines, line...)
	r.next++
	return r.next - 1
}

// records are the lines of a piece with their numbers, the newest first.
func (p piece) records(yield func(number uint64, line []byte) bool) {
	number := p.first + uint64(bytes.Count(p.lines, []byte{'\n'})) //nolint:gosec // not negative
	for rest := p.lines; len(rest) > 0; {
		number--
		begin := bytes.LastIndexByte(rest[:len(rest)-1], '\n') + 1
		if !yield(number, rest[begin:len(rest)-1]) {
			return
		}
		rest = rest[:begin]
	}
}
