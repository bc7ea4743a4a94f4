package daemon_test

import (
	"strings"
	"testing"
)

// An inet socket lets every local user have mail signed: the start says so, if there is a key that signs.
func TestStartWarnsOfInetSockets(t *testing.T) {
	t.Parallel()
	const warning = `msg="any local user can have mail signed through this socket"`
	inet := "[exim]\nlisten = [\"unix:EXIM\", \"inet:127.0.0.1:0\"]\n"
	for name, test := range map[string]struct {
		more string
		keys bool
		want int
	}{
		"unix":             {"", true, 0},
		"inet":             {inet, true, 1},
		"inet without key": {inet, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if !test.keys {
				w.remove("keys/example.org/k1.pem")
			}
			w.configure(strings.ReplaceAll(test.more, "EXIM", w.path("e")))
			w.start()
			if n := w.err.Count(warning + ` address=inet:127\.0\.0\.1:0`); n != test.want || w.err.Count(warning) != n {
				t.Errorf("%d warnings, want %d:\n%s", n, test.want, w.err)
			}
			w.stop()
		})
	}
}
