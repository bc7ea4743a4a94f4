package harness

import (
	"testing"

	"dkimd/internal/resolver/dnstest"
)

// StartDNS starts a DNS server whose whole world is what the test puts there.
func StartDNS(t *testing.T) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
