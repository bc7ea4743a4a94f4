package advice_test

import (
	"strings"
	"testing"

	"dkimd/internal/advice"
	"dkimd/internal/eml"
)

func TestReadEnvelope(t *testing.T) {
	t.Parallel()
	const tail = " by mx.example.net (x) with ESMTPS id 1; Mon, 30 Nov 2026 12:00:00 +0000\n"
	const folded = "\n\tby mx.example.net (x) with ESMTPS id 1; Mon, 30 Nov 2026 12:00:00 +0000\n"
	tests := map[string]struct {
		header             string
		client, helo, from string
		known              bool
	}{
		"nothing":                     {"From: a@example.org\n", "invalid IP", "", "", false},
		"Postfix":                     {"Return-Path: <a@example.org>\nReceived: from h.example.org (r.example.org [192.0.2.1])\n\t(using TLSv1.3 with cipher X)\n\t(No client certificate requested)" + folded, "192.0.2.1", "h.example.org", "a@example.org", true},
		"Postfix, IPv6":               {"Received: from h.example.org (unknown [IPv6:2001:db8::1])" + folded, "2001:db8::1", "h.example.org", "", false},
		"Sendmail":                    {"Received: from h.example.org (r.example.org [192.0.2.1] (may be forged))" + folded, "192.0.2.1", "h.example.org", "", false},
		"Exim":                        {"Received: from r.example.org ([192.0.2.1] helo=h.example.org)" + folded, "192.0.2.1", "h.example.org", "", false},
		"Exim, HELO is the name":      {"Received: from r.example.org ([192.0.2.1]:4711)" + folded, "192.0.2.1", "r.example.org", "", false},
		"Exim without a name":         {"Received: from [192.0.2.1] (helo=h.example.org)" + folded, "192.0.2.1", "h.example.org", "", false},
		"Exim with port":              {"Received: from [192.0.2.1] (port=4711 helo=h.example.org)" + folded, "192.0.2.1", "h.example.org", "", false},
		"Exim, HELO is the address":   {"Received: from [192.0.2.1]" + folded, "192.0.2.1", "", "", false},
		"Gmail":                       {"Received: by 2002:a05:6a10:1 with SMTP id x; Mon, 30 Nov 2026 12:00:00 +0000\nReturn-Path: <a@example.org>\nReceived: from h.example.org (h.example.org. [192.0.2.1])\n        by mx.google.com with ESMTPS id x\n", "192.0.2.1", "h.example.org", "a@example.org", true},
		"hops of the house":           {"Received: from localhost (localhost [127.0.0.1])" + folded + "Received: from mx1 (mx1.lan [10.0.0.7])" + folded + "Received: from h.example.org (r.example.org [192.0.2.1])" + folded, "192.0.2.1", "h.example.org", "", false},
		"null sender":                 {"Return-Path: <>\nReceived: from h.example.org (r.example.org [192.0.2.1])" + tail, "192.0.2.1", "h.example.org", "", true},
		"Received-SPF":                {"Received-SPF: pass (x) receiver=mx; client-ip=192.0.2.9;\n envelope-from=\"a@example.org\"; helo=h\nReceived: from h.example.org (r.example.org [192.0.2.1])" + tail, "192.0.2.1", "h.example.org", "a@example.org", true},
		"Return-Path comes first":     {"Return-Path: <a@example.org>\nReturn-Path: <forged@example.com>\nReceived: from h.example.org (r [192.0.2.1])" + tail, "192.0.2.1", "h.example.org", "a@example.org", true},
		"below is the sender's":       {"Received: from h.example.org (r.example.org [192.0.2.1])" + tail + "Return-Path: <forged@example.com>\nReceived-SPF: pass envelope-from=forged@example.com\nReceived: from forged (f [198.51.100.1])" + tail, "192.0.2.1", "h.example.org", "", false},
		"unreadable is not passed by": {"Received: from x (y z [192.0.2.1])" + folded + "Received: from forged (f [198.51.100.1])" + tail, "invalid IP", "", "", false},
		"HELO like an address":        {"Received: from [198.51.100.1] (unknown [192.0.2.1])" + folded, "192.0.2.1", "[198.51.100.1]", "", false},
		"HELO like Exim":              {"Received: from [198.51.100.1] (helo=x (unknown [192.0.2.1])" + folded + "Received: from forged (f [198.51.100.1])" + tail, "invalid IP", "", "", false},
		"HELO with by":                {"Received: from x by y (unknown [192.0.2.1])" + folded, "invalid IP", "", "", false},
		"HELO after Exim's address":   {"Received: from r.example.org ([192.0.2.1] helo=x ([198.51.100.1])" + folded, "invalid IP", "", "", false},
		"HELO literal at Exim":        {"Received: from r.example.org ([192.0.2.1] helo=[198.51.100.1])" + folded, "192.0.2.1", "[198.51.100.1]", "", false},
		"qmail is not known":          {"Received: from unknown (HELO h) (192.0.2.1)" + folded, "invalid IP", "", "", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := advice.ReadEnvelope(eml.Split([]byte(strings.ReplaceAll(test.header+"\nbody\n", "\n", "\r\n"))).Header())
			if e.Client.String() != test.client || e.HELO != test.helo || e.Sender != test.from || e.SenderKnown != test.known {
				t.Errorf("got %+v, want %+v", e, test)
			}
			if e.Client.IsValid() != (e.ClientFrom != "") || e.SenderKnown != (e.SenderFrom != "") {
				t.Errorf("%+v does not tell where it is from", e)
			}
		})
	}
}
