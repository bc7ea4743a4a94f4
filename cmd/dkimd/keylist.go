package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"dkimd/internal/daemon"
	"dkimd/internal/fault"
	"dkimd/internal/terminal"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

func keyListCommand(std stdio) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:   "list [DOMAIN]",
		Short: "List the keys of all domains, with their type, size and file",
		Long: `List prints a table of all keys: those that sign, those that wait to be
activated, and those that are out of use since a rotation; withheld are keys
that the running dkimd does not sign with, as [sign] require_published says.
DNS is not asked: dkimd key check does that. A key that domain.toml leaves out
with selectors does not sign and is not listed.

Exit status: 0 every key can be used, 1 not so, 2 fix something first.`,
		Args:              arguments("[domain]"),
		ValidArgsFunction: places(signingDomains),
		RunE: func(cmd *cobra.Command, args []string) error {
			list := &keyList{Keys: []keyEntry{}, Keyless: []keyless{}, Lives: []life{}}
			return say(std, asJSON, list, list.read(cmd, append(args, "")[0]))
		},
	}, &asJSON)
}

// keyList is the answer of the command.
type keyList struct {
	Keys    []keyEntry `json:"keys"`
	Keyless []keyless  `json:"keyless"` // domains without a key
	Lives   []life     `json:"lives"`   // where each key is in its life, also those that are out of use
	found

	rows     [][]string // of the table
	withheld []string   // DOMAIN/SELECTOR, as the running daemon says
}

// keyless is a directory that has no key.
type keyless struct {
	Domain string `json:"domain"`
	Path   string `json:"path"`
}

// life is where a key is in its life.
type life struct {
	Domain   string     `json:"domain"`
	Selector string     `json:"selector"`
	State    keys.Stage `json:"state"`
	Since    *time.Time `json:"since,omitempty"`
	Rotating bool       `json:"rotating"`
	Signed   *time.Time `json:"last_signed,omitempty"`
	Trouble  string     `json:"trouble,omitempty"` // what holds it up
}

// addLives takes in the state files of a domain.
func (l *keyList) addLives(d *keys.Domain) {
	held, faults := d.Held()
	for _, f := range faults {
		l.warn(f)
	}
	for _, h := range held {
		one := life{Domain: string(d.Name), Selector: h.Selector, State: h.Stage(), Rotating: h.Life.Rotating, Trouble: h.Life.Trouble}
		if h.Recorded && !h.Life.Since.IsZero() {
			one.Since = &h.Life.Since
		}
		if !h.Life.Signed.IsZero() {
			one.Signed = &h.Life.Signed
		}
		l.Lives = append(l.Lives, one)
		switch i := slices.IndexFunc(l.rows, func(row []string) bool { return row[0] == one.Domain && row[1] == one.Selector }); {
		case h.Place == keys.Retired || h.Place == keys.NoFile:
			row := []string{one.Domain, one.Selector, h.Life.Type, "-", string(one.State), cmp.Or(h.Path, "-")}
			l.rows = append(l.rows, append(row, one.Trouble))
		case i >= 0 && h.Recorded && len(l.rows[i]) == 6:
			if h.Place == keys.Waiting {
				l.rows[i][4] = string(one.State)
			}
			l.rows[i] = append(l.rows[i], one.Trouble)
		}
	}
}

func (l *keyList) read(cmd *cobra.Command, domain string) error {
	cfg, err := load(cmd)
	if err != nil {
		return err
	}
	domains, faults, err := domainsToCheck(daemon.KeySources(cfg), domain)
	switch {
	case err != nil:
		return err
	case len(domains) == 0 && len(faults) > 0:
		return faults
	}
	for _, f := range besidesKeys(faults, domains) {
		if !slices.ContainsFunc(domains, func(d *keys.Domain) bool { return slices.Contains(d.Faults(), f) }) {
			l.fault(f)
		}
	}
	if client, err := controlClient(cmd); err == nil {
		if status, err := client.Status(cmd.Context()); err == nil { // without a daemon nobody withholds keys
			l.withheld = status.Rotation.Withheld
		}
	}
	for _, d := range domains {
		l.add(cmd.Context(), d)
		l.addLives(d)
	}
	switch {
	case len(l.rows) == 0:
		return userError{errors.New("there is no key in " + cfg.Sign.Directory), "dkimd key generate DOMAIN"}
	case len(l.Faults) > 0 || slices.ContainsFunc(l.Keys, func(k keyEntry) bool { return k.Fault != nil }):
		return errQuiet
	}
	return nil
}

// add takes in the keys of a domain.
func (l *keyList) add(ctx context.Context, d *keys.Domain) {
	all := slices.Concat(d.Keys, d.Pending)
	for _, k := range all {
		private, err := k.Load(ctx)
		e := entryOf(k, private, err)
		if err == nil && slices.Contains(l.withheld, k.String()) {
			e.State = "withheld"
		}
		l.Keys = append(l.Keys, e)
		row := []string{e.Domain, e.Selector, e.Type, strconv.Itoa(e.Bits), e.State, e.Path}
		if e.Fault != nil {
			text := e.Fault.Text
			if f := e.Fault.Fault; f.Path != "" {
				f.Path = "" // it has a column of its own
				text = f.Error()
			}
			row = []string{e.Domain, e.Selector, "-", "-", e.State, e.Path, text}
		}
		l.rows = append(l.rows, row)
	}
	own := slices.DeleteFunc(d.Faults(), func(f fault.Fault) bool {
		return slices.ContainsFunc(all, func(k *keys.Key) bool { return k.Path == f.Path && k.Line == f.Line })
	})
	for _, f := range own {
		l.fault(f)
	}
	switch {
	case len(all) > 0:
	case len(own) > 0: // there may be keys: nobody can know
		l.rows = append(l.rows, []string{string(d.Name), "-", "-", "-", "fault", d.Path, "see above"})
	default:
		l.Keyless = append(l.Keyless, keyless{string(d.Name), d.Path})
		l.rows = append(l.rows, []string{string(d.Name), "-", "-", "-", "no key", d.Path})
	}
}

func (l *keyList) print(std stdio) error {
	return terminal.NewTable(std.out, terminal.PaletteOf(std.out), "domain", "selector", "type", "bits", "state", "file", "fault").Rows(l.rows)
}
