//go:build integration

package differential_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// The grammar of a DKIM-Signature field, as RFC 6376 sections 2 and 3 write it
// in ABNF, here in regular expressions. What is not strictly theirs:
// several folds in a row, white space behind the last semicolon, UTF-8 (RFC 8616),
// underscores anywhere and hyphens at the ends of labels (names in the field have them), numbers of
// more than 12 digits ("implementations MAY consider values larger than 10^12 to
// be infinite"), and any local part of i= that is dkim-quoted-printable.
const (
	fws      = `(?:(?:[ \t]*\r\n)?[ \t]+)*`
	label    = `[A-Za-z0-9_-]{1,63}`
	uLabel   = `(?:[A-Za-z0-9_-]|[^\x00-\x7f\p{Z}\p{C}\p{M}\p{Lu}]){1,63}`
	selector = label + `(?:\.` + label + `)*`
	dName    = `(?:` + label + `(?:\.` + label + `)+|` + uLabel + `(?:\.` + uLabel + `)+)`
	word     = `[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?`
	hdrName  = `[!-9<-~]+`
	qp       = `(?:=[0-9A-Fa-f]{2}|[!-:<>-~]|` + `[ \t]|\r\n[ \t])`
	base64s  = `[A-Za-z0-9+/](?:` + fws + `[A-Za-z0-9+/])*(?:` + fws + `=(?:` + fws + `=)?)?`
	method   = `(?:` + word + `(?:/(?:=[0-9A-Fa-f]{2}|[!-9<>-~])+)?)`
)

