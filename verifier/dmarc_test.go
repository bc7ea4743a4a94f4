package verifier_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/authrestest"
	"dkimd/internal/dmarc"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/internal/spf"
	"dkimd/verifier"
)

// What is not known of the policy is temperror, and whether a signature is aligned is open then too.
func TestVerifyTellsWhenThePolicyIsNotKnown(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"_dmarc.example.org": "temperror", "_dmarc.example.net": "absent"} {
		w := newWorld()
		w.request.DMARC = true
		w.dns.fail(name, errServFail)
		if report := w.verify(t); policyIn(report) != want || len(report.Walk()) == 0 {
			t.Errorf("%s: got %+v after %+v; want %s", name, report.DMARC, report.Walk(), want)
		}
	}
}

// A From that is longer than what is read may name another author: nobody passes then.
func TestVerifyPassesNoDMARCWhereFromIsCut(t *testing.T) {
	t.Parallel()
	for cut, want := range map[bool]dmarc.Result{false: dmarc.Pass, true: dmarc.PermError} {
		w := newWorld()
		w.add("example.org")
		w.request.DMARC, w.request.From.Incomplete = true, cut
		w.dns.records["_dmarc.example.org"] = []string{"v=DMARC1; p=reject"}
		if report := w.verify(t); report.DMARC.Result != want {
			t.Errorf("cut %t: got %+v; want %s", cut, report.DMARC, want)
		}
	}
}

// The policy of a message that no rule judges by it is waited for 5 s after its end, and else until the deadline of all lookups.
func TestVerifyWaitsLessForWhatIsOnlyRecorded(t *testing.T) {
	t.Parallel()
	for only, want := range map[bool]time.Duration{true: 7 * time.Second, false: 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.dns.slow = true
			w.dns.hold = func(ctx context.Context, name string) error {
				if strings.HasPrefix(name, "_dmarc.") {
					return afterward(time.Hour)(ctx, name)
				}
				return nil
			}
			w.request.DMARC, w.request.DMARCOnlyRecorded = true, only
			start := time.Now()
			running := w.begin(t)
			<-time.After(2 * time.Second) // the body
			report := running.Finish(t.Context())
			if took := time.Since(start); took != want || report.DMARC.Result != dmarc.TempError {
				t.Errorf("only recorded %t: %+v after %s; want it after %s", only, report.DMARC, took, want)
			}
		})
	}
}

// faultyDNS is DNS for SPF that panics, in the cache or beyond.
type faultyDNS struct {
	*fakeDNS
	known bool
}

func (d faultyDNS) LookupCached(string, resolver.Type) (resolver.Answer, error, bool) { //nolint:revive // as the interface has it
	if d.known {
		panic("no")
	}
	return resolver.Answer{}, nil, false
}

func (faultyDNS) Lookup(context.Context, string, resolver.Type) (resolver.Answer, error) {
	panic("no")
}

// SPF of what is cached is there at once, without a goroutine, which would ask DNS; a panic is temperror, and an alarm.
func TestSPFFromTheCache(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		dns  func(*fakeDNS) spf.CachedDNS
		want spf.Result
	}{
		"all of it is cached":    {func(d *fakeDNS) spf.CachedDNS { return cachedDNS{d} }, spf.Pass},
		"a panic in the cache":   {func(d *fakeDNS) spf.CachedDNS { return faultyDNS{d, true} }, spf.TempError},
		"a panic in the lookup":  {func(d *fakeDNS) spf.CachedDNS { return faultyDNS{d, false} }, spf.TempError},
		"nothing of it is there": {func(d *fakeDNS) spf.CachedDNS { d.slow = true; return d }, spf.Pass},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.dns.records["example.org"] = []string{"v=spf1 ip4:192.0.2.1 -all"}
			w.config.SPF = test.dns(w.dns)
			v, err := verifier.New(w.config)
			if err != nil {
				t.Fatal(err)
			}
			check := v.BeginSPF(spf.Request{Client: netip.MustParseAddr("192.0.2.1"), HELO: "mx.example.org", Sender: "joe@example.org"}, nil)
			report := v.Begin(t.Context(), verifier.Request{Header: &message.Header{}, SPF: check}).Finish(t.Context())
			if got := report.SPF; got.Result != test.want || got.Domain != "example.org" || report.LookupPanic != (test.want == spf.TempError) {
				t.Errorf("got %+v, panic %t; want %s", got, report.LookupPanic, test.want)
			}
		})
	}
}

// cachedDNS is DNS for SPF of which all is cached.
type cachedDNS struct{ *fakeDNS }

func (cachedDNS) Lookup(context.Context, string, resolver.Type) (resolver.Answer, error) {
	panic("DNS is asked")
}

// SPF and DMARC stand in front, in the words of RFC 8601 section 2.7.2 and RFC 9989 section 9.2, without comments, and strangers'
// text cannot end a value.
func TestAuthenticationResultsOfSPFAndDMARC(t *testing.T) {
	t.Parallel()
	tests := map[string]verifier.Report{
		"spf=pass smtp.mailfrom=a.example; dkim=none": {SPF: spf.Outcome{Result: spf.Pass, Domain: "a.example", Reason: "matched ip"}},
		"spf=softfail smtp.helo=mx.a.example; dmarc=fail header.from=b.example policy.dmarc=quarantine; dkim=none": {
			SPF: spf.Outcome{Result: spf.SoftFail, Domain: "mx.a.example", HELO: true}, DMARC: dmarc.Verdict{Result: dmarc.Fail, Author: "b.example", Policy: dmarc.PolicyQuarantine},
		},
		"dmarc=pass header.from=b.example; dkim=none":      {DMARC: dmarc.Verdict{Result: dmarc.Pass, Author: "b.example", Policy: dmarc.PolicyReject}},
		"dmarc=permerror; dkim=none":                       {DMARC: dmarc.Verdict{Result: dmarc.PermError, Reason: "x"}},
		`spf=none smtp.mailfrom="a?dmarc?pass"; dkim=none`: {SPF: spf.Outcome{Result: spf.None, Domain: "a;dmarc=pass"}},
		`spf=none smtp.helo="?192.0.2.1?"; dkim=none`:      {SPF: spf.Outcome{Result: spf.None, Domain: "[192.0.2.1]", HELO: true}},
		"spf=temperror smtp.mailfrom=a.example; dkim=none": {SPF: spf.Outcome{Result: spf.TempError, Domain: "a.example"}},
		"dmarc=temperror header.from=b.example; dkim=none": {DMARC: dmarc.Verdict{Result: dmarc.TempError, Author: "b.example"}},
		"dmarc=none header.from=b.example; dkim=none":      {DMARC: dmarc.Verdict{Result: dmarc.None, Author: "b.example"}},
	}
	for want, report := range tests {
		fields := verifier.AuthenticationResults("mx.example.net", &report)
		if _, err := authrestest.Parse(" " + fields[0]); err != nil || len(fields) != 1 {
			t.Errorf("%q: %v", fields, err)
		}
		_, got, _ := strings.Cut(strings.Join(strings.Fields(fields[0]), " "), "; ")
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
