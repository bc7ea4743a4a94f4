package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/hosts"
	"dkimd/internal/pipeline"
	"dkimd/internal/resolver"
	"dkimd/keys"
	"dkimd/policy"
	"dkimd/signer"
	"dkimd/verifier"
)

// Setup is one configuration built and ready: everything a message needs.
type Setup struct {
	Config   *config.Config
	Keys     *keys.Store
	Rules    *policy.Rules
	Resolver *resolver.Resolver
	Pipeline *pipeline.Pipeline
	Broken   fault.Faults  // rules files that cannot be read: their domains are deferred
	clients  []*hosts.List // of the configuration: see wire
	loaded   time.Time
}

// Observers are told what happens in a setup. Those that count may be left out.
type Observers struct {
	Recorder pipeline.Recorder // of each message
	Log      *slog.Logger
	DNS      resolver.Meter
	Keys     keys.Meter
	// Withheld is that of signer.Config.
	Withheld func(name domain.Name, selector string) bool
}

// Faults are what the operator should fix though dkimd can run: rules files
// and keys that are out of use. It is complete once the keys are parsed (keys.Store.Wait).
func (s *Setup) Faults() fault.Faults {
	faults := append(slices.Clone(s.Broken), s.Keys.Faults()...)
	for _, k := range s.Kept() {
		faults = append(faults, k.Faults...)
	}
	return faults
}

// Kept is what stays in force as it was before a reload, because it is broken on disk.
func (s *Setup) Kept() []fault.Kept { return append(s.Rules.Kept(), s.Keys.Kept()...) }

// brokenFiles is how many rules files are out of use.
func (s *Setup) brokenFiles() int {
	files := map[string]bool{}
	for _, f := range s.Broken {
		files[f.Path] = true
	}
	return len(files)
}

// Close ends what runs in the background, lookups under way included.
func (s *Setup) Close() {
	s.Keys.Close()
	if s.Resolver != nil {
		_ = s.Resolver.Close()
	}
}

// Build makes a setup of a configuration. Where previous is given, what has
// not changed on disk is taken over from it. The error holds every fault
// without which dkimd must not run.
func Build(c *config.Config, previous *Setup, o Observers) (*Setup, error) {
	s := Read(c, previous, o)
	if s.Rules.DefaultBroken() {
		s.Close()
		return nil, s.Broken
	}
	if err := s.Connect(previous, o); err != nil {
		s.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), firstHosts)
	defer cancel()
	s.refreshHosts(ctx)
	return s, nil
}

// Read makes a setup of what is on disk. What is wrong there is in Faults.
func Read(c *config.Config, previous *Setup, o Observers) *Setup {
	s := &Setup{Config: c, loaded: time.Now()}
	keysConfig := KeySources(c)
	keysConfig.Logger, keysConfig.Meter = o.Log, o.Keys
	if previous != nil {
		keysConfig.Previous = previous.Keys
	}
	s.Keys, _ = keys.Open(keysConfig)
	if previous != nil {
		s.Rules, s.Broken = policy.Reload(c.Policy.Directory, c.Lists, previous.Rules)
	} else {
		s.Rules, s.Broken = policy.Load(c.Policy.Directory, c.Lists)
	}
	return s
}

// KeySources says where the keys of a configuration are.
func KeySources(c *config.Config) keys.Config {
	return keys.Config{
		Directory: c.Sign.Directory, AllowMode: c.Sign.AllowMode, Map: c.Sign.Map, Layouts: c.Sign.Layouts, Selector: c.Sign.Selector,
		KeyTable: c.Sign.KeyTable, SigningTable: c.Sign.SigningTable, MultipleSignatures: c.Sign.MultipleSignatures,
	}
}

// Connect makes a setup ready for messages.
func (s *Setup) Connect(previous *Setup, o Observers) (err error) {
	resolverConfig := resolverConfig(s.Config)
	resolverConfig.Logger, resolverConfig.Meter = o.Log, o.DNS
	if previous != nil {
		resolverConfig.Previous = previous.Resolver
	}
	if s.Resolver, err = openResolver(s.Config, resolverConfig); err != nil {
		return err
	}
	s.Pipeline, err = s.wire(previous, o)
	return err
}

