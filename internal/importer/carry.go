package importer

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
)

// why is the comment at a key that comes from a setting.
func why(s setting) string { return s.name + ", " + s.Path + ":" + strconv.Itoa(s.Line) }

const openDKIMDefault = "as OpenDKIM does by default"

// defaults are what OpenDKIM does where its configuration says nothing, and dkimd does not.
func (o *opendkim) defaults() {
	c := &o.plan.config
	if _, set := o.set["canonicalization"]; !set {
		c.set("sign", "canonicalization", "simple/simple", openDKIMDefault)
	}
	o.headers()
	if _, set := o.set["internalhosts"]; !set {
		networks := []string{"127.0.0.1"}
		if !o.signs() {
			networks = []string{}
		}
		c.set("sign", "networks", networks, openDKIMDefault)
		o.plan.Clients = append(o.plan.Clients, "127.0.0.1")
	}
	if !o.signs() {
		c.set("sign", "authenticated", false, "Mode does not sign")
		c.set("sign", "daemon_names", []string{}, "Mode does not sign")
	}
	if !slices.ContainsFunc(c.tables, func(t *tomlTable) bool {
		return t.name == "sign" && slices.ContainsFunc(t.lines, func(l tomlLine) bool { return l.key == "daemon_names" })
	}) {
		c.set("sign", "daemon_names", []string{}, openDKIMDefault)
	}
	if _, set := o.set["socket"]; !set {
		c.set("milter", "listen", []string{besideOpenDKIM}, "")
	}
}

// signs reports whether Mode has OpenDKIM sign.
func (o *opendkim) signs() bool {
	mode, set := o.set["mode"]
	return !set || strings.Contains(mode.value, "s")
}

func (o *opendkim) mode(s setting) {
	sign, verify := strings.Contains(s.value, "s"), strings.Contains(s.value, "v")
	switch {
	case strings.Trim(s.value, "sv") != "":
		o.missed(s, "want s, v or sv")
	case sign && verify:
		o.near(s, "mail of ours whose sender has no key goes out as it is; OpenDKIM verified it")
	case sign:
		o.plan.config.set("verify", "enabled", false, why(s))
		o.same(s, "[verify] enabled = false")
	default:
		o.same(s, "no mail is ours: all is verified")
	}
}

func (o *opendkim) canonicalization(s setting) {
	header, body, both := strings.Cut(strings.ToLower(s.value), "/")
	if !both {
		body = "simple"
	}
	for _, one := range []string{header, body} {
		if one != "simple" && one != "relaxed" {
			o.plan.config.set("sign", "canonicalization", "relaxed/relaxed", "")
			o.missed(s, "want relaxed or simple; dkimd signs with relaxed/relaxed")
			return
		}
	}
	o.plan.config.set("sign", "canonicalization", header+"/"+body, why(s))
	o.same(s, "[sign] canonicalization")
}

func (o *opendkim) algorithm(s setting) {
	switch s.value {
	case "rsa-sha256":
		o.same(s, "the type of a key says how it signs")
	case "ed25519-sha256":
		o.near(s, "the type of a key says how it signs; OpenDKIM's own Ed25519 signatures do not verify elsewhere")
	default:
		o.near(s, "dkimd signs with rsa-sha256: receivers take rsa-sha1 for no signature (RFC 8301)")
	}
}

func (o *opendkim) expiry(s setting) {
	seconds, _ := strconv.ParseInt(s.value, 0, 32)
	const most = 3650 * 24 * 60 * 60
	switch {
	case seconds <= 0:
		o.same(s, "signatures do not expire")
	case seconds > most:
		o.plan.config.set("sign", "expiry", "3650d", why(s))
		o.near(s, "[sign] expiry: at most 3650d")
	default:
		o.plan.config.set("sign", "expiry", strconv.FormatInt(seconds, 10)+"s", why(s))
		o.same(s, "[sign] expiry")
	}
}

// The fields that OpenDKIM signs where SignHeaders says nothing, and those it never signs where OmitHeaders does not (RFC 6376
// section 5.4, and what libopendkim 2.11 was seen to do).
func defaultSigned() []string {
	return []string{
		"From", "Reply-To", "Subject", "Date", "To", "Cc", "Resent-Date", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "In-Reply-To", "References",
		"List-Id", "List-Help", "List-Unsubscribe", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
	}
}

