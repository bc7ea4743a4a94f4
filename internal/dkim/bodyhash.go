package dkim

import (
	"crypto/sha256"
	"hash"
)

const (
	gatherSize = 2048 // small pieces are collected to this many bytes before they are hashed
	smallPiece = 256  // what is at least this long is hashed where it lies
)

// BodyHash computes the SHA-256 hash of a canonical message body (RFC 6376
// sections 3.4.3, 3.4.4 and 3.7) while the body passes by. The result does not
// depend on how the body is cut into chunks, and no part of the body is kept.
//
// What could still turn out to be the end of a line or of the body is held as
// state: a number of CRLFs, then perhaps white space, then perhaps a CR, in this
// order. So a body of empty lines costs a counter, and a run of spaces a bool.
//
// Only CRLF ends a line. A bare CR and a bare LF are ordinary bytes, as for
// dkimpy (a test compares) and, unless FixCRLF is set, in libopendkim's source: an
// MTA hands over CRLF, and whatever else stands in the body was there when it was signed.
type BodyHash struct {
	hash    hash.Hash
	limit   int64 // octets still to hash; negative: no limit
	length  int64 // canonical octets seen
	crlfs   int64 // line ends held back: they may be the body's trailing empty lines
	wsp     bool  // white space held back, relaxed only: it may end its line
	cr      bool  // a CR held back: the chunk ended before it could be seen whether an LF follows
	content bool  // something other than line ends was written
	relaxed bool
	ended   bool
	sum     [sha256.Size]byte
	used    int
	gather  [gatherSize]byte
}

// NewBodyHash starts a body. The limit is the l= tag in canonical octets: what
// exceeds it is counted, not hashed. A negative limit means no limit.
func NewBodyHash(c Canonicalization, limit int64) *BodyHash {
	return &BodyHash{hash: sha256.New(), limit: max(limit, -1), relaxed: c == Relaxed}
}

// Write takes the next chunk, of any size. It never fails, and does not allocate
// or keep p. After Sum it has no effect.
func (b *BodyHash) Write(p []byte) (int, error) {
	n := len(p)
	if b.ended {
		return n, nil
	}
	if b.cr && n > 0 {
		b.cr = false
		if p[0] == '\n' {
			b.crlfs++
			b.wsp = false
			p = p[1:]
		} else {
			b.release()
			b.putByte('\r')
		}
	}
	if len(p) == 0 {
		return n, nil
	}
	cr := p[len(p)-1] == '\r'
	if cr {
		p = p[:len(p)-1]
	}
	if b.relaxed {
		b.writeRelaxed(p)
	} else {
		b.writeSimple(p)
	}
	b.cr = cr
	return n, nil
}

func (b *BodyHash) writeSimple(p []byte) {
	end := trimLineEnds(p)
	if end > 0 {
		b.release()
		b.put(p[:end])
	}
	b.crlfs += int64((len(p) - end) / 2)
}

// trimLineEnds is the length of p without the CRLFs at its end.
func trimLineEnds(p []byte) int {
	end := len(p)
	for end >= 8 && string(p[end-8:end]) == "\r\n\r\n\r\n\r\n" {
		end -= 8
	}
	for end >= 2 && p[end-1] == '\n' && p[end-2] == '\r' {
		end -= 2
	}
	return end
}

// release writes what was held back, but for a CR: content follows it.
func (b *BodyHash) release() {
	b.content = true
	if b.crlfs > 0 {
		b.putLineEnds()
	}
	if b.wsp {
		b.wsp = false
		b.putByte(' ')
	}
}

// putLineEnds writes the line ends that were held back, a buffer at a time.
func (b *BodyHash) putLineEnds() {
	for b.crlfs > 0 {
		if gatherSize-b.used < 2 {
			b.flush()
		}
		n := int(min(b.crlfs, int64(gatherSize-b.used)/2))
		b.crlfs -= int64(n)
		for ; n > 0; n-- {
			b.gather[b.used] = '\r'
			b.gather[b.used+1] = '\n'
			b.used += 2
		}
	}
}

func (b *BodyHash) putByte(c byte) {
	if b.used == gatherSize {
		b.flush()
	}
	b.gather[b.used] = c
	b.used++
}

// put hashes canonical bytes: long pieces where they lie, short ones together.
func (b *BodyHash) put(p []byte) {
	if len(p) >= smallPiece {
		b.flush()
		b.digest(p)
		return
	}
	if gatherSize-b.used < len(p) {
		b.flush()
	}
	b.used += copy(b.gather[b.used:], p)
}

func (b *BodyHash) flush() {
	if b.used > 0 {
		b.digest(b.gather[:b.used])
		b.used = 0
	}
}

// digest counts canonical octets and hashes those within the limit.
func (b *BodyHash) digest(p []byte) {
	b.length += int64(len(p))
	if b.limit >= 0 {
		p = p[:min(int64(len(p)), b.limit)]
		b.limit -= int64(len(p))
	}
	b.hash.Write(p)
}

// Sum ends the body and is its hash. A body that does not end in CRLF gets
// one; trailing empty lines are left out. Of an empty body simple
// makes one CRLF (RFC 6376 section 3.4.3) and relaxed nothing (section 3.4.4).
// White space at the very end of a body without a final CRLF ends a line too.
func (b *BodyHash) Sum() [sha256.Size]byte {
	if b.ended {
		return b.sum
	}
	b.ended = true
	if b.cr {
		b.release()
		b.putByte('\r')
	}
	if b.content || !b.relaxed {
		b.putByte('\r')
		b.putByte('\n')
	}
	b.flush()
	b.hash.Sum(b.sum[:0])
	return b.sum
}

// Length is how many octets the whole canonical body has, also past the limit.
// It is valid after Sum.
func (b *BodyHash) Length() int64 { return b.length }
