package keys

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"dkimd/internal/tomlfile"
)

// pendingSuffix ends the names of key files that do not sign yet.
const pendingSuffix = ".pem.new"

// Key is one key file. It is read once, in the background or by the first message that needs it.
type Key struct {
	Domain   string // message.Domain form
	Selector string // the same
	Path     string

	rules   *rules
	log     *slog.Logger
	seen    fingerprint // of the file in the index
	claimed atomic.Bool // somebody parses it, or has
	outcome atomic.Pointer[outcome]
	done    chan struct{} // closed once outcome is there
}

// outcome is what came of reading a key.
type outcome struct {
	private *Private
	fault   *tomlfile.Fault
	read    fingerprint // of the file that was parsed
}

func (o *outcome) result() (*Private, error) {
	if o.fault != nil {
		return nil, *o.fault
	}
	return o.private, nil
}

func newKey(domain, selector, path string, seen fingerprint, r *rules, log *slog.Logger) *Key {
	return &Key{Domain: domain, Selector: selector, Path: path, rules: r, log: log, seen: seen, done: make(chan struct{})}
}

// String is DOMAIN/SELECTOR.
func (k *Key) String() string { return k.Domain + "/" + k.Selector }

// Pending reports whether the key waits to be activated: it does not sign.
func (k *Key) Pending() bool { return strings.HasSuffix(k.Path, pendingSuffix) }

// Ready is the key, or its fault, if it is known by now. It never waits.
func (k *Key) Ready() (*Private, error, bool) { //nolint:revive // the error belongs to the key
	o := k.outcome.Load()
	if o == nil {
		return nil, nil, false
	}
	private, err := o.result()
	return private, err, true
}

// Load is the key. If nobody has read it yet it is read now; the wait ends with
// ctx, the reading does not. A key that cannot be used is a tomlfile.Fault, the same at each
// call: the file is not looked at again.
func (k *Key) Load(ctx context.Context) (*Private, error) {
	if o := k.outcome.Load(); o != nil {
		return o.result()
	}
	if k.claimed.CompareAndSwap(false, true) {
		go k.parse() // Store.Close waits for it
	}
	select {
	case <-k.done:
		return k.outcome.Load().result()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for key %s: %w", k, context.Cause(ctx))
	}
}

// parse reads the file. Whoever calls it has claimed the key.
func (k *Key) parse() {
	o := &outcome{}
	defer func() {
		if p := recover(); p != nil {
			k.log.Error("panic in parsing a key", "path", k.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			o = &outcome{fault: &tomlfile.Fault{Path: k.Path, Got: "a key that makes the parser fail", Want: wantPrivate}}
		}
		if o.fault != nil {
			k.log.Warn("key cannot be used", "domain", k.Domain, "selector", k.Selector, "fault", o.fault.Error())
		}
		k.settle(o)
	}()
	data, read, fault := k.rules.read(k.Path, k.rules.checkKey)
	if fault != nil {
		o.fault = fault
		return
	}
	o.read = read
	o.private, o.fault = parse(k.Path, data)
}

func (k *Key) settle(o *outcome) {
	k.outcome.Store(o)
	close(k.done)
}

// refuse settles a key whose fault the index has found.
func (k *Key) refuse(fault *tomlfile.Fault) {
	k.claimed.Store(true)
	k.settle(&outcome{fault: fault})
}

// fits reports whether a key of an earlier store is what a file with this
// fingerprint gives. Faults are looked into anew: they may come from above the file.
func (k *Key) fits(now fingerprint) bool {
	if o := k.outcome.Load(); o != nil {
		return o.fault == nil && o.read == now
	}
	return k.seen == now
}

// usable reports whether the key signs, as far as is known.
func (k *Key) usable() bool {
	o := k.outcome.Load()
	return o == nil || o.fault == nil
}

// fault is what is wrong with the key as far as is known, or nil.
func (k *Key) fault() *tomlfile.Fault {
	if o := k.outcome.Load(); o != nil {
		return o.fault
	}
	return nil
}
