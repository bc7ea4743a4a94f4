package main

import (
	"context"
	"fmt"
	"slices"

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

func keyShowCommand(std stdio) *cobra.Command {
	var form string
	c := &cobra.Command{
		Use:   "show DOMAIN [SELECTOR]",
		Short: "Print the DNS records of a domain's keys",
		Long: `Show prints the record to publish for each key of a domain, or for one of them:

  all    in the form of zone files, with the other forms as comments
  zone   in the form of zone files, each string of at most 255 bytes on its line
  line   the same on one line
  plain  name and value in one piece each, as web forms want them

The forms all (the default), zone and line can go into a zone file as they are.`,
		Args: arguments("domain", "[selector]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{formAll, formZone, formLine, formPlain}, form) {
				return usageError(fmt.Errorf("--form: got %q; want all, zone, line or plain", form), "key show --help")
			}
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			args = append(args, "")
			return showKeys(cmd.Context(), std, cfg.Sign.Directory, args[0], args[1], form)
		},
	}
	c.Flags().StringVar(&form, "form", formAll, "all, zone, line or plain")
	return c
}

func showKeys(ctx context.Context, std stdio, directory, domain, selector, form string) error {
	domains, faults, err := domainsToCheck(directory, domain)
	if err != nil {
		return err
	}
	d := domains[0]
	// With a broken domain.toml nobody knows which keys there are: those below are not all.
	faults = besidesKeys(faults, domains)
	for _, f := range faults {
		report(std.err, f)
	}
	found, shown, failed := false, false, len(faults) > 0
	for _, k := range slices.Concat(d.Keys, d.Pending) {
		if selector != "" && k.Selector != selector {
			continue
		}
		found = true
		private, err := k.Load(ctx)
		if err != nil {
			failed = true
			report(std.err, err)
			continue
		}
		record, err := keys.NewRecord(k.Domain, k.Selector, private.Signer.Public())
		if err != nil {
			return err
		}
		shown = true
		switch form {
		case formZone:
			fmt.Fprintln(std.out, record)
		case formLine:
			fmt.Fprintln(std.out, record.Line())
		case formPlain:
			fmt.Fprintf(std.out, "%s\n%s\n", record.Name, record.Text)
		default:
			fmt.Fprintf(std.out, "; %s: %s, %d bits, %s\n%s\n", k, private.Type, private.Bits, roleOf(k), record)
			fmt.Fprintf(std.out, "; on one line:\n;   %s\n; for web forms:\n;   name   %s\n;   value  %s\n\n", record.Line(), record.Name, record.Text)
		}
	}
	switch {
	case !found && len(faults) > 0:
		return errQuiet
	case !found && selector != "":
		return userError{fmt.Errorf("%s has no key with selector %q", d.Name, selector), "dkimd key list " + string(d.Name)}
	case !found:
		return userError{fmt.Errorf("%s has no key", d.Name), "dkimd key generate " + string(d.Name)}
	}
	if form == formAll && shown {
		_, err = fmt.Fprintf(std.out, history, d.Name, d.Name)
	}
	if failed && err == nil {
		return errQuiet
	}
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
