package message_test

import (
	"testing"

	"dkimd/internal/message"
)

func TestNewClient(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"203.0.113.9": "203.0.113.9", "IPv6:2001:db8::1": "2001:db8::1", "::ffff:192.0.2.1": "192.0.2.1",
		"fe80::1%eth0": "fe80::1", "": "local", "unknown": "unreadable", "[::1]": "::1", "1.2.3": "unreadable",
	} {
		if got := message.NewClient("", in).String(); got != want {
			t.Errorf("NewClient(%q) = %q, want %q", in, got, want)
		}
	}
}
