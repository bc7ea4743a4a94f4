// Package keys holds the private keys mail is signed with: it finds them on
// disk, refuses what is not safe or not usable, and hands them to the signer.
// It also makes keys, says what DNS has to publish for them (RFC 6376 section
// 3.6.1), compares that with what DNS does publish, and activates them. It signs nothing
// but digests.
package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
)

// ErrClosed says that keys are left unread because the store was closed.
var ErrClosed = errors.New("key store is closed")

// maxEager is how many keys the background leaves parsed and describes in the log, so that
// the first message of a usual installation finds them ready.
const maxEager = 100

// Config says where the keys are.
type Config struct {
	// Directory holds DOMAIN/SELECTOR.pem and DOMAIN/domain.toml. An absent or empty one gives an empty store.
	Directory string
	// Owners are user ids whose files are accepted besides those of root, of the
	// user of this process and of Directory's owner.
	Owners []int
	// AllowMode is a mode of key files that is accepted besides those of the rule. 0: none.
	AllowMode fs.FileMode
	// KeyTable and SigningTable are OpenDKIM's, as ParseTable has them; they are used only together. Empty: none.
	KeyTable, SigningTable string
	// MultipleSignatures lets all lines of the signing table that match sign, not only the first.
	MultipleSignatures bool
	// Map says who signs for which addresses, before all else.
	Map []Mapping
	// Layouts are paths of key files of other programs: see CheckLayout. Selector is that of layouts without one.
	Layouts  []string
	Selector string
	// MaxParsed is how many keys stay parsed; others are read when they are needed. 0: 10,000.
	// A store takes it over from its Previous.
	MaxParsed int
	// Logger hears of all that is wrong with domains and keys, as it is found, and
	// of the engines of RSA keys. Nil: silent.
	Logger *slog.Logger
	// Meter counts what the log says of engines, too; nil: nobody does.
	Meter Meter
	// Previous lends its keys: those whose files are unchanged are not read again.
	Previous *Store
}

// Meter counts what should not happen to keys that sign.
type Meter interface {
	// EngineFailed says that from now on crypto/rsa signs with a key that another engine should sign with.
	EngineFailed()
}

type unmetered struct{}

func (unmetered) EngineFailed() {}

// Store is all domains that can sign. Which they are does not change after Open;
// a domain's own directory is read by the background or the first message that asks
// for it. The methods may be called from any goroutine.
type Store struct {
	domains    []*Domain               // all, by name
	named      map[domain.Name]*Domain // the same
	faults     fault.Faults            // that belong to no domain
	unlisted   fault.Faults            // why the directory or a table could not be read; they are in faults, too
	unknown    string                  // what cannot be used and says whose mail is signed; empty: nothing
	overlooked fault.Faults            // files beside the directories of domains
	strays     int                     // how many of them are of files and directories that do not either
	reader     *reader
	sources    []source            // in the order in which they are asked
	contents   map[string]*content // of the key table, by path or the key itself

	rereading sync.Mutex // see reread

	opened  time.Time
	next    atomic.Int64 // the next domain for the background
	eager   atomic.Int64 // keys that the background has left parsed
	left    atomic.Int64 // domains it has not done with
	checked chan struct{}
	stop    chan struct{}
	once    sync.Once
	workers sync.WaitGroup
}

// Open lists the domains of the directory, and begins to read what is in theirs and
// to check every key in the background. There is always a store, and the faults are
// what the list shows to be wrong; none of them keeps the rest from signing. What reading
// finds is logged, and in Faults after Wait.
func Open(c Config) (*Store, fault.Faults) {
	s := &Store{opened: time.Now(), checked: make(chan struct{}), stop: make(chan struct{})}
	top, err := stat(c.Directory)
	s.reader = newReader(c, top)
	switch {
	case c.Directory == "", errors.Is(err, fs.ErrNotExist):
	case err != nil:
		s.unlist(unreadable(c.Directory, err))
	default:
		s.index(c.Directory, top)
	}
	s.openSources(c)
	for _, f := range s.faults {
		s.reader.log.Warn("fault in the directory of keys", "fault", f.Error())
	}
	s.left.Store(int64(len(s.domains)))
	if len(s.domains) == 0 {
		close(s.checked)
	}
	// Half of the processors are left to the messages.
	for range min(max(1, runtime.GOMAXPROCS(0)/2), len(s.domains)) {
		s.workers.Go(s.background)
	}
	return s, slices.Clone(s.faults)
}

// background reads domains and checks their keys until none is left or the store is closed.
func (s *Store) background() {
	for i := s.next.Add(1) - 1; i < int64(len(s.domains)); i = s.next.Add(1) - 1 {
		select {
		case <-s.stop:
			return
		default:
		}
		for _, k := range s.domains[i].load(s.reader).Keys {
			if k.snapshot.Load().checked { // by the store before
				continue
			}
			if s.eager.Load() >= maxEager {
				<-k.read(toCheck).done
				continue
			}
			s.eager.Add(1)
			f := k.read(toKeep)
			<-f.done
			s.describe(k, f.snapshot.private)
		}
		if s.left.Add(-1) == 0 {
			s.finish()
		}
	}
}

