package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/control"
	"dkimd/internal/daemon"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/resolver"
	"dkimd/internal/rotate"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

func keyCommand(std stdio) *cobra.Command {
	return withCommands(&cobra.Command{
		Use:   "key",
		Short: "Make signing keys, list, check and rotate them",
	}, keyGenerateCommand(std), keyListCommand(std), keyShowCommand(std), keyCheckCommand(std), keyRotateCommand(std), keyPublishCommand(std), keyActivateCommand(std),
		keyRetireCommand(std), keyRevokeCommand(std))
}

// besidesKeys are the faults without those of single keys.
func besidesKeys(faults fault.Faults, domains []*keys.Domain) fault.Faults {
	for _, d := range domains {
		faults = slices.DeleteFunc(faults, func(f fault.Fault) bool {
			return slices.ContainsFunc(d.Keys, func(k *keys.Key) bool { return k.Path == f.Path && k.Line == f.Line })
		})
	}
	return faults
}

// domainsToCheck are one domain, or all, and what is wrong with them.
func domainsToCheck(c keys.Config, name string) ([]*keys.Domain, fault.Faults, error) {
	if name == "" {
		store, _ := keys.Open(c)
		store.Close()
		domains := store.Domains()
		return domains, store.Faults(), nil
	}
	domains, err := keys.FindAll(c, name)
	switch {
	case errors.Is(err, keys.ErrNoKeys):
		return nil, nil, userError{err, "dkimd key generate " + name}
	case err != nil:
		return nil, nil, userError{err, ""}
	}
	var faults fault.Faults
	for _, d := range domains {
		faults = append(faults, d.Faults()...)
	}
	return domains, faults, nil
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

// lockWait is how long commands wait for the daemon to have done with the keys of a domain.
const lockWait = 15 * time.Second

// hand is what commands need that change keys step by step.
type hand struct {
	config   *config.Config
	resolver *resolver.Resolver
	engine   *rotate.Engine
	// wake has the daemon go on with keys that are on their way.
	wake    func(ctx context.Context, lines []rotate.Line)
	unheard error // why the daemon did not read the keys anew
}

func openHand(cmd *cobra.Command) (*hand, error) {
	cfg, r, err := withDNS(cmd)
	if err != nil {
		return nil, err
	}
	h := &hand{config: cfg, resolver: r, engine: daemon.Rotation(cfg, r, r.Servers(), slog.New(slog.DiscardHandler))}
	// A daemon that cannot be reached does not run, and reads the keys when it starts; or it is told by hand. One that hangs is an error.
	h.engine.Wait = lockWait
	h.engine.Elsewhere = func(ctx context.Context) ([]string, error) {
		client, err := controlClient(cmd)
		if err != nil {
			return nil, nil //nolint:nilerr // without a socket there is nobody to ask
		}
		paths, err := client.Elsewhere(ctx)
		if _, absent := errors.AsType[control.Absent](err); absent {
			return nil, nil
		}
		return paths, err
	}
	h.wake = func(ctx context.Context, lines []rotate.Line) {
		var names []domain.Name
		for _, l := range lines {
			names = append(names, l.Domain)
		}
		if client, err := controlClient(cmd); err == nil && len(names) > 0 {
			_ = client.Rotate(ctx, slices.Compact(names)) // else it finds out by itself
		}
	}
	h.engine.Reload = func(ctx context.Context, _ []domain.Name) error {
		client, err := controlClient(cmd)
		if err != nil {
			h.unheard = err
			return nil
		}
		done, err := client.Reload(ctx, false)
		if _, unreachable := errors.AsType[fault.Faults](err); unreachable {
			h.unheard = err
			return nil
		}
		if err == nil && done.Result == control.Refused {
			err = errors.New("it has refused to: dkimd check")
		}
		return err
	}
	return h, nil
}

func (h *hand) close() { _ = h.resolver.Close() }

// tell says that the daemon has to be told.
func (h *hand) tell(std stdio) {
	if h.unheard != nil {
		fmt.Fprintf(std.err, "dkimd: warning: the daemon has not read the keys anew: %v\n", h.unheard)
	}
}

// handError is an error of a single step.
func handError(err error) error {
	if errors.Is(err, keys.ErrLocked) {
		return err
	}
	if errors.Is(err, fs.ErrPermission) {
		return userError{err, "run this as root, or as the owner of the keys"}
	}
	return userError{err, ""}
}

// keyEntry is a key as commands print it in JSON.
type keyEntry struct {
	Domain   string         `json:"domain"`
	Selector string         `json:"selector"`
	State    string         `json:"state"` // signs, waits, withheld, fault
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
