package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/terminal"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

func keyCheckCommand(std stdio) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:   "check [DOMAIN [SELECTOR]]",
		Short: "Compare keys with what DNS publishes",
		Long: `Check asks DNS for the record of each key, of those that sign and of those that
wait to be activated, and says whether receivers can verify what it signs.
Without DOMAIN it prints a table of all domains, and below each row what to do.

Exit status: 0 DNS serves every key, 1 it does not, 2 fix something first.`,
		Args:              arguments("[domain]", "[selector]"),
		ValidArgsFunction: places(signingDomains, selectors),
		RunE: func(cmd *cobra.Command, args []string) error {
			args = append(args, "", "")
			if asJSON {
				checked := &checkedKeys{Keys: []checkedKey{}}
				return say(std, asJSON, checked, checked.check(cmd, args[0], args[1]))
			}
			cfg, r, err := withDNS(cmd)
			if err != nil {
				return err
			}
			defer r.Close() //nolint:errcheck // only a cache is lost
			return checkKeys(cmd.Context(), std, cfg, r, args[0], args[1])
		},
	}, &asJSON)
}

// checkedKeys is the answer of the command in JSON. As text it is printed while the answers of DNS come.
type checkedKeys struct {
	Keys []checkedKey `json:"keys"`
	found
}

// checkedKey is a key and what DNS has of it.
type checkedKey struct {
	keyEntry
	Record *recordEntry `json:"record,omitempty"` // to publish
	DNS    dnsEntry     `json:"dns"`
}

// dnsEntry is what DNS says about a key.
type dnsEntry struct {
	State  string   `json:"state"`
	Serves bool     `json:"serves"` // receivers can verify what the key signs
	Text   string   `json:"text"`
	Found  []string `json:"found"` // the TXT records there
	DNSSEC bool     `json:"dnssec"`
}

func (c *checkedKeys) print(stdio) error { return nil }

func (c *checkedKeys) check(cmd *cobra.Command, domain, selector string) error {
	cfg, r, err := withDNS(cmd)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only a cache is lost
	domains, faults, err := domainsToCheck(daemon.KeySources(cfg), domain)
	if err != nil {
		return err
	}
	c.fault(besidesKeys(faults, domains).Err())
	ctx, failed, sought := cmd.Context(), len(c.Faults) > 0, 0
	add := func(_ *keys.Domain, results []keys.CheckResult) error {
		for i := range results {
			result := &results[i]
			if result.State == keys.Absent && sought < seekAtMost {
				sought++
				result.Seek(ctx, r)
			}
			failed = failed || !result.Serves()
			c.Keys = append(c.Keys, checkedOf(result))
		}
		return nil
	}
	if domain == "" {
		err = keys.CheckAll(ctx, r, domains, checkParallel, add)
	} else {
		for _, d := range domains {
			err = errors.Join(err, add(d, keys.CheckDomain(ctx, r, d, selector)))
		}
	}
	if err == nil && failed {
		return errQuiet
	}
	return errors.Join(err, noneToCheck(cfg, len(c.Keys) > 0, domain, selector))
}

func checkedOf(r *keys.CheckResult) checkedKey {
	c := checkedKey{DNS: dnsEntry{State: r.State.String(), Serves: r.Serves(), Text: r.Words(), Found: orEmpty(r.Found), DNSSEC: r.Authenticated}}
	if r.Private == nil {
		c.keyEntry = entryOf(r.Key, nil, r.Err)
		return c
	}
	c.keyEntry, c.Record = entryOf(r.Key, r.Private, nil), recordOf(r.Record)
	return c
}

// noneToCheck is the error where there is no key to ask for.
func noneToCheck(cfg *config.Config, found bool, domain, selector string) error {
	switch {
	case found:
		return nil
	case selector != "":
		return userError{fmt.Errorf("%s has no key with selector %q", domain, selector), "dkimd key check " + domain}
	}
	return userError{fmt.Errorf("there is no key in %s", cfg.Sign.Directory), "dkimd key generate DOMAIN"}
}

func checkKeys(ctx context.Context, std stdio, cfg *config.Config, lookup keys.Lookup, domain, selector string) error {
	domains, faults, err := domainsToCheck(daemon.KeySources(cfg), domain)
	if err != nil {
		return err
	}
	faults = besidesKeys(faults, domains) // what is wrong with a key its result says
	failed, found := len(faults) > 0, false
	for _, f := range faults {
		report(std.err, f)
	}
	if domain == "" {
		count, err := tabulate(ctx, std.out, lookup, domains)
		if err != nil {
			return err
		}
		found, failed = count.all > 0, failed || count.fail
	}
	for _, d := range domains {
		if domain == "" {
			break
		}
		for _, result := range keys.CheckDomain(ctx, lookup, d, selector) {
			found = true
			failed = failed || !result.Serves()
			result.Seek(ctx, lookup)
			text := terminal.Wrap(result.String(), "")
			if result.State == keys.Absent || result.State == keys.Different {
				text += "\npublish:\n" + result.Record.String()
			}
			if _, err := fmt.Fprintln(std.out, text); err != nil {
				return err
			}
		}
	}
	if failed {
		return errQuiet
	}
	return noneToCheck(cfg, found, domain, selector)
}

// tally counts what a check of all keys found.
type tally struct {
	all    int
	states map[keys.State]int
	fail   bool
}

// checkParallel is how many domains are asked about at a time.
const checkParallel = 16

// seekAtMost is for how many absent records of a table it is asked where they are instead.
const seekAtMost = 32

// tabulate checks the keys of all domains and prints a table, as the answers come.
func tabulate(ctx context.Context, w io.Writer, lookup keys.Lookup, domains []*keys.Domain) (tally, error) {
	count := tally{states: map[keys.State]int{}}
	table := terminal.NewTable(w, terminal.PaletteOf(w), "domain", "selector", "key", "DNS")
	table.Fit("", "", "waits", keys.Unreachable.String())
	for _, d := range domains {
		for _, k := range slices.Concat(d.Keys, d.Pending) {
			table.Fit(string(d.Name), k.Selector)
		}
	}
	sought := 0
	err := keys.CheckAll(ctx, lookup, domains, checkParallel, func(d *keys.Domain, results []keys.CheckResult) error {
		for _, r := range results {
			if sought < seekAtMost && r.State == keys.Absent {
				sought++
				r.Seek(ctx, lookup)
			}
			count.all++
			count.states[r.State]++
			count.fail = count.fail || !r.Serves()
			if err := table.Row(string(d.Name), r.Key.Selector, r.Key.Role(), r.State.String()); err != nil {
				return err
			}
			if r.State == keys.Published {
				continue
			}
			if _, err := fmt.Fprintln(w, terminal.Wrap(r.Words(), "  ")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || count.all == 0 {
		return count, err
	}
	var parts []string
	for state := keys.Unusable; state <= keys.Unreachable; state++ {
		if n := count.states[state]; n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+state.String())
		}
	}
	_, err = fmt.Fprintf(w, "\n%s: %s\n", terminal.Plural(count.all, "key"), strings.Join(parts, ", "))
	return count, err
}