// describe logs what signs with an RSA key and how long it takes.
func (s *Store) describe(k *Key, p *Private) {
	if p == nil || p.Type != RSA {
		return
	}
	took, err := p.time()
	if err != nil {
		s.reader.log.Error("signing with private key failed", "domain", k.Domain, "selector", k.Selector, "error", err.Error())
		return
	}
	s.reader.log.Info("rsa", "engine", p.Engine, "domain", string(k.Domain), "selector", k.Selector, "bits", p.Bits,
		"sign", fmt.Sprintf("%.2fms", took.Seconds()*1000))
}

// finish is called once every key is checked.
func (s *Store) finish() {
	s.reader.previous.Store(nil)
	for _, f := range s.aimless() {
		s.reader.log.Warn("fault in the directory of keys", "fault", f.Error())
	}
	count, faults := 0, len(s.Faults())
	for _, d := range s.domains {
		count += len(d.Keys)
	}
	s.reader.log.Info("keys checked", "domains", len(s.domains), "keys", count, "faults", faults,
		"took", time.Since(s.opened).Round(time.Millisecond).String())
	close(s.checked)
}

// Listed reports whether the directory has domains, apart from those of other sources.
func (s *Store) Listed() bool {
	return slices.ContainsFunc(s.domains, func(d *Domain) bool { return d.entry == "" && !d.elsewhere })
}

// Domains are all domains with a directory or an entry in the tables, by name, also those that cannot sign (yet).
func (s *Store) Domains() []*Domain {
	all := make([]*Domain, len(s.domains))
	for i, d := range s.domains {
		all[i] = d.load(s.reader).current()
	}
	return all
}

// Known are those of Domains that have been read by now, and those of one name, which are read if need be.
func (s *Store) Known(name domain.Name) (known []*Domain) {
	for _, d := range s.domains {
		if d.Name == name || d.reading.done.Load() {
			known = append(known, d.load(s.reader).current())
		}
	}
	return known
}

// Len is how many domains there are. It reads none of them.
func (s *Store) Len() int { return len(s.domains) }

// Signs reports whether a domain has a key that signs, as far as is known: see Domain.Usable.
func (s *Store) Signs() bool {
	return slices.ContainsFunc(s.domains, func(d *Domain) bool { return d.load(s.reader).Usable() })
}

// Faults is all that is wrong as far as is known by now; after Wait that is everything.
func (s *Store) Faults() fault.Faults {
	faults := slices.Clone(s.faults)
	shared := map[*content]bool{} // a key of the key table that several domains have
	for _, d := range s.domains {
		if d = d.current(); d.entry != "" && len(d.Keys) == 1 {
			if c := d.Keys[0].content; !shared[c] {
				shared[c] = true
			} else {
				faults = append(faults, d.faults...)
				continue
			}
		}
		faults = append(faults, d.Faults()...)
	}
	return append(faults, s.aimless()...)
}

// Warnings are files that have no effect, though somebody may believe they do. It reads domains that were not read.
func (s *Store) Warnings() fault.Faults {
	all := slices.Clone(s.overlooked)
	for _, d := range s.Domains() {
		all = append(all, d.overlooked...)
	}
	return all
}

// Counts is how many domains and keys there are to sign with.
type Counts struct {
	Keys, UnusableKeys       int // those that can sign; those that cannot
	Domains, UnusableDomains int // those with a key that can sign; those of which no key can
	Unread                   int // domains whose directory is not read yet, and counts for nothing else
	Strays                   int // faults of what lies beside the domains, and makes no mail ours to sign
}

// Counts is what is known by now: a key that is not read yet counts as one that can sign.
func (s *Store) Counts() Counts {
	c := Counts{Strays: s.strays}
	for _, d := range s.domains {
		if !d.reading.done.Load() {
			c.Unread++
			continue
		}
		d = d.current()
		if !d.signs {
			continue
		}
		usable := 0
		for _, k := range d.Keys {
			if k.usable() {
				usable++
			}
		}
		c.Keys += usable
		c.UnusableKeys += len(d.Keys) - usable
		if usable > 0 {
			c.Domains++
		} else {
			c.UnusableDomains++
		}
	}
	return c
}

// Wait returns once every key is checked, or ctx is done, or the store closed (ErrClosed).
func (s *Store) Wait(ctx context.Context) error {
	select {
	case <-s.checked:
		return nil
	default:
	}
	select {
	case <-s.checked:
		return nil
	case <-s.stop:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the checking in the background and waits for what is being read.
// Messages under way may go on using the store; a later store may have its keys.
func (s *Store) Close() {
	s.once.Do(func() { close(s.stop) })
	s.workers.Wait()
	for _, d := range s.domains {
		if !d.reading.done.Load() {
			continue
		}
		for _, k := range d.Keys {
			k.wait()
		}
	}
}
