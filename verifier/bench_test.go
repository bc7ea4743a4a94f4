package verifier_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/dmarc"
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

// Lookup, LookupCached and Reverse make the fake an spf.DNS.
func (d *fakeDNS) Lookup(_ context.Context, name string, _ resolver.Type) (resolver.Answer, error) {
	return d.answer(name)
}

func (d *fakeDNS) LookupCached(name string, _ resolver.Type) (resolver.Answer, error, bool) { //nolint:revive // as the interface has it
	return d.Cached(name)
}

func (d *fakeDNS) Reverse(context.Context, netip.Addr) (resolver.Answer, error) {
	return resolver.Answer{}, resolver.ErrNotExist
}

// policies are messages of 4 KiB with one RSA signature, from Begin to their Authentication-Results, without and with SPF
// and DMARC, all of it in the cache.
func policies(tb testing.TB) (without, with func()) {
	tb.Helper()
	w := newWorld()
	w.body = strings.Repeat("Hello Bob, how are you?\r\n", 160)
	w.signAll()
	w.dns.records["_dmarc.example.org"] = []string{"v=DMARC1; p=reject; rua=mailto:dmarc@example.org"}
	w.dns.records["example.org"] = []string{"v=spf1 include:_spf.example.net ip4:192.0.2.0/24 ~all"}
	w.dns.records["_spf.example.net"] = []string{"v=spf1" + strings.Repeat(" ip4:198.51.100.0/24", 10) + " ~all"}
	w.config.SPF = w.dns
	v, err := verifier.New(w.config)
	if err != nil {
		tb.Fatal(err)
	}
	header, body := build(w.header), []byte(w.body)
	from := message.ReadFrom(header)
	verify := func(request verifier.Request) *verifier.Report {
		running := v.Begin(tb.Context(), request)
		_, _ = running.Write(body)
		report := running.Finish(tb.Context())
		if report.Results[0].Status != verifier.Pass {
			tb.Fatal(report)
		}
		verifier.AuthenticationResults(authserv, report)
		w.dns.asked = w.dns.asked[:0]
		return report
	}
	without = func() { verify(verifier.Request{Header: header, From: from}) }
	with = func() {
		check := v.BeginSPF(spf.Request{Client: netip.MustParseAddr("192.0.2.1"), HELO: "mx.example.org", Sender: "joe@example.org"}, nil)
		report := verify(verifier.Request{Header: header, From: from, DMARC: true, SPF: check})
		if report.SPF.Result != spf.Pass || report.DMARC.Result != dmarc.Pass {
			tb.Fatal(report)
		}
	}
	return without, with
}

func BenchmarkVerifyPolicies(b *testing.B) {
	without, with := policies(b)
	for name, verify := range map[string]func(){"signature": without, "and SPF and DMARC": with} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verify()
			}
		})
	}
}

// BenchmarkPolicies is how many times the processor time of a message SPF and DMARC make it: the least of both, by turns.
func BenchmarkPolicies(b *testing.B) {
	without, with := policies(b)
	least := [2]time.Duration{time.Hour, time.Hour}
	for b.Loop() {
		for i, verify := range []func(){without, with} {
			least[i] = min(least[i], cputime.OfProcess(func() {
				for range 50 {
					verify()
				}
			}))
		}
	}
	b.ReportMetric(float64(least[1])/float64(least[0]), "times")
	b.ReportMetric(float64(least[0])/50, "cpu-ns/message")
}
