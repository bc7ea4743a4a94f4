package dkim

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080

	densePiece = 24  // a place this soon after the one before is near it
	denseRun   = 3   // this many near each other: the text is full of them
	denseBlock = 256 // then this many bytes are rewritten byte by byte
)

// writeRelaxed handles a chunk under the relaxed algorithm. The end of the
// chunk is looked at first: white space and line ends there are held back, and
// what is left ends in a byte that stays.
func (b *BodyHash) writeRelaxed(p []byte) {
	end, lines, wsp := trimRelaxed(p)
	if end > 0 {
		body := p[:end]
		if b.wsp {
			// The run goes on, or the line ends here and the run goes.
			for isWSP(body[0]) {
				body = body[1:]
			}
			b.wsp = !isLineEnd(body, 0)
		}
		b.release()
		b.rewrite(body)
	}
	if lines > 0 {
		b.crlfs += lines
		b.wsp = false
	}
	b.wsp = b.wsp || wsp
}

// trimRelaxed is the length of p without the empty lines at its end, how
// many line ends those are, and whether white space follows the last of them.
func trimRelaxed(p []byte) (end int, lines int64, wsp bool) {
	end = len(p)
	for end > 0 && isWSP(p[end-1]) {
		end--
		wsp = true
	}
	for end >= 2 && p[end-1] == '\n' && p[end-2] == '\r' {
		end -= 2
		lines++
		for end > 0 && isWSP(p[end-1]) {
			end--
		}
	}
	return end, lines, wsp
}

// rewrite hashes text that ends in a byte other than white space. It looks for
// the places where canonical text differs: a tab, or a space before white space or
// before a line end. All between two such places is handed on as it is.
func (b *BodyHash) rewrite(p []byte) {
	start := 0 // of what is not handed on yet
	last := 0  // where the last place was
	near := 0  // how many before it were near
	tab := -1  // the next tab
	for i := 0; ; {
		if tab < i {
			if tab = bytes.IndexByte(p[i:], '\t'); tab < 0 {
				tab = len(p)
			} else {
				tab += i
			}
		}
		i = nextRun(p, i, tab)
		if i >= len(p) {
			break
		}
		run := i
		if i > start && isWSP(p[i-1]) {
			run--
		}
		if i-last >= densePiece {
			near = 0
		} else {
			near = min(near+1, denseRun)
		}
		if near == denseRun {
			b.put(p[start:run])
			i = b.dense(p, run)
			start = i
		} else {
			start, i = b.shrink(p, start, run)
		}
		last = i
	}
	b.put(p[start:])
}

// nextRun finds the first place from i on that may have to change: where a space is
// followed by white space or a control character, or at worst the tab. It may
// report too many places, and one that is a byte late.
//
// Sixteen bytes are looked at together. The highest bit of each byte of n says: at
// most a space, and of s: a space, which among these is the only one with bit 5 set. Borrows
// can set a bit too many, next above one that is right.
func nextRun(p []byte, i, tab int) int {
	after := uint64(0) // the byte before i may be a space
	for i+16 <= tab {
		q := p[i : i+16 : i+16]
		x1 := binary.LittleEndian.Uint64(q)
		x2 := binary.LittleEndian.Uint64(q[8:])
		n1 := (x1 - ones*(' '+1)) &^ x1
		n2 := (x2 - ones*(' '+1)) &^ x2
		s1 := n1 & (x1 << 2)
		s2 := n2 & (x2 << 2)
		found1 := (s1<<8 | after) & n1
		found2 := (s2<<8 | s1>>56) & n2
		if (found1|found2)&highs != 0 {
			if found1 &= highs; found1 != 0 {
				return i + bits.TrailingZeros64(found1)/8
			}
			return i + 8 + bits.TrailingZeros64(found2&highs)/8
		}
		after = s2 >> 56
		i += 16
		if (s1|s2)&highs == 0 {
			// No text: base64, mostly. The library looks for the next space faster.
			next := bytes.IndexByte(p[i:tab], ' ')
			if next < 0 {
				return tab
			}
			i += next
		}
	}
	if after&0x80 != 0 {
		i--
	}
	for i+1 < tab && (p[i] != ' ' || p[i+1] > ' ') {
		i++
	}
	if i+1 >= tab {
		return tab
	}
	return i
}

// shrink deals with the run of white space at i, if there is one: it hands on the
// text up to it if the run has to change. It returns where the text not yet
// handed on starts, and where to go on.
func (b *BodyHash) shrink(p []byte, start, i int) (int, int) {
	run := i
	for isWSP(p[i]) { // the last byte of p is not white space
		i++
	}
	switch {
	case i == run:
		return start, i + 1
	case isLineEnd(p, i):
		b.put(p[start:run])
	case p[run] != ' ':
		b.put(p[start:run])
		b.putByte(' ')
	case i == run+1:
		return start, i
	default:
		b.put(p[start : run+1])
	}
	return i, i
}

// dense rewrites up to denseBlock bytes from i on without a branch a byte, for text
// so full of white space that handing on pieces would be slower. The byte before
// i is not white space, and neither is the one at which it ends.
func (b *BodyHash) dense(p []byte, i int) int {
	if gatherSize-b.used < denseBlock {
		b.flush()
	}
	end := min(i+denseBlock, len(p)-1) // there is always a byte to look ahead to
	src := p[i:end]
	ahead := p[i+1 : end+1][:len(src)]
	buf := (*[denseBlock]byte)(b.gather[b.used:])
	i = end
	n := uint(0)
	held := uint(0) // 1: the byte before was white space
	for j, c := range src {
		wsp := uint(uint64(1<<' '|1<<'\t') >> c & 1)
		pair := uint(c)<<8 | uint(ahead[j])
		crlf := uint(0)
		if pair == '\r'<<8|'\n' {
			crlf = 1
		}
		n -= held & crlf
		if wsp == 1 {
			c = ' '
		}
		buf[n%denseBlock] = c
		n += 1 - held&wsp
		held = wsp
	}
	b.used += int(n)
	if held == 1 {
		for isWSP(p[i]) {
			i++
		}
		if isLineEnd(p, i) {
			b.used-- // the space that was kept of the run
		}
	}
	return i
}

func isWSP(c byte) bool { return c == ' ' || c == '\t' }

func isLineEnd(p []byte, i int) bool { return i+1 < len(p) && p[i] == '\r' && p[i+1] == '\n' }
