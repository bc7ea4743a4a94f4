package spf

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/resolver"
)

// MaxLookups is how many terms of a record and of those it includes may ask DNS (RFC 7208 section 4.6.4).
const MaxLookups = 10

// Inspection is what a domain publishes, whatever client asks.
type Inspection struct {
	Record  string // empty: there is none
	Flaw    string // why the record is of no use; empty: nothing is wrong
	Lookups int    // terms that ask DNS, those of included records with them; counting ends past MaxLookups
	All     string // the qualifier of all: "-", "~", "?" or "+"; empty: there is no all
}

// Inspect reads the record of a domain, and those it includes. What has macros in its name is counted and not followed.
// The error says that DNS could not tell.
func Inspect(ctx context.Context, dns DNS, name domain.Name) (i Inspection, err error) {
	if i.Record, err = i.read(ctx, dns, string(name)); err != nil || i.Record == "" {
		return i, err
	}
	return i, i.follow(ctx, dns, i.Record, true)
}

// read is the record of a name; empty where there is none, or none of use.
func (i *Inspection) read(ctx context.Context, dns DNS, name string) (string, error) {
	answer, err := dns.Lookup(ctx, name, resolver.TXT)
	if err != nil && !errors.Is(err, resolver.ErrNotExist) && !errors.Is(err, resolver.ErrNoData) {
		return "", err
	}
	found := slices.DeleteFunc(slices.Clone(answer.Records), func(txt string) bool { return !isRecord(txt) })
	switch {
	case len(found) == 0:
		return "", nil
	case len(found) > 1:
		i.flaw(name, "there are several records")
		return "", nil
	}
	if flaw := readRecord(found[0]).flaw; flaw != "" {
		i.flaw(name, flaw)
		return "", nil
	}
	return found[0], nil
}

func (i *Inspection) flaw(name, text string) {
	if i.Flaw == "" {
		i.Flaw = name + ": " + text
	}
}

// follow counts the terms of a record without flaws, and reads what it names. Only the domain's own record says what
// all is, and one that it redirects to.
func (i *Inspection) follow(ctx context.Context, dns DNS, record string, own bool) error {
	redirect, all := "", false
	for _, term := range strings.Fields(strings.ToLower(record))[1:] {
		bare := strings.TrimLeft(term, "+-?~")
		word, target, _ := strings.Cut(bare, ":")
		word, _, _ = strings.Cut(word, "/")
		switch word {
		case "all":
			if all = true; own {
				i.All = strings.TrimSuffix(term, bare)
				i.All = cmp.Or(i.All, "+")
			}
		case "a", "mx", "ptr", "exists":
			i.Lookups++
		case "include":
			if err := i.descend(ctx, dns, target, false); err != nil {
				return err
			}
		}
		if name, ok := strings.CutPrefix(term, "redirect="); ok {
			redirect = name
		}
	}
	if redirect == "" || all { // section 6.1: all makes a redirect void
		return nil
	}
	return i.descend(ctx, dns, redirect, own)
}

// descend follows the record of a name that another record has.
func (i *Inspection) descend(ctx context.Context, dns DNS, name string, own bool) error {
	if i.Lookups++; i.Lookups > MaxLookups || strings.Contains(name, "%") {
		return nil
	}
	record, err := i.read(ctx, dns, name)
	if err != nil {
		return err
	}
	if record == "" {
		i.flaw(name, "another record names it, and it has none")
		return nil
	}
	return i.follow(ctx, dns, record, own)
}
