package daemon

import (
	"context"
	"errors"
	"slices"
	"sync"

	"dkimd/internal/config"
	"dkimd/internal/exim"
	"dkimd/internal/message"
	"dkimd/internal/milter"
	"dkimd/internal/socket"
	"dkimd/signer"
)

// door is a front door: it serves mail servers on its sockets.
type door interface {
	Serve() error
	Shutdown(ctx context.Context) error
}

// doors are all front doors of the process, as one.
type doors []door

// openDoors opens the sockets of all front doors. The error holds all faults; other doors may be open then.
func (d *daemon) openDoors(c *config.Config) error {
	var faults []error
	open := func(server door, err error) {
		if err != nil {
			faults = append(faults, err)
			return
		}
		d.doors = append(d.doors, server)
	}
	if len(c.Milter.Listen) > 0 {
		open(milter.New(milter.Config{
			Config: c.Milter.Config, MaxConnections: c.Milter.MaxConnections, Logger: d.log, Meter: d.metrics.Milter, Memory: d.memory,
			Begin: func(env *message.Envelope) milter.Message { return d.current.Load().Pipeline.Begin(env) },
		}))
		d.metrics.Milter.Limit(c.Milter.MaxConnections)
	}
	if len(c.Exim.Listen) > 0 {
		open(exim.New(exim.Config{
			Config: c.Exim.Config, MaxConnections: c.Exim.MaxConnections, Logger: d.log, Meter: d.metrics.Exim, Memory: d.memory,
			Begin: func(env *message.Envelope) exim.Message { return d.current.Load().Pipeline.Begin(env) },
		}))
		d.metrics.Exim.Limit(c.Exim.MaxConnections)
	}
	if faults == nil {
		return nil
	}
	return atKey(c, faults...)
}

// OpenToAll are the addresses at which any local user may have mail signed: there are keys that
// sign, and an inet socket does not tell who connects. Sockets are those of c.
func (s *Setup) OpenToAll(c *config.Config) []string {
	if !s.Keys.Signs() {
		return nil
	}
	return slices.DeleteFunc(slices.Concat(c.Milter.Listen, c.Exim.Listen), socket.IsUnix)
}

// AnyLoginForAll reports that every login may have mail signed for each of several domains.
func (s *Setup) AnyLoginForAll() bool {
	return s.Config.Sign.Authenticated && s.Config.Sign.UserMatch == signer.MatchAny && s.Keys.Len() > 1 && s.Keys.Signs()
}

// Serve serves until Shutdown.
func (ds doors) Serve() error {
	errs := make([]error, len(ds))
	var all sync.WaitGroup
	for i, one := range ds {
		all.Go(func() { errs[i] = one.Serve() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Shutdown stops all of them at the same time.
func (ds doors) Shutdown(ctx context.Context) error {
	errs := make([]error, len(ds))
	var all sync.WaitGroup
	for i, one := range ds {
		all.Go(func() { errs[i] = one.Shutdown(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}