func whole(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)$`) }

var (
	tagName  = whole(fws + `([A-Za-z][A-Za-z0-9_]*)` + fws)
	tagValue = whole(`(?:[!-:<-~]|[ \t]|\r\n[ \t]|[^\x00-\x7f])*`)
	trim     = regexp.MustCompile(`^(?s)` + fws + `(.*?)` + fws + `$`)
	tagForms = map[string]*regexp.Regexp{
		"v":  whole(`1`),
		"a":  whole(`(?i)rsa-sha256|ed25519-sha256`),
		"b":  whole(base64s),
		"bh": whole(base64s),
		"c":  whole(`(?i)(?:simple|relaxed)(?:/(?:simple|relaxed))?`),
		"d":  whole(dName),
		"h":  whole(hdrName + `(?:` + fws + `:` + fws + hdrName + `)*`),
		"i":  whole(qp + `*@` + dName),
		"l":  whole(`[0-9]{1,76}`),
		"q":  whole(method + `(?:` + fws + `:` + fws + method + `)*`),
		"s":  whole(`(?:` + selector + `|` + uLabel + `(?:\.` + uLabel + `)*)`),
		"t":  whole(`[0-9]+`),
		"x":  whole(`[0-9]+`),
	}
)

// grammatical is nil for a field that a verifier must take seriously. All else is
// PERMFAIL: "implementers MUST meticulously validate the format and values in the
// DKIM-Signature header field" (RFC 6376 section 6.1.1).
func grammatical(field string) error {
	_, value, _ := strings.Cut(field, ":")
	specs := strings.Split(value, ";")
	if n := len(specs); n > 1 && strings.Trim(specs[n-1], " \t\r\n") == "" {
		specs = specs[:n-1]
	}
	tags := map[string]string{}
	for _, spec := range specs {
		left, right, ok := strings.Cut(spec, "=")
		name := tagName.FindStringSubmatch(left)
		switch {
		case !ok || name == nil:
			return fmt.Errorf("%q is no tag", spec)
		case !tagValue.MatchString(right) || !utf8.ValidString(right):
			return fmt.Errorf("%q is no value", right)
		}
		if _, twice := tags[name[1]]; twice {
			return fmt.Errorf("%s= twice", name[1])
		}
		v := trim.FindStringSubmatch(right)[1]
		tags[name[1]] = v
		if form := tagForms[name[1]]; form != nil && !form.MatchString(v) {
			return fmt.Errorf("%s=%q", name[1], v)
		}
	}
	for _, name := range []string{"v", "a", "b", "bh", "d", "h", "s"} {
		if _, ok := tags[name]; !ok {
			return fmt.Errorf("no %s=", name)
		}
	}
	return meaningful(tags)
}

// meaningful checks what the ABNF cannot say.
func meaningful(tags map[string]string) error {
	for _, name := range []string{"b", "bh"} {
		// RFC 4648 section 3.5: pad bits are zero, and decoders may insist.
		if _, err := base64.StdEncoding.Strict().DecodeString(unspaced(tags[name])); err != nil {
			return fmt.Errorf("%s=: %w", name, err)
		}
	}
	from := false
	for name := range strings.SplitSeq(tags["h"], ":") {
		from = from || strings.EqualFold(strings.TrimSpace(name), "From")
	}
	if !from {
		return errors.New("From is not signed") // section 5.4
	}
	d := strings.ToLower(tags["d"])
	if i, ok := tags["i"]; ok {
		i = strings.ToLower(i[strings.LastIndexByte(i, '@')+1:])
		ascii := !strings.ContainsFunc(i+d, func(c rune) bool { return c > 0x7f })
		if ascii && i != d && !strings.HasSuffix(i, "."+d) {
			return errors.New("i= is not within d=") // section 3.5
		}
	}
	if q, ok := tags["q"]; ok {
		known := false
		for m := range strings.SplitSeq(q, ":") {
			known = known || strings.EqualFold(strings.TrimSpace(m), "dns/txt")
		}
		if !known {
			return errors.New("q= without dns/txt") // section 3.5
		}
	}
	if len(tags["s"])+len("._domainkey.")+len(d) > 253 {
		return errors.New("s= and d= are no name together")
	}
	t, isT := tags["t"]
	x, isX := tags["x"]
	if isT && isX && !later(x, t) {
		return errors.New("x= is not later than t=") // section 3.5
	}
	return nil
}

// later compares numbers of any length; those over 12 digits are all the same.
func later(a, b string) bool {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) > 12 {
		a = "inf"
	}
	if len(b) > 12 {
		return false
	}
	return a == "inf" || len(a) > len(b) || len(a) == len(b) && a > b
}

// grammaticalRecord is nil for a key record as RFC 6376 section 3.6.1 has it. All
// else MUST be ignored: section 6.1.2 step 4.
func grammaticalRecord(text string) error {
	specs := strings.Split(text, ";")
	if n := len(specs); n > 1 && strings.Trim(specs[n-1], " \t\r\n") == "" {
		specs = specs[:n-1]
	}
	seen := map[string]bool{}
	for i, spec := range specs {
		left, right, ok := strings.Cut(spec, "=")
		name := tagName.FindStringSubmatch(left)
		if !ok || name == nil || !tagValue.MatchString(right) || !utf8.ValidString(right) {
			return fmt.Errorf("%q is no tag", spec)
		}
		if seen[name[1]] {
			return fmt.Errorf("%s= twice", name[1])
		}
		seen[name[1]] = true
		v := trim.FindStringSubmatch(right)[1]
		if name[1] == "v" && i > 0 {
			return errors.New("v= is not first")
		}
		if form := recordForms[name[1]]; form != nil && !form.MatchString(v) {
			return fmt.Errorf("%s=%q", name[1], v)
		}
	}
	if !seen["p"] {
		return errors.New("no p=")
	}
	return nil
}

var recordForms = map[string]*regexp.Regexp{
	"v": whole(`DKIM1`),
	"k": whole(word),
	"h": whole(word + `(?:` + fws + `:` + fws + word + `)*`),
	"s": whole(`(?:\*|` + word + `)(?:` + fws + `:` + fws + `(?:\*|` + word + `))*`),
	"t": whole(word + `(?:` + fws + `:` + fws + word + `)*`),
	"p": whole(`(?:` + base64s + `)?`),
}
