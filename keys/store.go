// Package keys holds the private keys mail is signed with: it finds them on
// disk, refuses what is not safe or not usable, and hands them to the signer.
// It also makes keys, says what DNS has to publish for them (RFC 6376 section
// 3.6.1), compares that with what DNS does publish, and activates them. It signs nothing.
package keys

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"dkimd/internal/tomlfile"
)

// ErrClosed says that keys are left unread because the store was closed.
var ErrClosed = errors.New("key store is closed")

// Config says where the keys are.
type Config struct {
	// Directory holds DOMAIN/SELECTOR.pem and DOMAIN/domain.toml. An absent or empty one gives an empty store.
	Directory string
	// Owners are user ids whose files are accepted besides those of root, of the
	// user of this process and of Directory's owner.
	Owners []int
	// Logger hears of keys that turn out unusable as they are parsed. Nil: silent.
	Logger *slog.Logger
	// Previous lends its keys: those whose files are unchanged are not read again.
	Previous *Store
}

// Store is all domains that can sign. Its index does not change after Open; its
// methods may be called from any goroutine.
type Store struct {
	domains []*Domain          // all, by name
	signing map[string]*Domain // those that have a .pem
	keys    []*Key             // of all domains
	faults  tomlfile.Faults    // that belong to no domain

	log     *slog.Logger
	next    atomic.Int64 // the next key for the background
	stop    chan struct{}
	once    sync.Once
	workers sync.WaitGroup
}

// Open reads the index of the directory and every domain.toml in it, and begins
// to parse the keys in the background. There is always a store, and the faults are what is
// wrong as far as the index tells; none of them keeps the rest from signing. What
// parsing finds is logged, and in Faults after Wait.
func Open(c Config) (*Store, tomlfile.Faults) {
	s := &Store{signing: map[string]*Domain{}, log: c.Logger, stop: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.index(c)
	faults := s.Faults()
	for range min(runtime.GOMAXPROCS(0), len(s.keys)) {
		s.workers.Go(s.background)
	}
	return s, faults
}

// background parses keys until none is left or the store is closed.
func (s *Store) background() {
	for {
		i := s.next.Add(1) - 1
		if i >= int64(len(s.keys)) {
			return
		}
		select {
		case <-s.stop:
			return
		default:
		}
		if k := s.keys[i]; k.claimed.CompareAndSwap(false, true) {
			k.parse()
		}
	}
}

// Lookup is the domain whose keys sign for this one: its own directory, else that
// of the nearest domain above it whose options say subdomains; nil if there is none.
// The name is in message.Domain form. A domain whose keys are all unusable is found too.
func (s *Store) Lookup(domain string) *Domain {
	if d := s.signing[domain]; d != nil {
		return d
	}
	for {
		_, parent, below := strings.Cut(domain, ".")
		if !below {
			return nil
		}
		if d := s.signing[parent]; d != nil && d.Options.Subdomains {
			return d
		}
		domain = parent
	}
}

// Domains are all domains with a directory, by name, also those that cannot sign (yet).
func (s *Store) Domains() []*Domain { return slices.Clone(s.domains) }

// Faults is all that is wrong as far as is known by now; after Wait that is everything.
func (s *Store) Faults() tomlfile.Faults {
	faults := slices.Clone(s.faults)
	for _, d := range s.domains {
		faults = append(faults, d.Faults()...)
	}
	return faults
}

// Wait returns once every key is parsed, or ctx is done, or the store closed (ErrClosed).
func (s *Store) Wait(ctx context.Context) error {
	for _, k := range s.keys {
		select {
		case <-k.done:
			continue
		default:
		}
		select {
		case <-k.done:
		case <-s.stop:
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Close ends the parsing in the background and waits for what is being parsed.
// Messages under way may go on using the store; a later store may have its keys.
func (s *Store) Close() {
	s.once.Do(func() { close(s.stop) })
	s.workers.Wait()
	for _, k := range s.keys {
		if k.claimed.Load() {
			<-k.done
		}
	}
}
