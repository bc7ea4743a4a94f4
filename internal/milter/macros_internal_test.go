package milter

import (
	"strings"
	"testing"
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