func defaultOmitted() []string {
	return []string{"Return-Path", "Received", "Comments", "Keywords", "Bcc", "Resent-Bcc", "DKIM-Signature"}
}

// headers writes which fields are signed.
func (o *opendkim) headers() {
	c := &o.plan.config
	signed, unsaid := o.fieldNames("signheaders", defaultSigned())
	omitted, _ := o.fieldNames("omitheaders", defaultOmitted())
	oversigned, _ := o.fieldNames("oversignheaders", nil)
	if !covers(signed, "From") {
		signed = append([]string{"From"}, signed...)
	}
	drop := func(name string) bool {
		return !strings.EqualFold(name, "From") && (covers(omitted, name) || dkim.Unstable(name) != "")
	}
	signed = slices.DeleteFunc(signed, drop)
	for _, name := range oversigned {
		if !covers(signed, name) && dkim.Unstable(name) == "" {
			signed = append(signed, name)
		}
	}
	from := openDKIMDefault
	if !unsaid {
		from = why(o.set["signheaders"])
	}
	c.set("sign", "headers", signed, from)
	from = openDKIMDefault
	if s, set := o.set["oversignheaders"]; set {
		from = why(s)
	}
	c.set("sign", "oversign", slices.DeleteFunc(oversigned, func(name string) bool { return strings.Contains(name, "*") || !covers(signed, name) }), from)
}

// covers reports whether a list of names, some with a * at the end, includes name.
func covers(names []string, name string) bool {
	return slices.ContainsFunc(names, func(pattern string) bool {
		prefix, wild := strings.CutSuffix(pattern, "*")
		return strings.EqualFold(pattern, name) || wild && len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
	})
}

// fieldNames is a set of fields, in which * stands for the default, to which +NAME adds and from which -NAME takes.
func (o *opendkim) fieldNames(directive string, def []string) (names []string, unsaid bool) {
	s, set := o.set[directive]
	if !set {
		return slices.Clone(def), true
	}
	d, err := o.root.dataset(s, o.base)
	if err != nil || d.kind == notRead {
		return slices.Clone(def), true
	}
	listed := d.keys()
	changes := changesDefault(directive, listed)
	if changes {
		names = slices.Clone(def)
	}
	add := func(name string) {
		if strings.Contains(name, `"`) { // is a part of the name for OpenDKIM, and no message has such a field
			return
		}
		if _, _, ok := dkim.ParsePattern(name); ok && !strings.HasPrefix(name, "+") && !strings.HasPrefix(name, "-") && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			names = append(names, name)
		}
	}
	for _, name := range listed {
		switch {
		case name == "*" || name == ".":
		case strings.HasPrefix(name, "+") && changes:
			add(name[1:])
		case strings.HasPrefix(name, "-") && changes:
			names = slices.DeleteFunc(names, func(n string) bool { return strings.EqualFold(n, name[1:]) })
		case !changes:
			add(name)
		}
	}
	return names, false
}

// changesDefault reports whether a set of fields has a *: then +NAME adds to the default and -NAME takes from it, and
// OpenDKIM passes over other names. Without it every name is one of a field.
func changesDefault(directive string, listed []string) bool {
	return !strings.EqualFold(directive, "OversignHeaders") && slices.Contains(listed, "*")
}

// noteHeaders is the note of a list of fields that headers reads.
func (o *opendkim) noteHeaders(s setting) {
	d, err := o.root.dataset(s, o.base)
	switch {
	case err != nil:
		o.missed(s, err.Error())
	case d.kind == notRead:
		o.missed(s, "dkimd reads no database: write the names into [sign] headers")
	default:
		words := map[string]string{"SignHeaders": "[sign] headers", "OmitHeaders": "left out of [sign] headers", "OversignHeaders": "[sign] oversign"}[s.name]
		odd, passed := oddFields(s.name, d.keys())
		if len(odd) > 0 {
			words += ", without " + strings.Join(odd, ", ") + ": dkimd signs no such field"
			if s.name != "OversignHeaders" && slices.ContainsFunc(odd, func(name string) bool { return strings.HasPrefix(name, "+") }) {
				words += ", and OpenDKIM does not start with a + and no *"
			}
		}
		if len(passed) > 0 {
			words += ", without " + strings.Join(passed, ", ") + ": beside * OpenDKIM passes over names without + or -"
		}
		if omitted, _ := o.fieldNames("omitheaders", nil); s.name == "OmitHeaders" && covers(omitted, "From") {
			odd, words = append(odd, "From"), words+"; From is always signed: OpenDKIM signs no message without it"
		}
		more := ""
		if s.name == "OversignHeaders" {
			more = o.oversigned(d)
		}
		if len(odd)+len(passed) > 0 || more != "" {
			o.near(s, words+more)
			return
		}
		o.same(s, words)
	}
}

