package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"dkimd/internal/daemon"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

// The forms of key show.
const (
	formAll   = "all"
	formZone  = "zone"
	formLine  = "line"
	formPlain = "plain"
)

//nolint:gochecknoglobals // a constant list
var forms = []string{formAll, formZone, formLine, formPlain}

func keyShowCommand(std stdio) *cobra.Command {
	var form string
	var asJSON bool
	c := &cobra.Command{
		Use:   "show [DOMAIN [SELECTOR]]",
		Short: "Print the DNS records of keys",
		Long: `Show prints the record to publish for each key of all domains, of one, or for
one key:

  all    in the form of zone files, with the other forms as comments
  zone   in the form of zone files, each string of at most 255 bytes on its line
  line   the same on one line
  plain  name and value in one piece each, as web forms want them

The forms all (the default), zone and line can go into a zone file as they are.`,
		Args:              arguments("[domain]", "[selector]"),
		ValidArgsFunction: places(signingDomains, selectors),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(forms, form) {
				return usageError(fmt.Errorf("--form: got %q; want all, zone, line or plain", form), "key show --help")
			}
			args = append(args, "", "")
			shown := &shownKeys{Keys: []shownKey{}, domain: args[0], form: form}
			return say(std, asJSON, shown, shown.read(cmd, args[1]))
		},
	}
	c.Flags().StringVar(&form, "form", formAll, "all, zone, line or plain")
	completeFlag(c, "form", oneOf(forms...))
	return jsonFlag(c, &asJSON)
}

// shownKeys is the answer of the command.
type shownKeys struct {
	Keys []shownKey `json:"keys"`
	found

	domain, form string // that were asked for
}

// shownKey is a key and its record; without one, the key cannot be used.
type shownKey struct {
	keyEntry
	Record *recordEntry `json:"record,omitempty"`

	record keys.Record
}

func (s *shownKeys) read(cmd *cobra.Command, selector string) error {
	cfg, err := load(cmd)
	if err != nil {
		return err
	}
	domains, faults, err := domainsToCheck(daemon.KeySources(cfg), s.domain)
	if err != nil {
		return err
	}
	// With a broken domain.toml nobody knows which keys there are: those below are not all.
	s.fault(besidesKeys(faults, domains).Err())
	for _, d := range domains {
		for _, k := range slices.Concat(d.Keys, d.Pending) {
			if selector != "" && k.Selector != selector || d.AnySender() {
				continue
			}
			if err := s.add(cmd.Context(), k); err != nil {
				return err
			}
		}
	}
	switch {
	case len(s.Keys) > 0 && len(s.Faults) == 0 && !slices.ContainsFunc(s.Keys, func(k shownKey) bool { return k.Fault != nil }):
		return nil
	case len(s.Keys) > 0 || len(s.Faults) > 0:
		return errQuiet
	case s.domain == "":
		return userError{errors.New("there is no key in " + cfg.Sign.Directory), "dkimd key generate DOMAIN"}
	}
	name := string(domains[0].Name)
	if selector != "" {
		return userError{fmt.Errorf("%s has no key with selector %q", name, selector), "dkimd key list " + name}
	}
	return userError{fmt.Errorf("%s has no key", name), "dkimd key generate " + name}
}

func (s *shownKeys) add(ctx context.Context, k *keys.Key) error {
	private, err := k.Load(ctx)
	shown := shownKey{keyEntry: entryOf(k, private, err)}
	if err == nil {
		if shown.record, err = keys.NewRecord(k.Domain, k.Selector, private.Signer.Public()); err != nil {
			return err
		}
		shown.Record = recordOf(shown.record)
	}
	s.Keys = append(s.Keys, shown)
	return nil
}

func (s *shownKeys) print(std stdio) error {
	var b strings.Builder
	for _, k := range s.Keys {
		switch {
		case k.Fault != nil:
			fmt.Fprintf(std.err, "dkimd: %s\n", k.Fault.Text)
		case s.form == formZone:
			fmt.Fprintln(&b, k.record)
		case s.form == formLine:
			fmt.Fprintln(&b, k.record.Line())
		case s.form == formPlain:
			fmt.Fprintf(&b, "%s\n%s\n", k.record.Name, k.record.Text)
		default:
			fmt.Fprintf(&b, "; %s/%s: %s, %d bits, %s\n%s\n", k.Domain, k.Selector, k.Type, k.Bits, k.State, k.record)
			fmt.Fprintf(&b, "; on one line:\n;   %s\n; for web forms:\n;   name   %s\n;   value  %s\n\n", k.record.Line(), k.record.Name, k.record.Text)
		}
	}
	if s.form == formAll && s.domain != "" && b.Len() > 0 {
		fmt.Fprintf(&b, history, s.Keys[0].Domain, s.Keys[0].Domain)
	}
	_, err := io.WriteString(std.out, b.String())
	return err
}

// history answers those who look for the record of DomainKeys, which guides still show.
const history = `; DomainKeys, which came before DKIM, had a policy record (RFC 4870, historic):
;   _domainkey.%s. IN TXT "t=y; o=~;"
; No receiver reads it any more; do not publish it. Its t=y, "we are testing", stands in
; the record of each key today (RFC 6376 section 3.6.1). Its o=, whether all mail is
; signed (~ some, - all), became ADSP (RFC 5617, historic as well) and then DMARC (RFC 7489):
;   _dmarc.%s. IN TXT "v=DMARC1; p=none"
`
