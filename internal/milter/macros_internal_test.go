package milter

import (
	"strings"
	"testing"

	"dkimd/internal/message"
)

func TestMacros(t *testing.T) {
	t.Parallel()
	var m macros
	tell := func(payload string) {
		t.Helper()
		if !m.define([]byte(payload)) {
			t.Fatalf("%q was refused", payload)
		}
	}
	want := func(id macro, value string) {
		t.Helper()
		if got := m.lookup(id); got != value {
			t.Errorf("macro %d is %q, want %q", id, got, value)
		}
	}
	tell("Cj\x00mx\x00{daemon_name}\x00smtpd\x00v\x00Postfix\x00")
	m.startConnection()
	tell("M{auth_type}\x00PLAIN\x00{auth_authen}\x00user\x00i\x00A\x00")
	m.startMessage()
	want(macroAuthType, "PLAIN")
	want(macroQueueID, "A")
	tell("R{i}\x00B\x00")
	want(macroQueueID, "B") // the latest stage, in its long form
	tell("R{rcpt_addr}\x00x\x00")
	want(macroQueueID, "A") // a stage is replaced as a whole
	tell("Ei\x00C\x00")
	want(macroQueueID, "C")
	want(macroAuthUser, "user") // told long before
	m.startMessage()            // one that was not announced by macros of its own
	want(macroAuthUser, "")
	want(macroQueueID, "")
	want(macroMTA, "mx") // of the connection
	tell("Mdaemon_name\x00other\x00")
	want(macroDaemonName, "other")
	m.startMessage()
	tell("Mi\x00" + strings.Repeat("x", maxMacro+1) + "\x00")
	want(macroQueueID, "")
	// A connect without macros is another client's.
	m.startConnection()
	want(macroMTA, "")
	// The macros of HELO go when HELO comes again.
	tell("H{auth_type}\x00X\x00")
	tell("H")
	want(macroAuthType, "")
}

// A certificate is believed only where the MTA says, or by its kind means, that it has verified it.
func TestCertificates(t *testing.T) {
	t.Parallel()
	relay := message.Certificate{Subject: "Relay 1", Issuer: "Our CA"}
	for name, test := range map[string]struct {
		told string
		want message.Certificate
	}{
		"Postfix, trusted":                 {"{cert_subject}\x00Relay 1\x00{cert_issuer}\x00Our CA\x00", relay},
		"Postfix, none that it trusts":     {"", message.Certificate{}},
		"Sendmail, verified":               {"{verify}\x00OK\x00{cert_subject}\x00/O=x/CN=Relay+201\x00{cn_subject}\x00Relay+201\x00{cn_issuer}\x00Our+20CA\x00", relay},
		"Sendmail, not verified":           {"{verify}\x00FAIL\x00{cert_subject}\x00/CN=Relay+201\x00{cn_subject}\x00Relay+201\x00{cn_issuer}\x00Our+20CA\x00", message.Certificate{}},
		"Sendmail, none":                   {"{verify}\x00NO\x00", message.Certificate{}},
		"Sendmail, silent about its worth": {"{cert_subject}\x00/CN=Relay+201\x00{cn_subject}\x00Relay+201\x00{cn_issuer}\x00Our+20CA\x00", message.Certificate{}},
		"Sendmail, only what is verified":  {"{verify}\x00OK\x00{cert_subject}\x00Relay 1\x00{cert_issuer}\x00Our CA\x00", message.Certificate{}},
		"a plus that encodes nothing":      {"{verify}\x00OK\x00{cn_subject}\x00a+b+2\x00{cn_issuer}\x00+zz+\x00", message.Certificate{Subject: "a+b+2", Issuer: "+zz+"}},
	} {
		var m macros
		if !m.define([]byte("M" + test.told)) {
			t.Errorf("%s: not understood", name)
		}
		if got := m.certificate(); got != test.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
