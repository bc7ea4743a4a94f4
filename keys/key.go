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

	reader   *reader
	snapshot atomic.Pointer[snapshot]
	pinned   bool        // it stays in memory: its file is another one
	used     atomic.Bool // again, since parsed last asked
	mu       sync.Mutex
	flight   *flight // the reading under way; mu guards it
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
	k := &Key{Domain: sdid, Selector: selector, Path: path, reader: r}
	k.snapshot.Store(&snapshot{file: seen})
	return k
}

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
func (k *Key) Ready() (*Private, error, bool) { //nolint:revive // the error belongs to the key
	o := k.snapshot.Load()
	if !o.settled() {
		return nil, nil, false
	}
	private, err := o.result()
	return private, err, true
}

// Load is the key. If it is not parsed it is read now; the wait ends with ctx,
// the reading does not. A key that cannot be used is a fault.Fault, the same at each
// call: the file is not looked at again.
func (k *Key) Load(ctx context.Context) (*Private, error) {
	o := k.snapshot.Load()
	if o.settled() && !k.used.Load() { // to write each time would make processors wait for each other
		k.used.Store(true)
	}
	for !o.settled() {
		f := k.read(toKeep)
		select {
		case <-f.done:
			o = f.snapshot
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for key %s: %w", k, context.Cause(ctx))
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
func (k *Key) read(why purpose) *flight {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight == nil {
		f := &flight{done: make(chan struct{})}
		k.flight = f
		go func() { // Store.Close waits for it
			defer close(f.done)
			f.snapshot = k.readNow(why)
			k.mu.Lock()
			defer k.mu.Unlock()
			k.flight = nil
		}()
	}
	return k.flight
}

// wait returns when nobody reads the file.
func (k *Key) wait() {
	k.mu.Lock()
	f := k.flight
	k.mu.Unlock()
	if f != nil {
		<-f.done
	}
}

// readNow is called by one goroutine at a time.
func (k *Key) readNow(why purpose) *snapshot {
	o := k.snapshot.Load()
	if o.settled() || o.checked && why == toCheck {
		return o
	}
	if o = k.parse(why); o.fault != nil {
		return k.refuse(o.file, o.fault)
	}
	k.snapshot.Store(o)
	if o.private != nil {
		k.reader.parsed.add(k)
	}
	return o
}

// parse reads the file.
func (k *Key) parse(why purpose) (o *snapshot) {
	o = &snapshot{checked: true}
	defer func() {
		if p := recover(); p != nil {
			k.reader.log.Error("panic in parsing a key", "path", k.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			o = &snapshot{checked: true, fault: &fault.Fault{Path: k.Path, Got: "a key that makes the parser fail", Want: wantPrivate, Hint: "report it with the stack in the log"}}
		}
	}()
	data, file, fault := k.reader.permissions.read(k.Path, k.reader.permissions.checkKey)
	if o.file, o.fault = file, fault; fault != nil {
		return o
	}
	_ = signSlots.Acquire(context.Background(), 1) // never fails
	defer signSlots.Release(1)
	private, fault := parse(k.Path, data)
	if o.fault = fault; fault == nil && why == toKeep {
		k.reader.engage(k, private)
		o.private = private
	}
	return o
}

// drop forgets the parsed key: the next message that needs it reads it again.
func (k *Key) drop() {
	if o := k.snapshot.Load(); o.private != nil {
		k.snapshot.CompareAndSwap(o, &snapshot{file: o.file, checked: true})
	}
}

// refuse settles a key that cannot be used.
func (k *Key) refuse(file fingerprint, fault *fault.Fault) *snapshot {
	o := &snapshot{file: file, checked: true, fault: fault}
	k.snapshot.Store(o)
	k.reader.log.Warn("key cannot be used", "domain", string(k.Domain), "selector", k.Selector, "fault", fault.Error())
	return o
}

// fits reports whether a key of an earlier store is what a file with this
// fingerprint gives. Faults are looked into anew: they may come from above the file.
func (k *Key) fits(now fingerprint) bool {
	o := k.snapshot.Load()
	return o.fault == nil && o.file == now && !k.pinned
}

// usable reports whether the key signs, as far as is known.
func (k *Key) usable() bool { return k.snapshot.Load().fault == nil }

// fault is what is wrong with the key as far as is known, or nil.
func (k *Key) fault() *fault.Fault { return k.snapshot.Load().fault }
