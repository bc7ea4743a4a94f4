package pipeline_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"dkimd/internal/events"
)

// TestEximLinesOfARun: what docs/events.md shows of the Exim format is what a message leaves.
func TestEximLinesOfARun(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(w *world)
		later  time.Duration // that much after signing it is verified
		want   []string      // parts of the line of the RSA signature
	}{
		"verified": {func(*world) {}, 0, []string{"[verification succeeded]"}},
		"key record of over 4096 bytes": {func(w *world) {
			for name, text := range w.txt {
				w.txt[name] = text + "; n=" + strings.Repeat("x", 4096)
			}
		}, 0, []string{"[invalid - overlong public key record]"}},
		"no key":  {func(w *world) { clear(w.txt) }, 0, []string{"[invalid - public key record (currently?) unavailable]"}},
		"expired": {func(*world) {}, 2 * time.Hour, []string{"[invalid - expired 2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.sign.Expiry = time.Hour
			m := w.signed(w.pipeline())
			test.change(w)
			w.config.Now = func() time.Time { return time.Now().Add(test.later) }
			var out bytes.Buffer
			w.config.Events = encoder{events.Exim, &out}
			take(t, w.pipeline(), m)
			found := false
			for line := range strings.Lines(out.String()) {
				if strings.Contains(line, "a=rsa-sha256") {
					found = true
					for _, part := range append(test.want, " b=1024 ") {
						if !strings.Contains(line, part) {
							t.Errorf("got %s; want %s in it", line, part)
						}
					}
				}
			}
			if !found {
				t.Errorf("no RSA signature in %s", out.String())
			}
		})
	}
}
