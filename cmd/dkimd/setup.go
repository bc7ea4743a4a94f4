package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/dkim"
	"dkimd/internal/fault"
	"dkimd/internal/pipeline"
	"dkimd/internal/resolver"
	"dkimd/keys"
	"dkimd/policy"
	"dkimd/signer"
	"dkimd/verifier"

	"github.com/spf13/cobra"
)

// setup is one configuration built and ready: everything a message needs.
type setup struct {
	config   *config.Config
	keys     *keys.Store
	rules    *policy.Rules
	resolver *resolver.Resolver
	pipeline *pipeline.Pipeline
	broken   fault.Faults // rules files that cannot be read: their domains are deferred
	loaded   time.Time
}

// observers are told what happens in a setup. Those that count may be left out.
type observers struct {
	recorder pipeline.Recorder // of each message
	log      *slog.Logger
	dns      resolver.Meter
	keys     keys.Meter
}

// allFaults are what the operator should mend though dkimd can run: rules files
// and keys that are out of use. It is complete once the keys are parsed (keys.Store.Wait).
func (s *setup) allFaults() fault.Faults {
	return append(slices.Clone(s.broken), s.keys.Faults()...)
}

// brokenFiles is how many rules files are out of use.
func (s *setup) brokenFiles() int {
	files := map[string]bool{}
	for _, f := range s.broken {
		files[f.Path] = true
	}
	return len(files)
}

// close ends what runs in the background, lookups under way included.
func (s *setup) close() {
	s.keys.Close()
	if s.resolver != nil {
		_ = s.resolver.Close()
	}
}

// configFile is the --config of a command and whether the operator named it.
func configFile(cmd *cobra.Command) (path string, named bool) {
	flag := cmd.Flag("config")
	return flag.Value.String(), flag.Changed
}

// load reads the configuration file of a command.
func load(cmd *cobra.Command) (*config.Config, error) {
	path, named := configFile(cmd)
	c, faults := config.Load(path, named)
	if len(faults) > 0 {
		return nil, faults
	}
	return c, nil
}

// build makes a setup of a configuration. Where previous is given, what has
// not changed on disk is taken over from it. The error holds every fault
// without which dkimd must not run.
func build(c *config.Config, previous *setup, o observers) (*setup, error) {
	s := read(c, previous, o)
	if s.rules.DefaultBroken() {
		s.close()
		return nil, s.broken
	}
	if err := s.connect(previous, o); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// read makes a setup of what is on disk. What is wrong there is in allFaults.
func read(c *config.Config, previous *setup, o observers) *setup {
	s := &setup{config: c, loaded: time.Now()}
	keysConfig := keys.Config{Directory: c.Sign.Directory, Logger: o.log, Meter: o.keys}
	if previous != nil {
		keysConfig.Previous = previous.keys
	}
	s.keys, _ = keys.Open(keysConfig)
	s.rules, s.broken = policy.Load(c.Policy.Directory)
	return s
}

// connect makes a setup ready for messages.
func (s *setup) connect(previous *setup, o observers) (err error) {
	resolverConfig := resolverConfig(s.config)
	resolverConfig.Logger, resolverConfig.Meter = o.log, o.dns
	if previous != nil {
		resolverConfig.Previous = previous.resolver
	}
	if s.resolver, err = openResolver(s.config, resolverConfig); err != nil {
		return err
	}
	s.pipeline, err = s.wire(o.recorder, o.log)
	return err
}

func resolverConfig(c *config.Config) resolver.Config {
	return resolver.Config{Servers: c.DNS.Servers, Timeout: c.DNS.Timeout, Attempts: c.DNS.Attempts, CacheEntries: c.DNS.CacheEntries}
}

// openResolver opens the resolver of a configuration; without servers in it, those of /etc/resolv.conf.
func openResolver(c *config.Config, rc resolver.Config) (*resolver.Resolver, error) {
	r, err := resolver.New(rc)
	if err != nil {
		return nil, atKey(c, fault.Faults{{
			Key: "dns.servers", Got: "nothing, and " + strings.TrimPrefix(err.Error(), "servers: "),
			Want: "the address of a name server", Hint: `[dns] servers = ["127.0.0.1"]`,
		}})
	}
	return r, nil
}

// wire connects the parts. It is the one place that knows them all.
func (s *setup) wire(recorder pipeline.Recorder, log *slog.Logger) (*pipeline.Pipeline, error) {
	c := s.config
	headerCanon, bodyCanon, err := dkim.ParseCanonicalization(c.Sign.Canonicalization)
	if err != nil {
		return nil, fmt.Errorf("sign.canonicalization: %w", err)
	}
	sign, signErr := signer.New(signer.Config{
		Keys: s.keys.Lookup, HeaderCanon: headerCanon, BodyCanon: bodyCanon,
		Headers: c.Sign.Headers, Oversign: c.Sign.Oversign, Expiry: c.Sign.Expiry,
		FallbackDomain: c.Sign.FallbackDomain, AlsoDomains: c.Sign.AlsoDomains, UserMatch: c.Sign.UserMatch,
		Logger: log,
	})
	verify, verifyErr := verifier.New(verifier.Config{
		Resolver: s.resolver, MaxSignatures: c.Verify.MaxSignatures,
		MinRSABits: c.Verify.MinRSABits, MaxRSABits: c.Verify.MaxRSABits, ClockSkew: c.Verify.ClockSkew,
		HonourBodyLength: c.Verify.BodyLength == "honour", Logger: log,
	})
	if err := errors.Join(signErr, verifyErr); err != nil {
		return nil, err
	}
	fallback, err := os.Hostname()
	if err != nil || fallback == "" {
		fallback = "localhost"
	}
	return pipeline.New(pipeline.Config{
		Hostname: c.Hostname, HostnameFallback: fallback,
		Networks: c.Sign.Networks, Authenticated: c.Sign.Authenticated, DaemonNames: c.Sign.DaemonNames,
		Trusted: c.Verify.Trusted, StripOnlyDKIM: c.Verify.Strip == "dkim", SendUnsigned: c.Sign.OnError == "unsigned",
		Signer: sign, Verifier: verify, Rules: s.rules, Events: recorder, Logger: log,
	})
}

// vanished says which directory of s is gone. At start an absent default directory
// is an empty one; at a reload it would take all keys or all rules away.
func (s *setup) vanished(next *config.Config) error {
	gone := func(dir string) bool {
		_, err := os.Stat(dir)
		return errors.Is(err, fs.ErrNotExist)
	}
	const hint = "put it back, or stop and start dkimd"
	switch {
	case len(s.keys.Domains()) > 0 && gone(next.Sign.Directory):
		return atKey(next, fault.Faults{{
			Key: "sign.directory", Got: "a directory that was there and is gone", Want: next.Sign.Directory, Hint: hint,
		}})
	case !s.rules.Empty() && gone(next.Policy.Directory):
		return atKey(next, fault.Faults{{
			Key: "policy.directory", Got: "a directory that was there and is gone", Want: next.Policy.Directory, Hint: hint,
		}})
	}
	return nil
}

// newFaults are the faults of s that other does not have; on another line it is the same one.
func (s *setup) newFaults(other *setup) fault.Faults {
	known := map[fault.Fault]bool{}
	for _, f := range other.allFaults() {
		f.Line = 0
		known[f] = true
	}
	return slices.DeleteFunc(s.allFaults(), func(f fault.Fault) bool {
		f.Line = 0
		return known[f]
	})
}
