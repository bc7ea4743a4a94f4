package authrestest_test

import (
	"fmt"
	"strings"
	"testing"

	"dkimd/internal/authrestest"
)

// TestParse reads what RFC 8601 appendix B and section 2.2 show, and what stands at the edges of the grammar.
func TestParse(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"example.org; none":                     "example.org",
		"example.org 1; none":                   "example.org 1",
		`"example.org"; none`:                   "example.org",
		"a; spf=pass smtp.mailfrom=example.net": "a | spf=pass smtp.mailfrom=example.net",
		"example.com;\r\n\tdkim=pass (good signature) header.d=example.com":                   "example.com | dkim=pass header.d=example.com",
		"a (the (nested) one); dkim/1=fail reason=\"bad\r\n\tone \\\" x\"\r\n\theader.d=b.de": `a | dkim=fail reason=bad one " x header.d=b.de`,
		"a; x=pass; y=fail": "a | x=pass | y=fail",
		"foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462": "foo.example.net 1 | dkim=fail policy.expired=1362471462",
		"a; dkim=pass header.i=@b.example header.s=x_y":             "a | dkim=pass header.i=@b.example header.s=x_y",
		`a; dkim=pass header.i="@x_y.example"`:                      "a | dkim=pass header.i=@x_y.example",
		`a; dkim=pass header.i="a b"@c.example`:                     "a | dkim=pass header.i=a b@c.example",
		"a; dkim=pass header.i=a=b/c@d.example header.b=\"ab/+==\"": "a | dkim=pass header.i=a=b/c@d.example header.b=ab/+==",
	} {
		f, err := authrestest.Parse(value)
		parts := []string{strings.TrimRight(f.ID+" "+f.Version, " ")}
		for _, r := range f.Results {
			text := r.Method + "=" + r.Value
			if r.Reason != "" {
				text += " reason=" + r.Reason
			}
			for _, p := range r.Properties {
				text = fmt.Sprintf("%s %s.%s=%s", text, p.Type, p.Name, p.Value)
			}
			parts = append(parts, text)
		}
		got := strings.Join(parts, " | ")
		if err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", value, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"", ";", "a", "a;", "a; ", "a; dkim", "a; dkim=", "a; dkim=pass;", "a; =pass", "; dkim=pass", "a b; none", "a@b; none", "a/b; none",
		"a; none; dkim=pass", "a; dkim=pass none", "a; dkim=pass header", "a; dkim=pass header.d", "a; dkim=pass header.d=",
		"a; dkim=pass header.d=x header.i=@", "a; dkim=pass header.i=@x_y.example", "a; dkim=pass header.i=@localhost", "a; dkim=pass header.i=a@",
		"a; dkim=pass header.i=a@b@c.example", "a; dkim=pass header.i=.a@b.example", "a; dkim=pass header.i=a..b@c.example", "a; dkim=pass header.i=@-b.example",
		"a; dkim=pass header.i=@b.example.", "a; dkim=pass header.b=ab/c", "a; dkim=pass header.b=abc=", "a; dkim=pass header.s=a?b", "a; dkim=pass header.d=a,b",
		"a; dkim=pass header.d=\"a", "a; dkim=pass (a", "a; dkim=pass header.d=b\r\n", "a; dkim=pass\r\nheader.d=b", "a; dkim=pass\r\n\t\r\n\theader.d=b",
		"a; dkim=pass\nheader.d=b", "a; dkim=pass header.d=\xc3\xa9", "a; dkim=pass header.d=\"\x01\"", "a; dkim=pass header.d=b reason=x", "a; dk_im=pass",
		"a; dkim-=pass", "a; dkim=pass(x)header.d=\"b\"header.s=c",
	} {
		if f, err := authrestest.Parse(value); err == nil {
			t.Errorf("%q: read as %+v", value, f)
		}
	}
}
