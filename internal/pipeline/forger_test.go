package pipeline_test

import (
	"strings"
	"testing"
)

// A sender with a domain of his own, for which SPF and DMARC pass, writes From so that a reader may take gmail.com, whose policy is
// reject, for the author's domain. None of it gets past a rule on mail that fails DMARC.
func TestForgersDoNotPassDMARC(t *testing.T) {
	t.Parallel()
	tests := []string{
		"<joe@gmail.com>, <x@attacker.example>", ",x@attacker.example,joe@gmail.com", "joe@gmail.com,", "joe@gmail.com;x@attacker.example",
		"gmail: joe@gmail.com;", "g: joe@gmail.com, x@attacker.example;", "g: x@attacker.example; joe@gmail.com",
		"joe@gmail.com.", "joe@gmail.com..", "joe@GMAIL.COM", "joe@ gmail.com", "joe@gmail\r\n .com", "joe@gma\r\n il.com", "joe@.gmail.com",
		"joe@gmail.com (x@attacker.example)", strings.Repeat("(", 200) + "x@attacker.example" + strings.Repeat(")", 200) + " joe@gmail.com",
		"joe@gmail.com <x@attacker.example>", "<x@attacker.example> <joe@gmail.com>", "<joe@gmail.com> x@attacker.example", "joe@gmail.com>", "<joe@gmail.com",
		"<@attacker.example:joe@gmail.com>", "<@gmail.com:x@attacker.example>", "joe@attacker.example@gmail.com", "joe@gmail.com@attacker.example",
		"joe@gmail.com%attacker.example", `"joe@gmail.com"@attacker.example`, `"joe@gmail.com\" <x@attacker.example>`, `joe\@gmail.com <x@attacker.example>`,
		"joe@gmail.com\x00", "joe@gmail.com\x00.attacker.example", "joe@gmail.com\x0b<x@attacker.example>", "joe@gmail.com\xff", "joe@[gmail.com]", "@gmail.com", `""@gmail.com`,
		"joe@gmail\u3002com", "joe@gmail\uff0ecom", "joe@\uff47mail.com", "joe@gm\u00adail.com", "joe@gm\u200bail.com", "=?utf-8?q?joe=40gmail.com?=",
		"joe@nowhere.gmail.com", "joe@" + strings.Repeat("a.", 110) + "gmail.com", "joe@" + strings.Repeat("a.", 150) + "gmail.com", "joe@" + strings.Repeat("a", 64) + ".gmail.com",
	}
	heads := [][]string{{"FROM: x@attacker.example", "from: joe@gmail.com"}, {"From : joe@gmail.com"}, {"From: x@attacker.example", "From : joe@gmail.com"}, {"From\t: joe@gmail.com", "From: x@attacker.example"}}
	for _, written := range tests {
		heads = append(heads, []string{"From: " + written})
	}
	for _, head := range heads {
		w := newWorld(t)
		w.config.SPF = true
		w.rules["_default.toml"] = quarantineRule
		w.answer("attacker.example: v=spf1 ip4:" + outside + " -all\n_dmarc.attacker.example: v=DMARC1; p=none\n_dmarc.gmail.com: v=DMARC1; p=reject")
		m := from(outside)
		m.head = head
		m.env.Sender = "x@attacker.example"
		if out, e := w.run(w.pipeline(), m); out.Action.String() != "quarantine" || e.SPF.Result != "pass" {
			t.Errorf("%q: %s, SPF %s, DMARC %+v", head, out.Action, e.SPF.Result, e.DMARC)
		}
	}
}
