package keys

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
)

// pendingSuffix ends the names of key files that do not sign yet.
const pendingSuffix = ".pem.new"

// Key is one key file. It is read by the first message that needs it, and stays
// parsed as long as it is in use; see parsed. Store's background checks it meanwhile.
type Key struct {
	Domain   domain.Name
	Selector string // in the form of a domain.Name
	Path     string
	Line     int // of a table that has the key in it; 0: the key is a file of its own

	*content
}

// content is what is in a key file. Keys of several domains may have one file, and then one content.
type content struct {
	first       *Key // for the log
	reader      *reader
	permissions *permissions
	inline      func() []byte // the key as it stands in a table; nil: it is a file
	snapshot    atomic.Pointer[snapshot]
	pinned      bool         // it stays in memory: its file is another one
	used        atomic.Bool  // again, since parsed last asked
	signed      atomic.Int64 // when it last signed, in seconds; see NoteSigned
	mu          sync.Mutex
	flight      *flight // the reading under way; mu guards it
}

// snapshot is what is known of a key file.
type snapshot struct {
	file    fingerprint // of the file in the index, or of that which was read
	checked bool        // it was read, and is a key if there is no fault
	private *Private    // nil while it is not kept
	fault   *fault.Fault
}

// settled reports whether no reading is needed to say what Load returns.
func (o *snapshot) settled() bool { return o.private != nil || o.fault != nil }

func (o *snapshot) result() (*Private, error) {
	if o.fault != nil {
		return nil, *o.fault
	}
	return o.private, nil
}

// flight is one reading of a key file, for all who wait for it.
type flight struct {
	done     chan struct{}
	snapshot *snapshot // once done is closed
}

func newKey(sdid domain.Name, selector, path string, seen fingerprint, r *reader) *Key {
	k := &Key{Domain: sdid, Selector: selector, Path: path}
	k.content = newContent(k, seen, r)
	if r != nil {
		k.permissions = r.permissions
	}
	return k
}

func newContent(first *Key, seen fingerprint, r *reader) *content {
	c := &content{first: first, reader: r}
	if seen == (fingerprint{}) {
		c.snapshot.Store(unseen)
	} else {
		c.snapshot.Store(&snapshot{file: seen})
	}
	return c
}

// unseen is what is known of all files that were not looked at.
//
//nolint:gochecknoglobals // it does not change
var unseen = &snapshot{}

// String is DOMAIN/SELECTOR.
func (k *Key) String() string { return string(k.Domain) + "/" + k.Selector }

// Pending reports whether the key waits to be activated: it does not sign.
func (k *Key) Pending() bool { return strings.HasSuffix(k.Path, pendingSuffix) }

// Role says what the key is there for, in one word.
func (k *Key) Role() string {
	if k.Pending() {
		return "waits"
	}
	return "signs"
}

// Ready is the key, or its fault, if no reading is needed for it. It never waits.
func (c *content) Ready() (*Private, error, bool) { //nolint:revive // the error belongs to the key
	o := c.snapshot.Load()
	if !o.settled() {
		return nil, nil, false
	}
	private, err := o.result()
	return private, err, true
}

// Load is the key. If it is not parsed it is read now; the wait ends with ctx,
// the reading does not. A key that cannot be used is a fault.Fault, the same at each
// call: the file is not looked at again.
func (c *content) Load(ctx context.Context) (*Private, error) {
	o := c.snapshot.Load()
	if o.settled() && !c.used.Load() { // to write each time would make processors wait for each other
		c.used.Store(true)
	}
	for !o.settled() {
		f := c.read(toKeep)
		select {
		case <-f.done:
			o = f.snapshot
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for key %s: %w", c.first, context.Cause(ctx))
		}
	}
	return o.result()
}

// purpose is what a key is read for.
type purpose uint8

const (
	toCheck purpose = iota // to know whether it is one
	toKeep                 // to sign with it
)

// read is the reading under way, or a new one. One under way may have been begun to check only.
func (c *content) read(why purpose) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight == nil {
		f := &flight{done: make(chan struct{})}
		c.flight = f
		go func() { // Store.Close waits for it
			defer close(f.done)
			f.snapshot = c.readNow(why)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.flight = nil
		}()
	}
	return c.flight
}

// wait returns when nobody reads the file.
func (c *content) wait() {
	c.mu.Lock()
	f := c.flight
	c.mu.Unlock()
	if f != nil {
		<-f.done
	}
}

// readNow is called by one goroutine at a time.
func (c *content) readNow(why purpose) *snapshot {
	o := c.snapshot.Load()
	if o.settled() || o.checked && why == toCheck {
		return o
	}
	if o = c.parse(why); o.fault != nil {
		return c.refuse(o.file, o.fault)
	}
	c.snapshot.Store(o)
	if o.private != nil {
		c.reader.parsed.add(c)
	}
	return o
}

// parse reads the file.
func (c *content) parse(why purpose) (o *snapshot) {
	o = &snapshot{checked: true}
	defer func() {
		if p := recover(); p != nil {
			c.reader.log.Error("panic in parsing a key", "path", c.first.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			o = &snapshot{checked: true, fault: &fault.Fault{Path: c.first.Path, Got: "a key that makes the parser fail", Want: wantPrivate, Hint: "report it with the stack in the log"}}
		}
	}()
	data, file, fault := c.bytes()
	if o.file, o.fault = file, fault; fault != nil {
		return o
	}
	_ = signSlots.Acquire(context.Background(), 1) // never fails
	defer signSlots.Release(1)
	private, fault := parse(c.first.Path, data)
	if fault != nil && c.inline != nil {
		fault.Line, fault.Hint = c.first.Line, ""
	}
	if o.fault = fault; fault == nil && why == toKeep {
		c.reader.engage(c.first, private)
		o.private = private
	}
	return o
}

// bytes are the key as it is stored; the caller clears them.
func (c *content) bytes() ([]byte, fingerprint, *fault.Fault) {
	if c.inline != nil {
		return c.inline(), c.snapshot.Load().file, nil
	}
	return c.permissions.read(c.first.Path, c.permissions.checkKey)
}

// drop forgets the parsed key: the next message that needs it reads it again.
func (c *content) drop() {
	if o := c.snapshot.Load(); o.private != nil {
		c.snapshot.CompareAndSwap(o, &snapshot{file: o.file, checked: true})
	}
}

// refuse settles a key that cannot be used.
func (c *content) refuse(file fingerprint, fault *fault.Fault) *snapshot {
	o := &snapshot{file: file, checked: true, fault: fault}
	c.snapshot.Store(o)
	c.reader.log.Warn("key cannot be used", "domain", string(c.first.Domain), "selector", c.first.Selector, "fault", fault.Error())
	return o
}

// fits reports whether a key of an earlier store is what a file with this
// fingerprint gives. Faults are looked into anew: they may come from above the file.
func (c *content) fits(now fingerprint) bool {
	o := c.snapshot.Load()
	return o.fault == nil && o.file == now && !c.pinned
}

// usable reports whether the key signs, as far as is known.
func (c *content) usable() bool { return c.snapshot.Load().fault == nil }

// fault is what is wrong with the key as far as is known, or nil.
func (c *content) fault() *fault.Fault { return c.snapshot.Load().fault }
