package message_test

import (
	"slices"
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/message"
)

// TestNameWithAnAtSign: a name with "@" in it that should be in quotes leaves no doubt about the one
// address in angle brackets; what in the name may be a mail domain is claimed all the same.
func TestNameWithAnAtSign(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		from    string
		angle   domain.Name
		claimed []domain.Name
	}{
		"one label":                      {"John @ Acme <a@example.org>", "example.org", []domain.Name{"example.org"}},
		"one label, no space":            {"John@Acme <a@example.org>", "example.org", []domain.Name{"example.org"}},
		"a list's munging":               {"'a@example.com' via List <list@example.org>", "example.org", []domain.Name{"example.org"}},
		"an apostrophe within":           {"Joe @ Joe's.Diner <a@example.org>", "example.org", []domain.Name{"example.org"}},
		"a slash":                        {"sales@b2b/retail.example <a@example.org>", "example.org", []domain.Name{"example.org"}},
		"twice":                          {"Ann @ Work @ Home <a@example.org>", "example.org", []domain.Name{"example.org"}},
		"several words":                  {"Joe @ Acme Corp. Ltd <a@example.org>", "example.org", []domain.Name{"example.org"}},
		"a domain with a space":          {"ceo@gma il.com <a@example.org>", "example.org", []domain.Name{"example.org", "gmail.com"}},
		"an encoded address behind":      {"John @ Acme =?utf-8?q?ceo=40gmail=2Ecom?= <a@example.org>", "example.org", []domain.Name{"example.org", "gmail.com"}},
		"at the end":                     {"twitter @ <a@example.org>", "example.org", []domain.Name{"example.org"}},
		"at the beginning":               {"@joe <a@example.org>", "example.org", []domain.Name{"example.org"}},
		"a comment behind":               {"John @ Acme <a@example.org> (sales)", "example.org", []domain.Name{"example.org"}},
		"the address itself":             {"a@example.org <a@example.org>", "example.org", []domain.Name{"example.org"}},
		"another address":                {"sales@example.com <a@example.org>", "example.org", []domain.Name{"example.com", "example.org"}},
		"another domain, spaced":         {"Sales @ example.com <a@example.org>", "example.org", []domain.Name{"example.com", "example.org"}},
		"another behind an apostrophe":   {"'x@example.com' y@gmail.com <a@example.org>", "example.org", []domain.Name{"example.org", "gmail.com"}},
		"another glued to an apostrophe": {"x@example.com'@gmail.com <a@example.org>", "example.org", []domain.Name{"example.org", "gmail.com"}},
		"an encoded domain":              {"x@=?utf-8?q?gmail=2Ecom?= <a@example.org>", "example.org", []domain.Name{"example.org", "gmail.com"}},
		"a slash in a comment":           {"x@gmail.com(/) <a@example.org>", "example.org", []domain.Name{"example.org", "gmail.com"}},
		"a dot after a word":             {"Joe @ St. Mary <a@example.org>", "example.org", []domain.Name{"example.org"}},
		"two addresses in brackets":      {"x @ y <a@example.org> <b@gmail.com>", "", []domain.Name{"example.org", "gmail.com", "y"}},
		"a list":                         {"x @ y <a@example.org>, b@gmail.com", "", []domain.Name{"example.org", "gmail.com", "y"}},
		"text behind":                    {"x @ y <a@example.org> b@gmail.com", "", []domain.Name{"example.org", "gmail.com", "y"}},
		"a broken address":               {"'b@gmail.com' <a@example.org", "", []domain.Name{"example.org", "gmail.com", "gmail.com'"}},
		"well formed":                    {`"x@gmail.com" <a@example.org>`, "", []domain.Name{"example.org"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h message.Header
			h.Add("From", " "+test.from)
			o := message.ReadFrom(&h)
			slices.Sort(o.Claimed)
			if o.Angle != test.angle || !slices.Equal(o.Claimed, test.claimed) {
				t.Errorf("angle %q, claimed %q; want %q, %q", o.Angle, o.Claimed, test.angle, test.claimed)
			}
			if readable := len(test.claimed) == 1; o.Readable != readable {
				t.Errorf("readable: %v", o.Readable)
			}
			h.Add("From", " x@gmail.com")
			if o := message.ReadFrom(&h); o.Angle != "" {
				t.Errorf("two From fields: angle %q", o.Angle)
			}
		})
	}
}
