package importer

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/domain"
)

// hosts reads a set of clients. OpenDKIM compares texts: the name of the client and the names above it with a dot in
// front, its address as it is usually written, and each network it is in without host bits. An entry of another form fits
// no client, however it was meant, and is left out.
func (o *opendkim) hosts(s setting) (all []string, d dataset, err error) {
	d, err = o.root.dataset(s, o.base)
	if err != nil {
		return nil, d, err
	}
	for _, e := range d.entries {
		o.plan.Clients = append(o.plan.Clients, e.key)
		written, not := strings.CutPrefix(e.key, "!")
		sign := ""
		if not {
			sign = "!"
		}
		entries, wrong := hostEntry(strings.ToLower(written), d.kind == ofPattern)
		if wrong != "" {
			o.plan.note(Close, e.Place, s.name, e.key, wrong+"; left out")
			continue
		}
		for _, one := range entries {
			if one = sign + one; !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
		if slices.Contains(entries, "0.0.0.0/0") && !not && s.name == "InternalHosts" {
			o.plan.note(Close, e.Place, s.name, e.key, "every client on earth is internal: strangers' mail from your domains is signed, as it was. Name your own networks instead")
		}
	}
	if d.kind == ofPattern {
		for _, e := range d.entries {
			if suffix, ok := strings.CutPrefix(strings.ToLower(e.key), "*"); ok && !strings.Contains(suffix, "*") {
				all = o.exclude(all, suffix, e, s)
			}
		}
	}
	return all, d, nil
}

// exclude takes out of a list what a pattern with a * in front keeps OpenDKIM from finding: of mail.example.com it asks for
// "!mail.example.com" first, which *.example.com has.
func (o *opendkim) exclude(all []string, suffix string, pattern entry, s setting) (kept []string) {
	for _, one := range all {
		switch {
		case strings.HasPrefix(one, "!") || !strings.HasSuffix(one, suffix):
			kept = append(kept, one)
			if strings.HasPrefix(one, ".") && strings.HasSuffix(suffix, one) { // it excludes a part
				kept = append(kept, "!"+suffix)
			}
		default:
			o.plan.note(Close, pattern.Place, s.name, pattern.key, "excludes "+one+" too, which OpenDKIM never finds; left out. Without this line it is found")
		}
	}
	return kept
}

// hostEntry is an entry as dkimd has it. Wrong says why it fits no client of OpenDKIM's.
func hostEntry(s string, patterns bool) (entries []string, wrong string) {
	bare := s
	if strings.HasPrefix(s, "[") && patterns {
		return nil, "fits no client, since OpenDKIM takes [ ] in a refile for one of the letters between"
	} else if strings.HasPrefix(s, "[") {
		bare = strings.Replace(s[1:], "]", "", 1)
	}
	if prefix, err := netip.ParsePrefix(bare); err == nil {
		if prefix != prefix.Masked() || prefix.String() != bare {
			return nil, "fits no client, since OpenDKIM compares it as text; " + prefix.Masked().String() + " would"
		}
		return []string{bare}, ""
	}
	if addr, err := netip.ParseAddr(bare); err == nil {
		if addr.String() != bare {
			return nil, "fits no client, since OpenDKIM compares it as text; " + addr.String() + " would"
		}
		return []string{bare}, ""
	}
	switch {
	case strings.HasPrefix(s, "*") && patterns:
		// OpenDKIM asks for "!mail.example.com" first, which *.example.com has too: an exclusion.
		return nil, "fits no client, since OpenDKIM takes a * in front for an exclusion"
	case strings.Contains(s, "*") && patterns:
		return hostPattern(s)
	case strings.Contains(s, "*"):
		return nil, "fits no client, since a * counts in a refile only"
	}
	name, err := domain.ParseHost(strings.TrimPrefix(s, "."))
	if err != nil || string(name) != strings.TrimPrefix(s, ".") {
		return nil, "fits no client: no address, network, host or .domain"
	}
	return []string{s}, ""
}

// hostPattern is a pattern with * that dkimd can say otherwise.
func hostPattern(s string) (entries []string, wrong string) {
	if octets := strings.Split(s, "."); octets[len(octets)-1] == "*" && len(octets) <= 4 {
		fixed := octets[:len(octets)-1]
		text := strings.Join(fixed, ".") + strings.Repeat(".0", 4-len(fixed)) + "/" + strconv.Itoa(8*len(fixed))
		if prefix, err := netip.ParsePrefix(text); err == nil {
			return []string{prefix.String()}, ""
		}
	}
	return nil, "dkimd has no such pattern for clients"
}

func (o *opendkim) internalHosts(s setting) error {
	all, d, err := o.hosts(s)
	switch {
	case err != nil:
		return err
	case !o.signs():
		o.same(s, "without effect: Mode does not sign")
		o.plan.config.set("sign", "networks", []string{}, "Mode does not sign")
		return nil
	case d.kind == notRead:
		o.plan.config.set("sign", "networks", []string{"127.0.0.1"}, "")
		o.missed(s, "dkimd reads no database: write the hosts into [sign] networks")
		return nil
	}
	if all == nil {
		all = []string{}
	}
	o.plan.config.set("sign", "networks", all, why(s))
	if !slices.Contains(all, "127.0.0.1") && !slices.ContainsFunc(all, holdsLoopback) && !slices.Contains(all, "localhost") {
		o.plan.Gained = append(o.plan.Gained, Host{s.Place, "this host", "mail that programs of this host submit is always ours; OpenDKIM signs it only with 127.0.0.1 in the list"})
	}
	for _, entry := range all {
		if !strings.HasPrefix(entry, "!") && isName(entry) && entry != "localhost" {
			o.plan.Lost = append(o.plan.Lost, Host{s.Place, entry, "only while this name is that of the client's address and leads back to it"})
		}
	}
	o.same(s, "[sign] networks")
	return nil
}

func holdsLoopback(entry string) bool {
	prefix, err := netip.ParsePrefix(entry)
	return err == nil && prefix.Contains(netip.MustParseAddr("127.0.0.1"))
}

// isName reports whether an entry is a host or a domain, not an address.
func isName(entry string) bool {
	if _, err := netip.ParsePrefix(entry); err == nil {
		return false
	}
	_, err := netip.ParseAddr(entry)
	return err != nil
}

func (o *opendkim) peers(s setting) error {
	all, d, err := o.hosts(s)
	if err != nil {
		return err
	}
	if d.kind == notRead {
		o.missed(s, "dkimd reads no database: write the hosts into [verify] leave_alone")
		return nil
	}
	if len(all) > 0 {
		o.plan.config.set("verify", "leave_alone", all, why(s))
	}
	o.same(s, "[verify] leave_alone")
	return nil
}

// ignoreList is a set that only silences a line of OpenDKIM's log.
func (o *opendkim) ignoreList(s setting) error {
	if _, err := o.root.dataset(s, o.base); err != nil {
		o.near(s, "nothing to carry over, but OpenDKIM does not start with it: "+err.Error())
		return nil
	}
	o.same(s, "nothing to carry over: dkimd does not log that line; see reason in a record")
	return nil
}

func (o *opendkim) mta(s setting) error {
	d, err := o.root.dataset(s, o.base)
	switch {
	case err != nil:
		return err
	case d.kind == notRead:
		o.missed(s, "dkimd reads no database: write the names into [sign] daemon_names")
	case !o.signs():
		o.same(s, "without effect: Mode does not sign")
	default:
		o.daemonNames(d.keys(), s)
		o.same(s, "[sign] daemon_names")
	}
	return nil
}

func (o *opendkim) daemonNames(names []string, s setting) {
	for _, t := range o.plan.config.tables {
		for _, l := range t.lines {
			if before, ok := l.value.([]string); ok && t.name == "sign" && l.key == "daemon_names" {
				names = append(slices.Clone(before), slices.DeleteFunc(names, func(n string) bool { return slices.Contains(before, n) })...)
			}
		}
	}
	o.plan.config.set("sign", "daemon_names", names, why(s))
	o.plan.Daemons = names
}

// macros reads MacroList: each macro with its values, or without where any will do. OpenDKIM puts the braces around a name itself.
func (o *opendkim) macros(s setting) error {
	d, err := o.root.dataset(s, o.base)
	if err != nil {
		return err
	}
	if !o.signs() {
		o.same(s, "without effect: Mode does not sign")
		return nil
	}
	var odd []string
	for _, e := range d.entries {
		switch {
		case strings.ContainsAny(e.key, "{}|"):
			o.plan.note(Close, e.Place, s.name, e.key, "fits no macro, since OpenDKIM looks for one of this whole name in braces; left out. daemon_name=NAME|NAME has values")
		case e.key == "daemon_name" && e.value != "":
			o.daemonNames(strings.Split(e.value, "|"), s)
		case (e.key == "auth_authen" || e.key == "auth_type") && e.value == "":
		default:
			odd = append(odd, e.key)
		}
	}
	if len(odd) > 0 {
		o.missed(s, "dkimd asks for a login and for daemon_name=NAME only, not "+strings.Join(odd, ", "))
		return nil
	}
	o.same(s, "[sign] daemon_names and authenticated")
	return nil
}
