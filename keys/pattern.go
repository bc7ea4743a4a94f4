package keys

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/message"
)

// patterns finds what is written for an address, at the same cost for any number of patterns: all usual forms are
// looked up by a key, in the form of OpenDKIM's tables:
//
//	user@host      the address           host    all addresses of a domain
//	user@.parent   below a domain        .parent
//	user@*         in any domain         *
//
// What is none of these is tried one by one.
type patterns[T any] struct {
	ordered bool // the first that was written counts; else the order of the forms above
	every   bool // of several values for one pattern all count; else the first
	exact   map[string]chain
	values  []link[T] // of all patterns, as they were written
	globs   []glob
}

// chain is the values of one key, by their places among all.
type chain struct{ first, last int32 }

type link[T any] struct {
	value T
	next  int32 // of the same key; 0: none, for nothing comes before the first
}

type glob struct {
	n     int32
	parts [][]byte // between the asterisks; lower case
}

// newPatterns has room for that many.
func newPatterns[T any](count int) patterns[T] {
	return patterns[T]{exact: make(map[string]chain, count), values: make([]link[T], 0, count)}
}

// add takes in a pattern, in the form of globKey, exactKey or ParsePattern.
func (p *patterns[T]) add(key string, value T) {
	n := int32(len(p.values)) //nolint:gosec // a table has fewer lines
	p.values = append(p.values, link[T]{value: value})
	if isGlob(key) {
		p.globs = append(p.globs, glob{n, bytes.Split([]byte(key), []byte("*"))})
		return
	}
	c, again := p.exact[key]
	if again {
		p.values[c.last].next = n
		c.last = n
	} else {
		c = chain{n, n}
	}
	p.exact[key] = c
}

// first is the value of the first pattern that is written so.
func (p *patterns[T]) first(key string) (value T, ok bool) {
	c, ok := p.exact[key]
	if ok {
		return p.values[c.first].value, true
	}
	for _, g := range p.globs {
		if string(bytes.Join(g.parts, []byte("*"))) == key {
			return p.values[g.n].value, true
		}
	}
	return value, false
}

// isGlob reports whether a key has an asterisk that is not its whole domain, or all of it.
func isGlob(key string) bool {
	return strings.Contains(strings.TrimSuffix(key, "*"), "*") || strings.HasSuffix(key, "*") && key != "*" && !strings.HasSuffix(key, "@*")
}

// find calls each with what is written for an address, in the order that counts, until it returns false.
func (p *patterns[T]) find(address message.Address, each func(T) bool) {
	var scratch [256]byte
	var room [4]int32
	found := room[:0]
	take := func(c chain, ok bool) {
		for n := c.first; ok; n = p.values[n].next {
			found = append(found, n)
			ok = p.every && n != c.last
		}
	}
	at, host := append(lowerCase(scratch[:0], address.Local), '@'), string(address.Domain)
	c, ok := p.exact[string(append(at, host...))]
	take(c, ok)
	c, ok = p.exact[host]
	take(c, ok)
	for i := range len(host) {
		if host[i] == '.' {
			c, ok = p.exact[string(append(at, host[i:]...))]
			take(c, ok)
			c, ok = p.exact[host[i:]]
			take(c, ok)
		}
	}
	c, ok = p.exact[string(append(at, '*'))]
	take(c, ok)
	c, ok = p.exact["*"]
	take(c, ok)
	whole := append(at, host...)
	for _, g := range p.globs {
		if g.matches(whole) {
			found = append(found, g.n)
		}
	}
	if p.ordered && len(found) > 1 {
		slices.Sort(found)
	}
	for _, n := range found {
		if !each(p.values[n].value) {
			return
		}
	}
}

// matches reports whether the parts are in an address, in their order. The time is that of the address times the parts.
func (g glob) matches(rest []byte) bool {
	first, last := g.parts[0], g.parts[len(g.parts)-1]
	if len(rest) < len(first)+len(last) || !bytes.HasPrefix(rest, first) || !bytes.HasSuffix(rest, last) {
		return false
	}
	rest = rest[len(first) : len(rest)-len(last)]
	for _, part := range g.parts[1 : len(g.parts)-1] {
		i := bytes.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return true
}

func lowerCase(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// ParsePattern reads a pattern of [[sign.map]] into the form of patterns. *@HOST, @HOST and HOST mean the
// same, and so do *@*.PARENT, *.PARENT and .PARENT.
func ParsePattern(written string) (string, error) {
	local, host, isAddress := cutLast(written)
	if !isAddress {
		local, host = "", written
	}
	if local == "*" {
		local = ""
	}
	if local == "" && host == "*" {
		return "*", nil
	}
	if len(local) > maxLocalPart || strings.ContainsFunc(local, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", errors.New("the local part has at most 64 octets, without spaces")
	}
	if host != "*" {
		below := strings.HasPrefix(host, "*.") || strings.HasPrefix(host, ".")
		name, err := domain.Parse(strings.TrimPrefix(strings.TrimPrefix(host, "*"), "."))
		switch {
		case err != nil && strings.Contains(host, "*"):
			return "", errors.New("an asterisk stands for all addresses, all domains, or all domains below one: \"*@*.example.com\"")
		case err != nil:
			return "", err
		}
		if host = string(name); below {
			host = "." + host
		}
	}
	if local == "" {
		return host, nil
	}
	return string(lowerCase(nil, local)) + "@" + host, nil
}

// cutLast cuts an address at its last @.
func cutLast(address string) (local, host string, found bool) {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return address, "", false
	}
	return address[:i], address[i+1:], true
}

// globKey is a pattern of a refile table in the form of patterns. It matches as a glob does that is
// held against the whole address. dead: no address matches.
func globKey(written string) (key string, dead bool) {
	key = string(lowerCase(nil, written))
	local, host, isAddress := cutLast(key)
	switch {
	case key == "*" || key == "*@*":
		return "*", false
	case !isAddress:
		if parent, ok := strings.CutPrefix(key, "*."); ok && !strings.Contains(parent, "*") {
			return "." + canonicalHost(parent), false
		}
		return key, !strings.Contains(key, "*")
	case local == "" || host == "" || strings.HasPrefix(host, "."):
		return key, true
	}
	if !strings.Contains(host, "*") {
		host = canonicalHost(host)
	} else if parent, ok := strings.CutPrefix(host, "*."); ok && !strings.Contains(parent, "*") {
		host = "." + canonicalHost(parent)
	}
	switch {
	case local == "*" && (strings.HasPrefix(host, ".") || !strings.Contains(host, "*")):
		return host, false
	case strings.Contains(local, "*") && strings.HasPrefix(host, "."):
		return local + "@*" + host, false // a glob after all
	}
	return local + "@" + host, false
}

// exactKey is the first field of a signing table that is looked up, in the form of patterns. dead: it has
// an asterisk where only a refile has patterns.
func exactKey(written string) (key string, dead bool) {
	key = string(lowerCase(nil, written))
	local, host, isAddress := cutLast(key)
	if !isAddress {
		local, host = "", key
	}
	if host != "*" {
		dead = strings.Contains(host, "*")
		parent, below := strings.CutPrefix(host, ".")
		if host = canonicalHost(parent); below {
			host = "." + host
		}
	}
	switch {
	case !isAddress:
		return host, dead
	case local == "" || strings.Contains(local, "*"):
		return local + "@" + host, true
	}
	return local + "@" + host, dead
}

// canonicalHost is a host in the form that senders have; as it is where it is none.
func canonicalHost(written string) string {
	if name, err := domain.ParseLax(written); err == nil {
		return string(name)
	}
	return written
}
