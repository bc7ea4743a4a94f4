package message_test

import (
	"testing"

	"dkimd/internal/message"
)

func TestDomain(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Example.ORG": "example.org", "example.org.": "example.org", " example.org ": "example.org",
		"BÜCHER.example": "xn--bcher-kva.example", "_dmarc.x.org": "_dmarc.x.org", "": "",
		"example.org..": "example.org", "bücher.example。。": "xn--bcher-kva.example", "..": "",
		"bücher。example": "xn--bcher-kva.example", "[192.0.2.1]": "[192.0.2.1]",
	} {
		if got := message.Domain(in); got != want {
			t.Errorf("Domain(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAligned(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"example.org", "example.org", true},
		{"a.example.org", "b.example.org", true},
		{"example.co.uk", "other.co.uk", false},
		{"co.uk", "co.uk", true},
		{"a.github.io", "b.github.io", false},
		{"org", "example.org", false},
		{"notexample.org", "example.org", false},
		{"", "", false},
		{"localhost", "localhost", true},
	} {
		if got := message.Aligned(tt.a, tt.b); got != tt.want {
			t.Errorf("Aligned(%q, %q) = %v", tt.a, tt.b, got)
		}
	}
}

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
