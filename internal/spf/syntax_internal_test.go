package spf

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

const (
	macro      = `%(?:[%_-]|\{[slodiphv](?:0*[1-9][0-9]*)?r?[-.+,/_=]*\})`
	macroText  = `(?:` + macro + `|[!-$&-~])*`
	topLabel   = `(?:[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])`
	domainSpec = macroText + `(?:\.` + topLabel + `\.?|` + macro + `)`
	cidr4      = `/(?:[12]?[0-9]|3[0-2])`
	cidr6      = `/(?:[1-9]?[0-9]|1[01][0-9]|12[0-8])`
	dualCIDR   = `(?:` + cidr4 + `)?(?:/` + cidr6 + `)?`
)

// TestGrammar: terms are read as regular expressions made after RFC 7208 section 12 read them.
func TestGrammar(t *testing.T) {
	t.Parallel()
	mechanism := regexp.MustCompile(`^(?:include:` + domainSpec + `|(?:a|mx)(?::` + domainSpec + `)?` + dualCIDR + `|ptr(?::` + domainSpec + `)?|exists:` + domainSpec + `)$`)
	name := regexp.MustCompile(`^` + domainSpec + `$`)
	unknown := regexp.MustCompile(`^[a-z][a-z0-9_.-]*=` + strings.ReplaceAll(macroText, "slodiphv", "slodiphvcrt") + `$`)
	heads := strings.Fields("a a: mx mx: ptr: include: exists: ab: x= x1_.-= 1=")
	tokens := strings.Fields("a b 1 0 - . . .b .com %{d} %{c} %{ } d r % %% %_ %- / / // 24 /32 /33 //64 //128 //129 /01 00 {s01r-/} {i0} : = _ + ! ~ \x7f ä \x01")
	random, seen := rand.New(rand.NewPCG(7208, 12)), map[string]int{}
	for range 300_000 {
		var b strings.Builder
		for range random.IntN(8) {
			b.WriteString(tokens[random.IntN(len(tokens))])
		}
		spec := b.String()
		term := heads[random.IntN(len(heads))] + spec
		for _, c := range []struct {
			what      string
			got, want bool
		}{
			{"mechanism", isMechanism(term), mechanism.MatchString(term) && strings.ContainsAny(term, ":/")},
			{"domain-spec", isDomainSpec(spec), name.MatchString(spec)},
			{"unknown modifier", isUnknownModifier(term), unknown.MatchString(term)},
		} {
			if c.got != c.want {
				t.Fatalf("%q is a %s: %t; want %t", term, c.what, c.got, c.want)
			}
			if c.want {
				seen[c.what]++
			}
		}
	}
	for what, n := range seen {
		if n < 1000 {
			t.Errorf("only %d times a %s", n, what)
		}
	}
	if len(seen) != 3 {
		t.Errorf("only %v", seen)
	}
}
