package importer

import (
	"fmt"
	"strings"
)

// rule is one of rules/_default.toml.
type rule struct {
	name, result, action string
}

// action is what OpenDKIM does, of which the first letter counts; empty: it has no such action.
func action(value string) string {
	for _, a := range []string{"accept", "discard", "quarantine", "reject", "tempfail"} {
		if value != "" && strings.HasPrefix(a, strings.ToLower(value[:1])) {
			return a
		}
	}
	return ""
}

// noteAction reads one of On-*.
func (o *opendkim) noteAction(s setting) {
	does := action(s.value)
	if does == "" {
		o.missed(s, "want accept, discard, quarantine, reject or tempfail")
		return
	}
	switch s.name {
	case "On-Default":
		o.near(s, "each kind of result has a rule of its own in rules/_default.toml")
	case "On-SignatureError":
		o.onError(s, does)
	case "On-InternalError", "On-Security":
		if does == "tempfail" {
			o.same(s, "dkimd defers mail on a fault of its own where a rule could stop it")
			return
		}
		o.near(s, "on a fault of its own dkimd defers mail that a rule could stop, and accepts the rest")
	case "On-DNSError":
		o.onDNS(s, does)
	case "On-KeyNotFound":
		o.near(s, o.says(does)+"; it holds for every signature that can never verify")
	default:
		o.same(s, o.says(does))
	}
}

func (o *opendkim) says(does string) string {
	if does == "accept" {
		return "without a rule mail is accepted"
	}
	return "a rule of rules/_default.toml: " + does
}

func (o *opendkim) onError(s setting, does string) {
	if does == "accept" {
		o.plan.config.set("sign", "on_error", "unsigned", why(s))
		o.same(s, "[sign] on_error")
		return
	}
	o.plan.config.set("sign", "on_error", "tempfail", why(s))
	if does == "tempfail" {
		o.same(s, "[sign] on_error")
		return
	}
	o.near(s, "[sign] on_error = \"tempfail\": the mail waits until the key is mended")
}

func (o *opendkim) onDNS(s setting, does string) {
	switch does {
	case "tempfail", "accept":
		o.same(s, o.says(does))
	default:
		o.near(s, "a lookup that failed can defer mail, and not more: tempfail")
	}
}

// writeRules makes rules of On-*.
func (o *opendkim) writeRules() {
	if !o.verifies() {
		return
	}
	does := func(name string) string {
		for _, one := range []string{name, "On-Default"} {
			if s, set := o.set[strings.ToLower(one)]; set {
				return action(s.value)
			}
		}
		return ""
	}
	for _, r := range []rule{
		{"On-BadSignature", "fail", does("On-BadSignature")},
		{"On-KeyNotFound", "permerror", does("On-KeyNotFound")},
		{"On-DNSError", "temperror", does("On-DNSError")},
		{"On-NoSignature", "none", does("On-NoSignature")},
	} {
		if r.result == "temperror" && r.action != "accept" && r.action != "" {
			r.action = "tempfail"
		}
		if r.action != "" && r.action != "accept" {
			o.rules = append(o.rules, r)
		}
	}
	if len(o.rules) == 0 {
		return
	}
	var b strings.Builder
	b.WriteString("# Made by dkimd import opendkim from On-* of " + o.plan.From + ".\nmode = \"enforce\"\n")
	for _, r := range o.rules {
		fmt.Fprintf(&b, "\n[[rule]]\nname = %q\nresult = [%q]\naligned = \"any\"\naction = %q\n", r.name, r.result, r.action)
	}
	o.plan.files = append(o.plan.files, file{"rules/_default.toml", []byte(b.String())})
}

// verifies reports whether Mode has OpenDKIM verify.
func (o *opendkim) verifies() bool {
	mode, set := o.set["mode"]
	return !set || strings.Contains(mode.value, "v")
}
