package config

import (
	"net/netip"
	"strconv"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/tomlfile"
)

// maxListEntries bounds a shared list: each rules file that names it holds all of it.
const maxListEntries = 1000

const docLists = "Lists that rules share: in `clients`, `not_clients`, `recipients`, `any_recipient`, `signers` and `not_signers` of a rule, " +
	"and in `sign.networks`, `sign.not_recipients`, `verify.trusted` and `verify.leave_alone`, `\"@NAME\"` stands for all that the list NAME holds. A list holds networks, or " +
	"domains and addresses, 1000 at most, and no other list. A reload takes changes."

// readLists reads [lists]. What is in a list is checked here, so that a mistake in it is one of dkimd.toml; whether it
// fits where it is used is checked there.
func (c *Config) readLists() {
	t := c.section("lists")
	for _, name := range t.Keys() {
		entries := t.Strings(name, nil)
		switch {
		case entries == nil: // of another type
		case !isListName(name):
			t.Fault(name, "a list whose name has 1 to 60 letters, digits, - and _", "")
		case len(entries) == 0:
			t.Fault(name, "at least one entry", "what holds for an empty list would be a guess")
		case len(entries) > maxListEntries:
			t.Fault(name, "at most "+strconv.Itoa(maxListEntries)+" entries", "make two lists of it, and name both where they are used")
		default:
			checkList(t, name, entries)
		}
	}
	c.Lists = t.Lists()
	c.file.Share(c.Lists)
}

// checkList wants entries of one kind, that of the first.
func checkList(t *tomlfile.Table, name string, entries []string) {
	networks := isNetwork(entries[0])
	for i, entry := range entries {
		if _, other := tomlfile.SharedName(entry); other {
			t.FaultItem(name, i, "no list in a list", "name both where they are used")
			return
		}
		if isNetwork(entry) != networks {
			t.FaultItem(name, i, "networks alone, or domains and addresses alone", "its first entry is "+strconv.Quote(entries[0])+": make two lists")
			return
		}
		written := entry[strings.LastIndexByte(entry, '@')+1:]
		if _, err := domain.ParseLax(strings.TrimPrefix(written, "*.")); err != nil && !networks {
			t.FaultItem(name, i, "a network, a domain or an address", err.Error())
		}
	}
	if networks {
		t.Prefixes(name, nil)
	}
}

func isListName(name string) bool {
	_, ok := tomlfile.SharedName("@" + name)
	return ok
}

// isNetwork reports whether an entry is meant as one.
func isNetwork(entry string) bool {
	address, _, _ := strings.Cut(entry, "/")
	_, err := netip.ParseAddr(address)
	return err == nil
}

// listKeys are the lists that there are.
func (c *Config) listKeys() []key {
	if c.Lists == nil {
		return nil
	}
	var keys []key
	for _, name := range c.section("lists").Keys() {
		entries := c.section("lists").Strings(name, nil)
		keys = append(keys, key{name, list(&entries, (*tomlfile.Table).Strings), ""})
	}
	return keys
}
