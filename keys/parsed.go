package keys

import (
	"sync"
	"weak"
)

// maxParsed is how many keys stay parsed: 2048-bit RSA keys take 5 KiB each, and as much again in libcrypto.
const maxParsed = 10_000

// parsed are the keys that are kept in memory, over reloads, at most max of them.
// When full, a new key evicts one not used since the hand last passed (the clock
// algorithm), so that keys in use stay. A key that no store has any more is not kept alive.
type parsed struct {
	max  int
	mu   sync.Mutex
	keys []weak.Pointer[content]
	hand int
}

// add takes in a key that was not there.
func (p *parsed) add(c *content) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.keys) < p.max {
		p.keys = append(p.keys, weak.Make(c))
		return
	}
	for {
		place := &p.keys[p.hand]
		p.hand = (p.hand + 1) % len(p.keys)
		other := place.Value()
		if other != nil && other.used.Swap(false) {
			continue // it has a round to be used again
		}
		if other != nil {
			other.drop()
		}
		*place = weak.Make(c)
		return
	}
}
