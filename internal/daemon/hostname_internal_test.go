package daemon

import (
	"errors"
	"slices"
	"testing"
)

// A host whose name has no dot may have a longer one in /etc/hosts, which Exim calls itself by.
func TestNamesOfThisHost(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		name, answer string
		want         []string
	}{
		"/etc/hosts of Debian":   {"mx", "mx.example.org.", []string{"mx.example.org", "mx"}},
		"upper case":             {"MX", "Mx.Example.Org", []string{"mx.example.org", "mx"}},
		"a full name":            {"mx.example.org", "never.asked", []string{"mx.example.org"}},
		"no other name":          {"mx", "mx", []string{"mx"}},
		"no name server":         {"mx", "", []string{"mx"}},
		"another name":           {"mx", "localhost", []string{"mx", "localhost"}},
		"an answer like no host": {"mx", "mx.example.org; x", []string{"mx"}},
		"no name":                {"", "mx.example.org", nil},
	}
	for name, test := range tests {
		got := namesOf(test.name, func(host string) (string, error) {
			if host == "mx.example.org" {
				t.Error("a full name is looked up")
			}
			if test.answer == "" {
				return "", errors.New("no such host")
			}
			return test.answer, nil
		})
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := namesOf("mx", nil); !slices.Equal(got, []string{"mx"}) {
		t.Errorf("%q", got)
	}
}
