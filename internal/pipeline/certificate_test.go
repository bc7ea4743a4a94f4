package pipeline_test

import (
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/signer"
)

// A client is ours by the name of its certificate, and by that of its issuer where one is asked for. That is no
// login: user_match does not ask for it.
func TestClientsWithCertificates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.TLSClients = []string{"relay.example", "app|Our CA"}
	w.sign.UserMatch = signer.MatchDomain
	p := w.pipeline()
	for certificate, ours := range map[message.Certificate]bool{
		{Subject: "relay.example", Issuer: "Any CA"}:   true,
		{Subject: "relay.example"}:                     true,
		{Subject: "app", Issuer: "Our CA"}:             true,
		{Subject: "app", Issuer: "Another CA"}:         false,
		{Subject: "app"}:                               false,
		{Subject: "app|Our CA", Issuer: "Another CA"}:  false,
		{Subject: "Relay.example", Issuer: "Any CA"}:   false,
		{Subject: "x.relay.example", Issuer: "Any CA"}: false,
		{Issuer: "relay.example"}:                      false,
		{}:                                             false,
	} {
		m := from(outside)
		m.env.Certificate = certificate
		_, e := w.run(p, m)
		if (e.Mode == "sign") != ours || (e.ReasonCode == "certificate") != ours {
			t.Errorf("%+v: %s", certificate, text(e))
		}
		if certificate.Subject != "" && !strings.Contains(e.Reason, `"`+certificate.Subject+`"`) {
			t.Errorf("%+v: reason %s", certificate, e.Reason)
		}
	}
}