func resolverConfig(c *config.Config) resolver.Config {
	return resolver.Config{Servers: c.DNS.Servers, TrustAD: c.DNS.TrustAD, Timeout: c.DNS.Timeout, Attempts: c.DNS.Attempts, CacheEntries: c.DNS.CacheEntries}
}

// OpenResolver opens the resolver of a configuration for a command, which logs nothing.
func OpenResolver(c *config.Config) (*resolver.Resolver, error) {
	return openResolver(c, resolverConfig(c))
}

// openResolver opens the resolver of a configuration; without servers in it, those of /etc/resolv.conf.
func openResolver(c *config.Config, rc resolver.Config) (*resolver.Resolver, error) {
	r, err := resolver.New(rc)
	if conf, ok := errors.AsType[*resolver.ResolvConfError](err); ok {
		return nil, atKey(c, fault.Faults{{
			Key: "dns.servers", Got: "nothing, and " + conf.Err.Error(),
			Want: "the address of a name server", Hint: `[dns] servers = ["127.0.0.1"]`,
		}})
	}
	return r, err
}

// NewVerifier makes the verifier of a configuration.
func NewVerifier(c *config.Config, dns *resolver.Resolver, log *slog.Logger) (*verifier.Verifier, error) {
	return verifier.New(verifier.Config{
		Resolver: dns, SPF: dns, SPFRelays: c.Verify.SPFTrustedFrom, MaxSignatures: c.Verify.MaxSignatures,
		MinRSABits: c.Verify.MinRSABits, MaxRSABits: c.Verify.MaxRSABits, ClockSkew: c.Verify.ClockSkew,
		HonourBodyLength: c.Verify.HonourBodyLength, Logger: log,
	})
}

// wire connects the parts. It is the one place that knows them all.
func (s *Setup) wire(previous *Setup, o Observers) (*pipeline.Pipeline, error) {
	c, log := s.Config, o.Log
	sign, signErr := signer.New(signer.Config{
		Keys: s.Keys.Lookup, Withheld: o.Withheld, HeaderCanon: c.Sign.Canonicalization.Header, BodyCanon: c.Sign.Canonicalization.Body,
		Headers: c.Sign.Headers, Oversign: c.Sign.Oversign, Expiry: c.Sign.Expiry,
		FallbackDomain: c.Sign.FallbackDomain, AlsoDomains: c.Sign.AlsoDomains, UserMatch: c.Sign.UserMatch,
		IdentityFrom: c.Sign.IdentityFrom,
		Logger:       log,
	})
	verify, verifyErr := NewVerifier(c, s.Resolver, log)
	if err := errors.Join(signErr, verifyErr); err != nil {
		return nil, err
	}
	clients := func(key string, entries []hosts.Entry) *hosts.List {
		list := hosts.Config{Key: key, Entries: entries, DNS: s.Resolver, Logger: log}
		if previous != nil {
			list.Previous = previous.clients[len(s.clients)]
		}
		s.clients = append(s.clients, hosts.New(list))
		return s.clients[len(s.clients)-1]
	}
	rules := s.Rules
	if !c.Verify.Enabled {
		rules = new(policy.Rules)
	}
	return pipeline.New(pipeline.Config{
		Hostname: c.Hostname, HostNames: hostNames(len(c.Exim.Listen) > 0 && c.Hostname == ""),
		Networks: clients("sign.networks", c.Sign.Networks), Authenticated: c.Sign.Authenticated, DaemonNames: c.Sign.DaemonNames, TLSClients: c.Sign.TLSClients,
		Trusted: clients("verify.trusted", c.Verify.Trusted), LeaveAlone: clients("verify.leave_alone", c.Verify.LeaveAlone),
		SignOnly: !c.Verify.Enabled, SPF: c.Verify.SPF,
		NotRecipients: notRecipients(c.Sign.NotRecipients),
		StripOnlyDKIM: c.Verify.StripOnlyDKIM, StripAlso: c.Verify.StripAlso, KeepForged: c.Verify.KeepForged,
		SendUnsigned: c.Sign.SendUnsigned,
		Signer:       sign, Verifier: verify, Rules: rules, Events: o.Recorder, Logger: log,
	})
}

// notRecipients are the patterns of a configuration, which config has checked; nil: there are none.
func notRecipients(patterns []string) *policy.Recipients {
	if len(patterns) == 0 {
		return nil
	}
	return policy.NewRecipients(patterns, func(int, string) {})
}
