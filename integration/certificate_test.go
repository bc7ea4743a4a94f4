//go:build integration

package integration_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// Mail of an outside client is signed where Postfix trusts its certificate and tls_clients lists it, and for no other reason.
func TestClientsWithCertificates(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{Sign: `tls_clients = ["Relay 1|Harness CA"]`})
	stranger, err := harness.NewAuthority("Harness CA")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		certificates []tls.Certificate
		ours         bool
		reason       string
	}{
		"listed and trusted":    {[]tls.Certificate{w.Postfix.Authority.Issue(t, "Relay 1")}, true, `certificate "Relay 1" of "Harness CA" is in sign.tls_clients`},
		"trusted, not listed":   {[]tls.Certificate{w.Postfix.Authority.Issue(t, "Relay 2")}, false, `certificate "Relay 2" of "Harness CA" is not in sign.tls_clients`},
		"of the same name only": {[]tls.Certificate{stranger.Issue(t, "Relay 1")}, false, "client 203.0.113.9 is not in sign.networks"},
		"without a certificate": {nil, false, "client 203.0.113.9 is not in sign.networks"},
	} {
		to := harness.Unique("certificate") + "@elsewhere.test"
		s := harness.Dial(t, w.Encrypted).As("relay.test", "203.0.113.9").Encrypt(test.certificates...)
		mail := harness.NewMail("alice@ours.test", name).Bytes()
		r := s.Send("alice@ours.test", to, mail)
		if r.Code != 250 {
			t.Fatalf("%s: %s", name, r)
		}
		record := w.Daemon.Stream.Wait(t, name, func(rec harness.Record) bool { return rec.ID == r.QueueID() })
		if (record.Mode == "sign") != test.ours || (record.ReasonCode == "certificate") != test.ours || !strings.Contains(record.Reason, test.reason) {
			t.Errorf("%s: %+v", name, record)
		}
		if strings.Contains(record.Reason, "tls_clients") == (name == "of the same name only" || name == "without a certificate") {
			t.Errorf("%s: reason %s", name, record.Reason)
		}
		if signed := len(harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "DKIM-Signature")); (signed > 0) != test.ours {
			t.Errorf("%s: %d signatures", name, signed)
		}
	}
}
