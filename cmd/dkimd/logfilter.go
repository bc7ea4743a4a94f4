package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/policy"

	"github.com/spf13/pflag"
)

// logFilter is one flag of dkimd log that picks records; one of its values has to fit.
type logFilter struct {
	flag, usage string
	words       []string // what its values may be; nil: read says
	read        func(value string) (test func(*events.Event) bool, want string)
	values      []string
}

// logFilters are all of them.
func logFilters() []*logFilter {
	return []*logFilter{
		oneWord("verdict", events.Verdicts(), func(e *events.Event) []string { return []string{e.Verdict} }),
		oneWord("mode", []string{
			events.ModeSign, events.ModeUnsigned, events.ModeVerify, events.ModeTrusted, events.ModeSkipped, events.ModeAborted,
		}, func(e *events.Event) []string { return []string{e.Mode} }),
		oneWord("front", []string{string(message.Milter), string(message.Exim), string(message.CommandLine)}, func(e *events.Event) []string { return []string{e.Front} }),
		oneWord("result", []string{"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"}, resultsOf),
		oneWord("dmarc", []string{"none", "pass", "fail", "temperror", "permerror"}, func(e *events.Event) []string { return []string{e.DMARC.Result} }),
		someText("reason", "`code` or words of why it was signed or not", func(e *events.Event) []string { return []string{e.Why()} }),
		someText("rule", "`name` of a rule that had something to say, or a part of it", func(e *events.Event) []string {
			return each(e.Policy, func(d *events.Decision) string { return d.Rule })
		}),
		someText("file", "rules `file` that judged it, or a part of its name", func(e *events.Event) []string {
			return each(e.Policy, func(d *events.Decision) string { return d.File })
		}),
		someText("auth", "`login` name, or a part of it", func(e *events.Event) []string { return []string{e.Auth} }),
		addresses("from", "`address` in From", func(e *events.Event) []string { return e.From }),
		addresses("sender", "`address` of MAIL FROM", func(e *events.Event) []string { return []string{e.Sender} }),
		addresses("recipient-domain", "`domain` or address of RCPT TO", func(e *events.Event) []string { return e.RcptTo }),
		addresses("signer", "`domain` of a signature, checked or added", func(e *events.Event) []string {
			of := each(e.Signatures, func(s *events.Signature) string { return "@" + s.Domain })
			return append(of, each(e.Signed, func(s *events.Signed) string { return "@" + s.Domain })...)
		}),
		{flag: "client", usage: "`network` or address of the client, or local", read: readClient},
	}
}

func each[T any](list []T, text func(*T) string) []string {
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = text(&list[i])
	}
	return texts
}

// resultsOf are the results of a message's signatures; none: it was looked at, and has no signature.
func resultsOf(e *events.Event) []string {
	results := each(e.Signatures, func(s *events.Signature) string { return s.Result })
	if len(results) == 0 && (e.Mode == events.ModeVerify || e.Mode == events.ModeTrusted) {
		return []string{"none"}
	}
	return results
}

// oneWord fits a word of a closed set.
func oneWord(flag string, words []string, of func(*events.Event) []string) *logFilter {
	return &logFilter{flag: flag, usage: "`" + flag + "`: " + strings.Join(words, ", "), words: words, read: func(value string) (func(*events.Event) bool, string) {
		if !slices.Contains(words, value) {
			return nil, strings.Join(words, ", ")
		}
		return func(e *events.Event) bool { return slices.Contains(of(e), value) }, ""
	}}
}

// someText fits a part of a text, whatever its case.
func someText(flag, usage string, of func(*events.Event) []string) *logFilter {
	return &logFilter{flag: flag, usage: usage, read: func(value string) (func(*events.Event) bool, string) {
		if value == "" {
			return nil, "some text"
		}
		value = strings.ToLower(value)
		return func(e *events.Event) bool {
			return slices.ContainsFunc(of(e), func(text string) bool { return strings.Contains(strings.ToLower(text), value) })
		}, ""
	}}
}

// addresses fits what recipients in a rule do: an address, a domain, all below a domain.
func addresses(flag, usage string, of func(*events.Event) []string) *logFilter {
	return &logFilter{flag: flag, usage: usage, read: func(value string) (func(*events.Event) bool, string) {
		if value == "<>" {
			return func(e *events.Event) bool { return slices.Contains(of(e), "") }, ""
		}
		hint := ""
		set := policy.NewRecipients([]string{value}, func(_ int, h string) { hint = h })
		if hint != "" {
			return nil, `an address, a domain, or "*.example.com" for all below a domain`
		}
		return func(e *events.Event) bool { return slices.ContainsFunc(of(e), set.Has) }, ""
	}}
}

func readClient(value string) (func(*events.Event) bool, string) {
	if value == "local" || value == "unreadable" {
		return func(e *events.Event) bool { return e.Client == value }, ""
	}
	network, err := netip.ParsePrefix(value)
	if addr, single := netip.ParseAddr(value); single == nil {
		addr = addr.Unmap()
		network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return nil, "an address, a network like 192.0.2.0/24, or local"
	}
	return func(e *events.Event) bool {
		addr, err := netip.ParseAddr(e.Client)
		return err == nil && network.Contains(addr)
	}, ""
}

// add gives the command the flag.
func (f *logFilter) add(flags *pflag.FlagSet) { flags.StringArrayVar(&f.values, f.flag, nil, f.usage) }

// test is whether a record fits one of the values; nil: there are none.
func (f *logFilter) test() (func(*events.Event) bool, error) {
	var tests []func(*events.Event) bool
	for _, value := range f.values {
		test, want := f.read(value)
		if test == nil {
			return nil, usageError(fmt.Errorf("--%s: got %q; want %s", f.flag, value, want), "log --help")
		}
		tests = append(tests, test)
	}
	if tests == nil {
		return nil, nil //nolint:nilnil // no values, no test
	}
	return func(e *events.Event) bool {
		return slices.ContainsFunc(tests, func(test func(*events.Event) bool) bool { return test(e) })
	}, nil
}
