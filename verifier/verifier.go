// Package verifier decides what each DKIM-Signature field of a message is worth
// (RFC 6376 section 6, RFC 8301, RFC 8463, RFC 8616) in the words of RFC 8601,
// has SPF and DMARC judged when asked (internal/spf, internal/dmarc), and writes the Authentication-Results field. It does not decide what
// happens to the message: that is policy. It never keeps a byte of the body.
package verifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"dkimd/internal/resolver"
	"dkimd/internal/spf"
)

// Resolver looks up TXT records; *resolver.Resolver is one. An error that is
// neither resolver.ErrNotExist nor resolver.ErrNoData counts as temporary.
type Resolver interface {
	TXT(ctx context.Context, name string) (resolver.Answer, error)
	// Cached answers without I/O; the last result is false when a query is needed.
	Cached(name string) (resolver.Answer, error, bool)
}

// Defaults of Config, and of the table [verify] in dkimd.toml.
const (
	DefaultMaxSignatures = 10
	DefaultMaxRSABits    = 4096
	MinRSABits           = 1024 // the default, and no fewer are ever accepted (RFC 8301 section 3.2)
)

const (
	maxLooked      = 100 // DKIM-Signature fields looked at
	maxKeyRecords  = 16  // TXT records at one name that are looked at
	maxCandidates  = 4   // usable keys at one name that are tried
	maxNameLength  = 253 // RFC 1035 section 2.3.4, as text
	defaultTimeout = 30 * time.Second
)

// Config says how to verify.
type Config struct {
	Resolver Resolver      // required
	SPF      spf.CachedDNS // for BeginSPF; nil: nobody calls it
	// SPFRelays are those whose word on SPF counts in place of a check (verify.spf_trusted_from).
	SPFRelays []Relay

	// MaxSignatures is how many signatures of a message are verified, 1 to 100;
	// 0: 10. RFC 6376 section 6.1 lets a verifier choose.
	MaxSignatures int
	// MinRSABits and MaxRSABits bound the modulus of RSA keys; 0: 1024 and 4096.
	// Fewer than 1024 bits are never accepted (RFC 8301 section 3.2).
	MinRSABits, MaxRSABits int
	// ClockSkew is how long after x= a signature still holds; 0: not at all.
	ClockSkew time.Duration
	// HonourBodyLength lets a signature pass whose l= leaves content unsigned
	// (RFC 6376 section 8.2 tells why not to).
	HonourBodyLength bool
	// Timeout bounds all lookups of a message together, from Begin on; 0: 30 s.
	Timeout time.Duration

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged
}

// Verifier verifies messages. It is safe for concurrent use.
type Verifier struct {
	cfg  Config
	keys *keyring
	spf  *spf.Checker
}

// New makes a Verifier. The error joins all that is wrong with the Config; each
// part names its field.
func New(cfg Config) (*Verifier, error) {
	var faults []error
	if cfg.Resolver == nil {
		faults = append(faults, errors.New("verifier: Resolver is required"))
	}
	if cfg.MaxSignatures == 0 {
		cfg.MaxSignatures = DefaultMaxSignatures
	}
	if cfg.MaxSignatures < 1 || cfg.MaxSignatures > maxLooked {
		faults = append(faults, fmt.Errorf("verifier: MaxSignatures is %d; want 1 to %d", cfg.MaxSignatures, maxLooked))
	}
	if cfg.MinRSABits == 0 {
		cfg.MinRSABits = MinRSABits
	}
	if cfg.MaxRSABits == 0 {
		cfg.MaxRSABits = max(DefaultMaxRSABits, cfg.MinRSABits)
	}
	if cfg.MinRSABits < MinRSABits {
		faults = append(faults, fmt.Errorf("verifier: MinRSABits is %d; want %d or more", cfg.MinRSABits, MinRSABits))
	}
	if cfg.MaxRSABits < cfg.MinRSABits {
		faults = append(faults, fmt.Errorf("verifier: MaxRSABits is %d; want MinRSABits (%d) or more", cfg.MaxRSABits, cfg.MinRSABits))
	}
	if cfg.ClockSkew < 0 {
		faults = append(faults, fmt.Errorf("verifier: ClockSkew is %s; want 0 or more", cfg.ClockSkew))
	}
	if cfg.Timeout < 0 {
		faults = append(faults, fmt.Errorf("verifier: Timeout is %s; want 0 or more", cfg.Timeout))
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	keys, err := newKeyring()
	checker, fault := spf.New(cfg.SPF)
	if err := errors.Join(err, fault); err != nil {
		return nil, fmt.Errorf("verifier: %w", err)
	}
	return &Verifier{cfg: cfg, keys: keys, spf: checker}, nil
}
