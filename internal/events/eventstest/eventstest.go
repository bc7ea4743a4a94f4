// Package eventstest has records for tests: usual ones, and ones full of text that tries to forge.
package eventstest

import (
	"time"

	"dkimd/internal/events"
)

// Sample is a rejected message in a world where everything is filled in.
func Sample() *events.Event {
	return &events.Event{
		Time: time.Date(2026, 11, 23, 14, 0, 0, 123456000, time.UTC), ID: "4Xyz8q2Nk1z", MessageID: "<a.b@gmail.com>",
		Front: "milter", Mode: events.ModeVerify, Client: "203.0.113.9", Helo: "mail.example.net",
		Sender: "bounce@esp.example", From: []string{"alice@gmail.com"}, Recipients: 2, Bytes: 12345,
		Originator: events.Originator{
			Faults: []string{events.FromUnreadable, events.FromMultiple}, Domains: []string{"gmail.com", "esp.example"}, Sender: []string{"a.example"}, Shows: "bank.example",
		},
		RcptTo: []string{"bob@example.org", "joe@example.org"}, List: true,
		Signatures: []events.Signature{
			{
				Domain: "gmail.com", Selector: "s1", Algorithm: "rsa-sha256", Canonicalization: "relaxed/relaxed", Result: "fail",
				Reason: "body hash did not verify", KeyBits: 2048, SignatureBits: 2048, Aligned: "strict", Code: events.CodeBodyHash,
				Identity: "@gmail.com", Timestamp: 1700000000, Expiration: 1700600000, BodyLength: 5,
			},
			{
				Domain: "esp.example", Selector: "k", Algorithm: "ed25519-sha256", Canonicalization: "relaxed/simple", Result: "pass",
				KeyBits: 256, SignatureBits: 512, Testing: true, Aligned: "none", AlignedOpen: true, DNSSEC: true, Duplicates: []string{"Subject", "Content-Type"},
				Identity: "u@m.esp.example", Timestamp: -1, Expiration: -1, BodyLength: -1,
			},
		},
		Stripped: 1,
		Policy: []events.Decision{
			{File: "esp.example.toml", Rule: "try", Mode: "monitor", Action: "tempfail", Reply: "451 4.7.5 later"},
			{File: "gmail.com.toml", Rule: "gmail must be signed", Mode: "enforce", Action: "reject", Reply: "550 5.7.20 Come on, what's going on?"},
		},
		Verdict: "reject", DNS: 12345 * time.Microsecond, Total: 15 * time.Millisecond,
		Warnings: []string{"a line is longer than 998 octets"},
	}
}

// Signed is a message of ours.
func Signed() *events.Event {
	return &events.Event{
		Time: time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC), ID: "4Abc", Front: "milter", Mode: events.ModeSign,
		ReasonCode: "local", Reason: "submitted on this host",
		Client: "local", Auth: "bob", Sender: "bob@example.org", From: []string{"bob@example.org"}, Recipients: 1, Bytes: 10,
		Signed: []events.Signed{
			{Domain: "example.org", Selector: "r", Algorithm: "rsa-sha256"},
			{Domain: "example.org", Selector: "e", Algorithm: "ed25519-sha256"},
		},
		Verdict: "accept", Total: 2 * time.Millisecond,
	}
}

// Hostile are values that try to forge a line, a field or a terminal command.
func Hostile() map[string]string {
	long := make([]byte, 10<<10)
	for i := range long {
		long[i] = "a\r\n\x00\x1b\"\xff"[i%7]
	}
	return map[string]string{
		"line feed":       "a\n2026-11-23T14:00:00Z forged ACCEPT",
		"carriage return": "a\r2026-11-23 14:00:00 forged Completed",
		"CRLF":            "a\r\n{\"verdict\":\"accept\"}",
		"NUL":             "a\x00b",
		"escape":          "\x1b[2J\x1b]0;x\x07",
		"quotes":          `a" verdict="accept`,
		"backslash":       `a\`,
		"brackets":        "x) rule good.toml (y] [verification succeeded",
		"clause":          "x; rule good.toml accept",
		"line separator":  "a\u2028b\u2029c\u0085d",
		"bidirectional":   "a\u202eb\u2066c",
		"C1 control":      "a\u009b2Jb",
		"invalid UTF-8":   "a\xff\xfe\xc3b\xed\xa0\x80",
		"beyond the BMP":  "a\U000e0001\U0001f600b",
		"delete":          "a\x7fb",
		"10 KB":           string(long),
	}
}

// Poisoned has a value in every text that a stranger can influence.
func Poisoned(s string) *events.Event {
	e := Sample()
	e.ID, e.MessageID, e.Front, e.Mode, e.ReasonCode, e.Reason, e.Client, e.Helo, e.Auth, e.Sender = s, s, s, s, s, s, s, s, s, s
	e.Originator, e.RcptTo = events.Originator{Faults: []string{s}, Domains: []string{s, s}, Sender: []string{s}, Shows: s}, []string{s, s}
	e.From, e.Warnings, e.Error, e.Verdict = []string{s, s}, []string{s, s}, s, s
	e.Signatures = []events.Signature{{Domain: s, Selector: s, Algorithm: s, Canonicalization: s, Result: s, Reason: s, Aligned: s, Identity: s}}
	e.Signed = []events.Signed{{Domain: s, Selector: s, Algorithm: s}}
	e.SPF, e.DMARC = events.SPF{Result: "permerror", Domain: s, Reason: s}, events.DMARC{Result: "temperror", Reason: s}
	e.Policy = []events.Decision{{File: s, Rule: s, Mode: s, Action: s, Reply: s}, {File: s, Rule: s, Mode: "monitor", Action: s, Reply: s}}
	return e
}
