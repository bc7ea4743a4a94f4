package resolver

import "strings"

// Names on the wire (RFC 1035 sections 3.1 and 4.1.4).
const (
	maskLabel   = 0xc0
	labelText   = 0x00
	labelRefers = 0xc0
	maxWireName = 255
	maxPointers = 126 // a name has no more labels than that
)

// skipName is the offset after the name at an offset. What a pointer in it
// refers to is not looked at.
func skipName(msg []byte, off int) (int, bool) {
	start := off
	for off < len(msg) && off-start < maxWireName {
		switch size := int(msg[off]); {
		case size == 0:
			return off + 1, true
		case size&maskLabel == labelRefers:
			return off + 2, off+2 <= len(msg)
		case size&maskLabel == labelText:
			off += 1 + size
		default:
			return 0, false
		}
	}
	return 0, false
}

// sameName reports whether the name at an offset is the one given in text form,
// lower case with final dot, as DNS compares (RFC 1035 section 2.3.3). It ends
// at the first label that differs, and follows pointers backwards only and not
// too many of them.
func sameName(msg []byte, off int, name string) bool {
	limit := off // pointers lead to before this
	pointers := 0
	for off < len(msg) {
		size := int(msg[off])
		switch {
		case size == 0:
			return name == ""
		case size&maskLabel == labelRefers:
			if off+2 > len(msg) {
				return false
			}
			off = (size&^maskLabel)<<8 | int(msg[off+1])
			if pointers++; off >= limit || pointers > maxPointers {
				return false
			}
			limit = off
		case size&maskLabel == labelText:
			label, rest, _ := strings.Cut(name, ".")
			if len(label) != size || off+1+size > len(msg) || !sameLabel(msg[off+1:off+1+size], label) {
				return false
			}
			name = rest
			off += 1 + size
		default:
			return false
		}
	}
	return false
}

// sameLabel compares octets with a label in lower case.
func sameLabel(octets []byte, label string) bool {
	for i, c := range octets {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != label[i] {
			return false
		}
	}
	return true
}
