package main

import (
	"fmt"
	"strings"
)

// deed is what the daemon does with a message.
type deed string

const (
	signRSA     deed = "sign RSA-2048"
	signEd25519 deed = "sign Ed25519"
	signBoth    deed = "sign both"
	verifyOne   deed = "verify 1"
	verifyThree deed = "verify 3"
	// verifyPolicies is verifyOne with SPF and DMARC.
	verifyPolicies deed = "verify 1, SPF, DMARC"
)

// signatures is how many signatures are made or verified, by kind.
func (d deed) signatures() (rsaSigned, edSigned, rsaVerified int) {
	switch d {
	case signRSA:
		return 1, 0, 0
	case signEd25519:
		return 0, 1, 0
	case signBoth:
		return 1, 1, 0
	case verifyOne, verifyPolicies:
		return 0, 0, 1
	case verifyThree:
		return 0, 0, 3
	}
	return 0, 0, 0
}

func (d deed) signs() bool { return strings.HasPrefix(string(d), "sign") }

// row is one line of the table.
type row struct {
	Deed    deed `json:"deed"`
	Size    int  `json:"size"`     // of the message, bytes
	PerConn int  `json:"per_conn"` // messages a connection
}

func (r row) String() string {
	return fmt.Sprintf("%s, %s, %d a connection", r.Deed, size(r.Size), r.PerConn)
}

func size(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// messages is how many messages a round sends: enough for some tenths of a second of CPU.
func (r row) messages() int {
	switch {
	case r.Size <= 4<<10:
		return 400
	case r.Size <= 64<<10:
		return 200
	case r.Size <= 1<<20:
		return 24
	}
	return 4
}

// limit is the target for the ratio to the floor; 0: none.
func (r row) limit() float64 {
	switch {
	case r.Deed == verifyPolicies: // no part of the floor
		return 0
	case r.PerConn == 20:
		return 1.6
	case r.Size <= 4<<10 || r.Size == 1<<20:
		return 1.3
	}
	return 0
}

// rowsOf are the rows to measure.
func rowsOf(o options) []row {
	sizes := []int{4 << 10, 64 << 10, 1 << 20, 10 << 20}
	deeds := []deed{signRSA, signEd25519, signBoth, verifyOne, verifyThree, verifyPolicies}
	if o.quick {
		sizes = []int{4 << 10, 1 << 20}
		deeds = []deed{signRSA, verifyOne, verifyPolicies}
	}
	var rows []row
	for _, d := range deeds {
		for _, s := range sizes {
			for _, n := range []int{1, 20} {
				r := row{d, s, n}
				// With large messages neither the connection counts any more, nor what comes of the envelope.
				if (n == 20 || d == verifyPolicies) && s > 64<<10 || o.only != "" && !strings.Contains(r.String(), o.only) {
					continue
				}
				rows = append(rows, r)
			}
		}
	}
	return rows
}
