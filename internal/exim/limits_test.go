package exim_test

import (
	"strings"
	"testing"
)

// The lines in front of a message: docs/design.md, in figures and from both sides.
func TestHeadHasOneMebibyteAtMost(t *testing.T) {
	t.Parallel()
	mail := checkMail()
	usual := strings.Index(check(checkHead, mail), "\r\n\r\n") + len("\r\n\r\n")
	for size, taken := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		w := newWorld(t, nil)
		pad := "X: " + strings.Repeat("x", size-usual-len("X: \r\n")) + "\n"
		answer := w.ask(t, check(checkHead+pad, mail), false)
		if taken != strings.Contains(answer, queueID) {
			t.Errorf("%d bytes: %.200q", size, answer)
		}
		if !taken {
			w.logged(t, "are over 1048576 bytes")
		}
	}
}