// oddFields are names of a set of fields that dkimd cannot sign, and those that OpenDKIM passes over.
func oddFields(directive string, listed []string) (odd, passed []string) {
	changes := changesDefault(directive, listed)
	for _, name := range listed {
		sign := strings.HasPrefix(name, "+") || strings.HasPrefix(name, "-")
		bare := name
		if changes {
			bare = strings.TrimLeft(name, "+-")
		}
		_, _, ok := dkim.ParsePattern(bare)
		switch {
		case name == "." || changes && (name == "*" || strings.HasPrefix(name, "-")):
		case changes && !sign:
			passed = append(passed, name)
		case !ok, !changes && sign, strings.Contains(bare, `"`), directive != "OmitHeaders" && dkim.Unstable(bare) != "",
			directive == "OversignHeaders" && strings.Contains(bare, "*"):
			odd = append(odd, name)
		}
	}
	return odd, passed
}

// oversigned tells of fields that dkimd oversigns only where they occur, or that SignHeaders does not have.
func (o *opendkim) oversigned(d dataset) (words string) {
	var only, unsigned []string
	signed, _ := o.fieldNames("signheaders", defaultSigned())
	for _, name := range d.keys() {
		if onlyWhereThere(name) {
			only = append(only, name)
		}
		if _, _, ok := dkim.ParsePattern(name); ok && !strings.HasPrefix(name, "+") && !strings.EqualFold(name, "From") && !covers(signed, name) && dkim.Unstable(name) == "" {
			unsigned = append(unsigned, name)
		}
	}
	if len(unsigned) > 0 {
		words += "; " + strings.Join(unsigned, ", ") + " signed too: OpenDKIM's signatures of a message that has the field do not verify"
	}
	if len(only) > 0 {
		words += "; " + strings.Join(only, ", ") + " only where the message has the field: mailing lists and mail servers add it"
	}
	return words
}

// onlyWhereThere reports whether dkimd oversigns a field only where a message has it: docs/configuration.md, oversign.
func onlyWhereThere(name string) bool {
	return slices.ContainsFunc([]string{
		"Date", "Message-ID", "Sender", "In-Reply-To", "References", "List-Unsubscribe", "List-Unsubscribe-Post", "MIME-Version", "Content-*",
	}, func(pattern string) bool { return covers([]string{pattern}, name) })
}

func (o *opendkim) senderHeaders(s setting) error {
	d, err := o.root.dataset(s, o.base)
	if err != nil {
		return err
	}
	known := map[string]string{"from": "from", "sender": "sender", "list-id": "list-id"}
	var from, odd []string
	for _, name := range d.keys() {
		if word := known[strings.ToLower(name)]; word != "" {
			from = append(from, word)
		} else {
			odd = append(odd, name)
		}
	}
	o.plan.Fields = from
	if len(from) > 0 && !slices.Equal(from, []string{"from"}) {
		o.plan.config.set("sign", "identity_from", from, why(s))
	}
	switch {
	case len(odd) > 0:
		o.missed(s, "dkimd does not look for the sender in "+strings.Join(odd, ", "))
	case slices.Equal(from, []string{"from"}):
		o.same(s, "[sign] identity_from")
	default:
		o.near(s, "[sign] identity_from: the first of them whose domain has a key signs; for OpenDKIM the first that is there")
	}
	return nil
}

