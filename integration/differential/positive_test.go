//go:build integration

package differential_test

import (
	"fmt"
	"testing"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/signer"
)

// TestWhatDkimdSignsVerifies: messages of every kind, signed under every
// configuration, pass everywhere.
func TestWhatDkimdSignsVerifies(t *testing.T) {
	t.Parallel()
	judges := allPeers(t)
	configs := 0
	for _, header := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
		for _, body := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
			for _, o := range []struct {
				name              string
				headers, oversign []string
				expiry            time.Duration
				selectors         []string
			}{
				{"as configured by default", nil, nil, 0, []string{"rsa", "ed"}},
				{"everything", []string{"From", "To", "Subject", "X-*", "List-*", "Received", "Comments", "Z"}, []string{"X-Odd", "Nothing"}, time.Hour, []string{"rsa2048"}},
				{"little", []string{"Subject"}, []string{}, 2 * time.Hour, []string{"ed", "rsa", "rsa2048"}},
			} {
				configs++
				r := newSource(fmt.Sprint("dkimd ", configs))
				s := newSigning(t, signer.Config{
					HeaderCanon: header, BodyCanon: body, Headers: o.headers, Oversign: o.oversign, Expiry: o.expiry, AlsoDomains: []domain.Name{"also.example.net"},
				}, map[string]string{
					"example.org": "", "also.example.net": "",
					"sub.example.com": "identity = \"Joe=b=x@a.sub.example.com\"\n", "xn--bcher-kva.example": "identity = \"@xn--bcher-kva.example\"\n",
				}, o.selectors...)
				for i := range times(60) {
					domain := r.of("example.org", "Example.ORG", "sub.example.com", "b\xc3\xbccher.example")
					d := r.draft(domain, i%3 == 1, i%4 == 3)
					judges.all(t, &sample{
						name:    fmt.Sprintf("dkimd %s/%s, %s, %d", header, body, o.name, i),
						raw:     append(s.sign(t, d.raw()), d.raw()...),
						records: standard("example.org", "also.example.net", "sub.example.com", "xn--bcher-kva.example"),
					}, pass)
				}
			}
		}
	}
	judges.report(t)
}
