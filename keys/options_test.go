package keys_test

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// A broken domain.toml must not let mail from below the domain out unsigned.
func TestBrokenOptionsKeepSubdomains(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]bool{
		"subdomains = true\nexpiry = \"soon\"": true,
		"  subdomains=true\n[":                 true,
		"#subdomains = true\n[":                false,
		"subdomains = false\n[":                false,
	} {
		w := newWorld(t)
		w.write("example.org/s1.pem", rfc8463PEM)
		w.write("example.org/domain.toml", content)
		s, _ := w.open()
		if got := lookup(s, "a.example.org") != nil; got != want {
			t.Errorf("%s: subdomain found: %v", strconv.Quote(content), got)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem", rfc8463PEM)
	w.write("example.org/domain.toml", "subdomains = true\nidentity = \"News@Lists.Example.org\"\nexpiry = \"0\"\nheaders = [\"From\", \"List-*\"]\nselectors = \"S1\"\nusers = [\"alice\"]\n")
	w.write("example.com/s1.pem", rfc8463PEM)
	s, _ := w.open()
	o := lookup(s, "example.org").Options
	if !o.Subdomains || o.Identity != "News@lists.example.org" || o.Expiry == nil || *o.Expiry != 0 ||
		strings.Join(o.Headers, " ") != "From List-*" || strings.Join(o.Selectors, " ") != "s1" || strings.Join(o.Users, " ") != "alice" {
		t.Errorf("options: %+v", o)
	}
	o = lookup(s, "example.com").Options
	if o.Subdomains || o.Identity != "" || o.Expiry != nil || o.Headers != nil || o.Selectors != nil || o.Users != nil {
		t.Errorf("options without domain.toml: %+v", o)
	}
	w.write("example.org/domain.toml", "expiry = \"7d\"")
	s, _ = w.open()
	if o := lookup(s, "example.org").Options; o.Expiry == nil || *o.Expiry != 7*24*time.Hour {
		t.Errorf("expiry: %v", o.Expiry)
	}
}
