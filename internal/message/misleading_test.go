package message_test

import (
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/message"
)

func TestMisleading(t *testing.T) {
	t.Parallel()
	tests := map[string]domain.Name{
		`"boss@gmail.com" <x@evil.example>`: "gmail.com", `"Boss <boss@gmail.com>" <x@evil.example>`: "gmail.com",
		`boss@gmail.com <x@evil.example>`:                              "", // claimed, and judged by gmail.com's rules
		`"boss@bank.example" <x@evil.example>`:                         "bank.example",
		`"gmail.com" <x@evil.example>`:                                 "gmail.com",
		`GMail.com Security <x@evil.example>`:                          "gmail.com",
		`"https://www.gmail.com/login" <x@evil.example>`:               "www.gmail.com",
		`x@evil.example (Boss boss@gmail.com)`:                         "gmail.com",
		`Boss (gmail.com) <x@evil.example>`:                            "gmail.com",
		`=?utf-8?q?boss=40gmail=2Ecom?= <x@evil.example>`:              "gmail.com",
		`=?utf-8?b?Ym9zc0BnbWFpbC5jb20=?= <x@evil.example>`:            "gmail.com",
		`"=?utf-8?q?boss=40gmail=2Ecom?=" <x@evil.example>`:            "gmail.com",
		`(=?utf-8?q?boss=40gmail=2Ecom?=) <x@evil.example>`:            "gmail.com",
		`=?utf-8?q?boss=40gm?= =?utf-8?q?ail=2Ecom?= <x@evil.example>`: "gmail.com",
		`=?utf-7?q?boss+AEA-gmail.com?= <x@evil.example>`:              "gmail.com",
		`=?iso-2022-jp?Q?boss=40gm=1B=28Bail.com?= <x@evil.example>`:   "gmail.com",
		`=?cp037?B?g4WWfIeUgYmTS4OWlA==?= <x@evil.example>`:            "gmail.com",
		"\"boss\uff20gmail\uff0ecom\" <x@evil.example>":                "gmail.com",
		"\"boss@gm\u200bail.com\" <x@evil.example>":                    "gmail.com",
		"\"\u53d1\u4ef6\u4ebagmail.com\u901a\u77e5\" <x@evil.example>": "gmail.com",
		"\"(boss@gmail.com)\r\n boss\" <x@evil.example>":               "gmail.com",
		`"a" <x@evil.example>, "boss@gmail.com" <y@evil.example>`:      "gmail.com",
		`"'jane@gmail.com' via List" <list@lists.example>`:             "gmail.com",
		`"b\"oss@g\mail.com" <x@evil.example>`:                         "gmail.com",
		`"boss@gmail.com." <x@evil.example>`:                           "gmail.com",
		`"boss@mail.gmail.com" <x@gmail.com.evil.example>`:             "mail.gmail.com",
		`Amazon.de <x@amazon.com>`:                                     "amazon.de",
		`"HP.com" <x@evil.example>`:                                    "hp.com",
		`"b` + "\u00fc" + `cher.de" <x@evil.example>`:                  "xn--bcher-kva.de",
		// No false alarms.
		`"J. Smith, Inc." <x@example.org>`: "", `Node.js Weekly <x@example.org>`: "", `Booking.com <x@booking.com>`: "", `"Booking.com" <x@mail.booking.com>`: "",
		`"x@example.org" <x@example.org>`: "", `"x@mail.example.org" <x@lists.example.org>`: "", `Dr.No <x@example.org>`: "", `"Foo Co.Ltd" <x@example.org>`: "",
		`wei.wang <wei.wang@example.org>`: "", `"anna.li@example.org" <anna.li@example.org>`: "", `"U.S. Bank" <x@example.org>`: "", `Max.Mustermann <m@example.org>`: "",
		`"Jane (via List)" <list@example.org>`: "", `A via example.org <a@lists.example.org>`: "", `John @ Acme Corp. Ltd <x@example.org>`: "",
		`x@example.org`: "", `<x@example.org>`: "", `"" <x@example.org>`: "", ``: "", `S.p.A. Rossi <x@example.org>`: "", `v1.2.3 <x@example.org>`: "", `"3.50 EUR" <x@example.org>`: "",
		`"b` + "\u00fc" + `cher.de" <x@xn--bcher-kva.de>`: "", `"192.0.2.1" <x@example.org>`: "", `Team: x@example.org, y@example.org;`: "", `"Ph.D. e.V." <x@example.org>`: "",
	}
	for from, want := range tests {
		h := header("From: " + from)
		if got := message.Misleading(h, message.ReadFrom(h)); got != want {
			t.Errorf("%q: %q, want %q", from, got, want)
		}
	}
}
