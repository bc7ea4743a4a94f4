package verifier_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/internal/spf"
	"dkimd/verifier"
)

// BenchmarkVerify is one message of 20 KiB from Begin to its Authentication-Results, with its key in the cache.
func BenchmarkVerify(b *testing.B) {
	w := newWorld()
	w.body = strings.Repeat("Hello Bob, how are you?\r\n", 800)
	w.signAll()
	v, err := verifier.New(w.config)
	if err != nil {
		b.Fatal(err)
	}
	header := build(w.header)
	request := verifier.Request{Header: header, From: message.ReadFrom(header)}
	body := []byte(w.body)
	b.ReportAllocs()
	for b.Loop() {
		running := v.Begin(b.Context(), request)
		_, _ = running.Write(body)
		report := running.Finish(b.Context())
		if report.Results[0].Status != verifier.Pass {
			b.Fatal(report.Results[0].Reason())
		}
		verifier.AuthenticationResults(authserv, report)
		w.dns.asked = w.dns.asked[:0]
	}
}

// Lookup and Reverse make the fake an spf.DNS.
func (d *fakeDNS) Lookup(_ context.Context, name string, _ resolver.Type) (resolver.Answer, error) {
	return d.answer(name)
}

func (d *fakeDNS) Reverse(context.Context, netip.Addr) (resolver.Answer, error) {
	return resolver.Answer{}, resolver.ErrNotExist
}

// BenchmarkVerifyPolicies is a message of 4 KiB with one RSA signature, without and with SPF and DMARC, all of it in the cache.
func BenchmarkVerifyPolicies(b *testing.B) {
	for _, policies := range []bool{false, true} {
		b.Run(map[bool]string{false: "signature", true: "and SPF and DMARC"}[policies], func(b *testing.B) {
			w := newWorld()
			w.body = strings.Repeat("Hello Bob, how are you?\r\n", 160)
			w.signAll()
			w.dns.records["_dmarc.example.org"] = []string{"v=DMARC1; p=reject; rua=mailto:dmarc@example.org"}
			w.dns.records["example.org"] = []string{"v=spf1 include:_spf.example.net ip4:192.0.2.0/24 ~all"}
			w.dns.records["_spf.example.net"] = []string{"v=spf1" + strings.Repeat(" ip4:198.51.100.0/24", 10) + " ~all"}
			w.config.SPF = w.dns
			v, err := verifier.New(w.config)
			if err != nil {
				b.Fatal(err)
			}
			header := build(w.header)
			request := verifier.Request{Header: header, From: message.ReadFrom(header), DMARC: policies}
			body := []byte(w.body)
			b.ReportAllocs()
			for b.Loop() {
				if policies {
					request.SPF = v.BeginSPF(spf.Request{Client: netip.MustParseAddr("192.0.2.1"), HELO: "mx.example.org", Sender: "joe@example.org"})
				}
				running := v.Begin(b.Context(), request)
				_, _ = running.Write(body)
				report := running.Finish(b.Context())
				if report.Results[0].Status != verifier.Pass || policies && report.SPF.Result != spf.Pass {
					b.Fatal(report)
				}
				verifier.AuthenticationResults(authserv, report)
				w.dns.asked = w.dns.asked[:0]
			}
		})
	}
}
