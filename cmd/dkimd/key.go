package main

import (
	"errors"
	"slices"

	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/fault"
	"dkimd/internal/resolver"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

func keyCommand(std stdio) *cobra.Command {
	return withCommands(&cobra.Command{
		Use:   "key",
		Short: "Make signing keys, list, check and activate them",
	}, keyGenerateCommand(std), keyListCommand(std), keyShowCommand(std), keyCheckCommand(std), keyActivateCommand(std))
}

// besidesKeys are the faults without those of single keys.
func besidesKeys(faults fault.Faults, domains []*keys.Domain) fault.Faults {
	for _, d := range domains {
		faults = slices.DeleteFunc(faults, func(f fault.Fault) bool {
			return slices.ContainsFunc(d.Keys, func(k *keys.Key) bool { return k.Path == f.Path })
		})
	}
	return faults
}

// domainsToCheck are one domain, or all, and what is wrong with them.
func domainsToCheck(directory, domain string) ([]*keys.Domain, fault.Faults, error) {
	if domain == "" {
		store, _ := keys.Open(keys.Config{Directory: directory})
		store.Close()
		domains := store.Domains()
		return domains, store.Faults(), nil
	}
	d, err := keys.Find(keys.Config{Directory: directory}, domain)
	switch {
	case errors.Is(err, keys.ErrNoKeys):
		return nil, nil, userError{err, "dkimd key generate " + domain}
	case err != nil:
		return nil, nil, userError{err, ""}
	}
	return []*keys.Domain{d}, d.Faults(), nil
}

// withDNS reads the configuration and opens its resolver.
func withDNS(cmd *cobra.Command) (*config.Config, *resolver.Resolver, error) {
	cfg, err := load(cmd)
	if err != nil {
		return nil, nil, err
	}
	r, err := daemon.OpenResolver(cfg)
	if err != nil {
		return nil, nil, err
	}
	return cfg, r, nil
}

// keyEntry is a key as commands print it in JSON.
type keyEntry struct {
	Domain   string         `json:"domain"`
	Selector string         `json:"selector"`
	State    string         `json:"state"` // signs, waits, fault
	Type     string         `json:"type,omitempty"`
	Bits     int            `json:"bits,omitempty"`
	Path     string         `json:"path"`
	Fault    *fault.Finding `json:"fault,omitempty"` // why the key cannot be used
}

// entryOf is a key that was loaded, or the reason why it could not be.
func entryOf(k *keys.Key, private *keys.Private, err error) keyEntry {
	e := keyEntry{Domain: string(k.Domain), Selector: k.Selector, State: k.Role(), Path: k.Path}
	if err != nil {
		e.State, e.Fault = "fault", &fault.Findings(err)[0]
		return e
	}
	e.Type, e.Bits = private.Type, private.Bits
	return e
}

// recordEntry is what DNS has to publish for a key.
type recordEntry struct {
	Name string `json:"name"`
	Text string `json:"text"` // in one piece
	Zone string `json:"zone"` // as zone files have it, on one line
}

func recordOf(r keys.Record) *recordEntry { return &recordEntry{r.Name, r.Text, r.Line()} }