func (o *opendkim) dontSign(s setting) error {
	d, err := o.root.dataset(s, o.base)
	if err != nil {
		return err
	}
	if d.kind == notRead {
		o.missed(s, "dkimd reads no database: write the addresses into [sign] not_recipients")
		return nil
	}
	var recipients []string
	for _, e := range d.entries {
		local, name, isAddress := strings.Cut(e.key, "@")
		wild := strings.Contains(e.key, "*")
		_, err := domain.Parse(strings.TrimPrefix(name, "*."))
		switch {
		case !isAddress && !wild || wild && d.kind != ofPattern:
			o.plan.note(Close, e.Place, s.name, e.key, "fits no recipient, since OpenDKIM looks for the whole address; left out")
			continue
		case !isAddress || err != nil || local != "*" && strings.Contains(local, "*"):
			o.plan.note(NotCarried, e.Place, s.name, e.key, "no address or domain that dkimd knows; left out")
			continue
		case local == "*":
			local = ""
		}
		recipients = append(recipients, local+"@"+name)
	}
	o.plan.config.set("sign", "not_recipients", recipients, why(s))
	o.plan.NotTo = recipients
	o.near(s, "[sign] not_recipients; dkimd signs mail that has other recipients too, by OpenDKIM it goes out unsigned to all where one is there")
	return nil
}

func (o *opendkim) authservID(s setting) {
	if strings.EqualFold(s.value, "HOSTNAME") {
		o.near(s, "hostname is left empty: what the mail server calls itself")
		return
	}
	if name, err := domain.ParseHost(s.value); err == nil {
		o.plan.config.set("", "hostname", string(name), why(s))
		o.same(s, "hostname")
		return
	}
	o.missed(s, "not the name of a host: set hostname to one")
}

func (o *opendkim) removeAll(s setting) {
	if isTrue(s.value) {
		o.plan.config.set("verify", "strip", "all", why(s))
		o.same(s, "[verify] strip = \"all\"")
		return
	}
	o.plan.config.set("verify", "strip", "dkim", why(s))
	o.same(s, "[verify] strip = \"dkim\"")
}

func (o *opendkim) removeFrom(s setting) error {
	d, err := o.root.dataset(s, o.base)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range d.entries {
		if _, err := domain.ParseHost(e.key); err != nil {
			o.plan.note(NotCarried, e.Place, s.name, e.key, "want the name of a host; name each host in [verify] strip_also")
			continue
		}
		names = append(names, e.key)
	}
	o.plan.config.set("verify", "strip_also", names, why(s))
	o.same(s, "[verify] strip_also")
	return nil
}

// within brings a number between two bounds; moved says whether it was outside.
func within(value string, least, most int) (n int, moved bool) {
	written, _ := strconv.ParseInt(value, 0, 32)
	n = min(max(int(written), least), most)
	return n, int64(n) != written
}

func (o *opendkim) bounded(s setting, table, key string, least, most int) {
	n, moved := within(s.value, least, most)
	o.plan.config.set(table, key, n, why(s))
	if moved {
		o.near(s, "["+table+"] "+key+" is from "+strconv.Itoa(least)+" to "+strconv.Itoa(most))
		return
	}
	o.same(s, "["+table+"] "+key)
}

func (o *opendkim) minimumBits(s setting) { o.bounded(s, "verify", "min_rsa_bits", 1024, 4096) }

func (o *opendkim) maximumSignatures(s setting) { o.bounded(s, "verify", "max_signatures", 1, 100) }

func (o *opendkim) clockDrift(s setting) {
	n, moved := within(s.value, 0, 24*60*60)
	o.plan.config.set("verify", "clock_skew", strconv.Itoa(n)+"s", why(s))
	if moved {
		o.near(s, "[verify] clock_skew is at most 1d")
		return
	}
	o.same(s, "[verify] clock_skew")
}

func (o *opendkim) dnsTimeout(s setting) {
	n, moved := within(s.value, 1, 30)
	if strings.Trim(s.value, "0") == "" { // OpenDKIM waits for ever
		n = 30
	}
	o.plan.config.set("dns", "timeout", strconv.Itoa(n)+"s", why(s))
	if moved {
		o.near(s, "[dns] timeout is 30s at most")
		return
	}
	o.same(s, "[dns] timeout")
}

func (o *opendkim) nameservers(s setting) {
	var servers, odd []string
	for _, server := range s.fields() {
		if _, err := netip.ParseAddr(server); err != nil {
			odd = append(odd, server)
			continue
		}
		servers = append(servers, server)
	}
	if len(servers) > 0 {
		o.plan.config.set("dns", "servers", servers, why(s))
	}
	if len(odd) > 0 {
		o.missed(s, "want addresses, not "+strings.Join(odd, ", "))
		return
	}
	o.same(s, "[dns] servers")
}
