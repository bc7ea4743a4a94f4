// Package pipeline takes one message from the envelope to the answer: it
// decides whose mail it is, has it signed or verified while the body streams
// by, asks the policy, and leaves one record. It does no I/O of its own and
// keeps no byte of the body.
//
// A Pipeline is one configuration in force and never changes. A reload builds
// a new one; messages under way finish with the one they began with.
package pipeline

import (
	"errors"
	"log/slog"
	"time"

	"dkimd/internal/events"
	"dkimd/internal/hosts"
	"dkimd/policy"
	"dkimd/signer"
	"dkimd/verifier"
)

// Recorder takes the one record of each message.
type Recorder interface{ Write(e *events.Event) }

// Config is what a Pipeline is made of. Names in parentheses are keys of dkimd.toml.
type Config struct {
	// Hostname is our authserv-id (hostname, RFC 8601 section 2.5). Empty: what
	// the MTA calls itself, and where it does not say, the first of HostNames.
	Hostname string
	// HostNames are the names of this host; none: localhost. Without a Hostname results that claim any of
	// them, or the MTA's, are forged.
	HostNames []string

	Networks      *hosts.List // clients whose mail is ours (sign.networks)
	Authenticated bool        // mail of clients that logged in is ours (sign.authenticated)
	DaemonNames   []string    // mail through these daemons is ours (sign.daemon_names)
	// TLSClients are the certificates of clients whose mail is ours: NAME, or NAME|ISSUER (sign.tls_clients).
	TLSClients []string
	// NotRecipients are those for whom nothing is signed; nil: nobody (sign.not_recipients).
	NotRecipients *policy.Recipients
	Trusted       *hosts.List // verified and recorded, never judged (verify.trusted)
	LeaveAlone    *hosts.List // neither signed nor verified, and unchanged (verify.leave_alone)
	// SPF checks SPF and DMARC for all mail that is not ours, though no rule asks (verify.spf).
	SPF bool
	// SignOnly leaves all mail unchanged that is not ours (verify.enabled).
	SignOnly bool
	// StripAlso are further names under which results are forged (verify.strip_also).
	StripAlso []string
	// StripOnlyDKIM leaves forged Authentication-Results of ours alone that have no result of a method that we write: dkim,
	// and spf and dmarc where SPF or Rules ask for these (verify.strip).
	StripOnlyDKIM bool
	// KeepForged lets mail through whose forged Authentication-Results the MTA does not let us remove,
	// instead of deferring it (verify.on_unstripped).
	KeepForged bool
	// SendUnsigned lets mail of ours go out unsigned where signing failed, instead of deferring it (sign.on_error).
	SendUnsigned bool

	Signer   *signer.Signer
	Verifier *verifier.Verifier
	Rules    *policy.Rules
	Events   Recorder
	Logger   *slog.Logger
	Now      func() time.Time // nil: time.Now
}

// Pipeline is one configuration in force. It is safe for concurrent use.
type Pipeline struct {
	Config
	stripped []string // the methods whose results are forged; none: all
}

// New returns a pipeline; all parts must be there.
func New(c Config) (*Pipeline, error) {
	if c.Signer == nil || c.Verifier == nil || c.Rules == nil || c.Events == nil || c.Logger == nil {
		return nil, errors.New("pipeline: a part is missing")
	}
	if len(c.HostNames) == 0 {
		c.HostNames = []string{"localhost"}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Pipeline{Config: c}
	if c.StripOnlyDKIM {
		p.stripped = []string{"dkim"}
		spf, dmarc := c.Rules.Needs()
		if c.SPF || spf {
			p.stripped = append(p.stripped, "spf")
		}
		if c.SPF || dmarc {
			p.stripped = append(p.stripped, "dmarc")
		}
	}
	return p, nil
}
