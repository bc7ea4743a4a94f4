// Package keys holds the private keys mail is signed with: it finds them on
// disk, refuses what is not safe or not usable, and hands them to the signer.
// It also makes keys, says what DNS has to publish for them (RFC 6376 section
// 3.6.1), compares that with what DNS does publish, and activates them. It signs nothing.
package keys

import (
	"log/slog"

	"dkimd/internal/tomlfile"
)

// Config says where the keys are.
type Config struct {
	// Directory holds DOMAIN/SELECTOR.pem. An absent directory is an empty store.
	Directory string
	// Logger hears of keys that turn out unusable while they are parsed in the background. Nil: silent.
	Logger *slog.Logger
	// Previous lends its keys: those whose files are unchanged are not read again.
	Previous *Store
}

// Store is all domains that can sign. Its methods may be called at any time from any goroutine.
type Store struct{}

// Open reads the index of the directory and every domain.toml in it. Keys are parsed in the background.
func Open(Config) (*Store, tomlfile.Faults) { return &Store{}, nil }

// Lookup is the domain whose keys sign mail of this domain, or nil.
func (s *Store) Lookup(string) *Domain { return nil }

// Close waits for the background.
func (s *Store) Close() {}
