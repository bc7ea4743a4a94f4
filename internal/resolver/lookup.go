package resolver

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/miekg/dns"
)

// maxAliases is how many CNAME records of one chain are followed.
const maxAliases = 8

// lookup asks for records and, where an answer ends in an alias whose target it
// does not hold, for that (RFC 1034 section 5.3.3, step 4c).
func (r *Resolver) lookup(ctx context.Context, set rrset) *entry {
	aliases := 0
	found := entry{authenticated: true}
	ttl, mostNegative := maxPositive, set.mostNegative()
	for {
		rep, server, err := r.ask(ctx, set)
		if err != nil {
			return r.failed(err, server)
		}
		found.server = server
		found.authenticated = found.authenticated && rep.authenticated
		ttl = min(ttl, rep.ttl)
		aliases += rep.aliases
		switch {
		case rep.rcode == dns.RcodeNameError:
			// With aliases, the code is about the last of them (RFC 6604 section 3).
			found.err = rep.explanation.of(dangling(ErrNotExist, aliases, rep.target))
			return r.found(found, min(ttl, rep.negative), minNegative, mostNegative)
		case len(rep.records) > 0:
			found.records = rep.records
			return r.found(found, ttl, minPositive, maxPositive)
		case rep.aliases == 0 || rep.soa:
			found.err = rep.explanation.of(dangling(ErrNoData, aliases, rep.target))
			return r.found(found, min(ttl, rep.negative), minNegative, mostNegative)
		case aliases > maxAliases:
			return r.failed(ErrAlias, server)
		}
		set.name = rep.target
	}
}

// dangling is an absence, which names the end of the aliases that led to it.
func dangling(err error, aliases int, target string) error {
	if aliases == 0 {
		return err
	}
	return &Dangling{Target: target, Err: err}
}

// cause is an error of a socket as one of our own. It keeps what tells the
// administrator something and drops the rest: it may be cached.
func cause(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return ErrTimeout
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return ErrTimeout
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return networkError{errno}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return networkError{io.ErrUnexpectedEOF}
	}
	return ErrNetwork
}

// networkError is an ErrNetwork with its cause.
type networkError struct{ cause error }

func (e networkError) Error() string   { return ErrNetwork.Error() + ": " + e.cause.Error() }
func (e networkError) Unwrap() []error { return []error{ErrNetwork, e.cause} }
