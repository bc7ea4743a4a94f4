package resolver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// maxAliases is how many CNAME records of one chain are followed.
const maxAliases = 8

// lookup asks for a name and, where an answer ends in an alias whose target it
// does not hold, for that (RFC 1034 section 5.3.3, step 4c).
func (r *Resolver) lookup(ctx context.Context, name string) *entry {
	aliases := 0
	found := entry{authenticated: true}
	ttl := maxPositive
	for {
		rep, server, err := r.ask(ctx, name)
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
			found.err = dangling(ErrNotExist, aliases, rep.target)
			return r.found(found, min(ttl, rep.negative), minNegative, maxNegative)
		case len(rep.records) > 0:
			found.records = rep.records
			return r.found(found, ttl, minPositive, maxPositive)
		case rep.aliases == 0 || rep.soa:
			found.err = dangling(ErrNoData, aliases, rep.target)
			return r.found(found, min(ttl, rep.negative), minNegative, maxNegative)
		case aliases > maxAliases:
			return r.failed(ErrAlias, server)
		}
		name = rep.target
	}
}

// dangling is an absence, which names the end of the aliases that led to it.
func dangling(err error, aliases int, target string) error {
	if aliases == 0 {
		return err
	}
	return &Dangling{Target: target, Err: err}
}

// ask asks one server after the other, the whole list as often as configured,
// until one knows. What remains of the time is divided evenly over the tries
// that remain, so all have their turn.
func (r *Resolver) ask(ctx context.Context, name string) (rep reply, address string, err error) {
	servers := r.order()
	deadline, _ := ctx.Deadline()
	tries := r.attempts * len(servers)
	var mute []*server
	for i := range tries {
		s := servers[i%len(servers)]
		var trying context.Context
		var cancel context.CancelFunc
		trying, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(tries-i))
		rep, err = r.try(trying, s.address, name)
		cancel()
		if err == nil {
			// Who said nothing where another knew is asked last for a while. Where
			// nobody knew, it is the domain's own servers that are slow or gone.
			for _, m := range mute {
				m.silent.Store(int64(r.cache.now() + retreat))
			}
			s.silent.Store(0)
			return rep, s.address, nil
		}
		address = s.address
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, ErrTimeout) || errors.Is(err, ErrNetwork) {
			mute = append(mute, s)
		}
		r.logger.Debug("dns query failed", slog.String("name", name), slog.String("server", s.address), slog.Any("error", err))
	}
	return reply{}, address, err
}

// try asks one server: over UDP with EDNS0, without EDNS0 where the server does
// not know it (RFC 6891 section 7), over TCP where the answer does not fit (RFC
// 7766 section 5) or somebody else answers too.
func (r *Resolver) try(ctx context.Context, address, name string) (reply, error) {
	network, edns := "udp", true
	for {
		rep, err := r.exchange(ctx, network, address, newQuery(name, edns))
		switch {
		case network == "udp" && (errors.Is(err, errForged) || err == nil && rep.truncated):
			network = "tcp"
		case err != nil:
			return reply{}, err
		case edns && (rep.rcode == dns.RcodeFormatError || rep.rcode == dns.RcodeNotImplemented || rep.rcode == dns.RcodeBadVers):
			edns = false
		default:
			return rep, rep.fault()
		}
	}
}

// newQuery is a query with a random id (RFC 5452 section 4.3). AD asks for the
// AD bit in the answer (RFC 6840 section 5.7).
func newQuery(name string, edns bool) *dns.Msg {
	query := new(dns.Msg).SetQuestion(name+".", dns.TypeTXT)
	query.AuthenticatedData = true
	if edns {
		query.SetEdns0(udpSize, false)
	}
	return query
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
