package signer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/keys"
	"dkimd/signer"
)

func withField(w *world, name, value string) {
	for i, f := range w.fields {
		if strings.HasPrefix(f, name+":") {
			w.fields[i] = name + ": " + value
			return
		}
	}
	w.fields = append(w.fields, name+": "+value)
}

func withoutField(w *world, name string) {
	w.fields = slices.DeleteFunc(w.fields, func(f string) bool { return strings.HasPrefix(f, name+":") })
}

// TestWhoSigns: want is the signatures as d/s, or a reason.
func TestWhoSigns(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*world)
		want   string
	}{
		"the exact domain":                {func(*world) {}, "example.org/s1"},
		"every key of it":                 {func(w *world) { w.key("example.org", "s2", keys.Ed25519) }, "example.org/s1 example.org/s2"},
		"a bounce":                        {func(w *world) { w.env.Sender = "" }, "example.org/s1"},
		"another MAIL FROM":               {func(w *world) { w.env.Sender = "joe@example.com" }, "example.org/s1"},
		"a subdomain without its own key": {func(w *world) { withField(w, "From", "joe@a.example.org") }, "no_key"},
		"a subdomain, with subdomains": {func(w *world) {
			w.write("example.org", "domain.toml", "subdomains = true")
			withField(w, "From", "joe@a.b.example.org")
		}, "example.org/s1"},
		"a subdomain with its own key": {func(w *world) {
			w.write("example.org", "domain.toml", "subdomains = true")
			w.key("a.example.org", "x", keys.RSA)
			withField(w, "From", "joe@a.example.org")
		}, "a.example.org/x"},
		// No signature of such a domain can pass: its mail goes out as it is.
		"keys for a domain of one label": {func(w *world) {
			w.key("localhost", "s1", keys.Ed25519)
			withField(w, "From", "root@localhost")
		}, "no_key"},
		"no key":                         {func(w *world) { withField(w, "From", "joe@example.com") }, "no_key"},
		"the fallback domain":            {func(w *world) { w.config.FallbackDomain = "example.org"; withField(w, "From", "joe@example.com") }, "example.org/s1"},
		"the fallback domain has no key": {func(w *world) { w.config.FallbackDomain = "example.net"; withField(w, "From", "joe@example.com") }, "no_key"},
		"also domains": {func(w *world) {
			w.config.AlsoDomains = []domain.Name{"host.example"}
			w.key("host.example", "p", keys.Ed25519)
		}, "example.org/s1 host.example/p"},
		"an also domain that signs already": {func(w *world) { w.config.AlsoDomains = []domain.Name{"example.org"} }, "example.org/s1"},
		"the same also domain twice": {func(w *world) {
			w.config.AlsoDomains = []domain.Name{"host.example", "host.example"}
			w.key("host.example", "p", keys.RSA)
		}, "example.org/s1 host.example/p"},
		"an also domain without key": {func(w *world) { w.config.AlsoDomains = []domain.Name{"host.example"} }, "example.org/s1"},
		"also domains where nothing else signs": {func(w *world) {
			w.config.AlsoDomains = []domain.Name{"example.org"}
			withField(w, "From", "joe@example.com")
		}, "example.org/s1"},
		"an also domain in fault": {func(w *world) {
			w.config.AlsoDomains = []domain.Name{"host.example"}
			w.write("host.example", "p.pem", "rubbish")
		}, "example.org/s1"},
		"selectors": {func(w *world) {
			w.key("example.org", "s2", keys.Ed25519)
			w.write("example.org", "domain.toml", `selectors = ["s2"]`)
		}, "example.org/s2"},
		"a withheld key beside another": {func(w *world) {
			w.key("example.org", "s2", keys.Ed25519)
			w.config.Withheld = func(name domain.Name, selector string) bool { return name == "example.org" && selector == "s1" }
		}, "example.org/s2"},
		"a withheld key alone": {func(w *world) { w.config.Withheld = func(domain.Name, string) bool { return true } }, "example.org/s1"},
		"a withheld key where the other is unusable": {func(w *world) {
			w.write("example.org", "s2.pem", "rubbish")
			w.config.Withheld = func(_ domain.Name, selector string) bool { return selector == "s1" }
		}, "example.org/s1"},
		"two From fields":               {func(w *world) { w.fields = append(w.fields, "From: joe@example.org") }, "multiple_from"},
		"no From":                       {func(w *world) { withoutField(w, "From") }, "from_missing"},
		"an unreadable From":            {func(w *world) { withField(w, "From", "joe@example.org joe@example.com") }, "from_unreadable"},
		"an @ in the name":              {func(w *world) { withField(w, "From", "John @ Acme <joe@example.org>") }, "example.org/s1"},
		"another's address as the name": {func(w *world) { withField(w, "From", "sales@example.com <joe@example.org>") }, "example.org/s1"},
		"the address of a domain with keys as the name of one without": {func(w *world) { withField(w, "From", "joe@example.org <sales@example.com>") }, "no_key"},
		"an empty From": {func(w *world) { withField(w, "From", "") }, "from_unreadable"},
		"several addresses, Sender decides": {func(w *world) {
			withField(w, "From", "a@example.com, b@example.net")
			withField(w, "Sender", "joe@example.org")
		}, "example.org/s1"},
		"several addresses, Sender without key": {func(w *world) {
			withField(w, "From", "a@example.org, b@example.net")
			withField(w, "Sender", "joe@example.com")
		}, "no_key"},
		"several addresses, no Sender": {func(w *world) { withField(w, "From", "a@example.org, b@example.net") }, "from_unreadable"},
		"several addresses, two Senders": {func(w *world) {
			withField(w, "From", "a@example.org, b@example.net")
			w.fields = append(w.fields, "Sender: a@example.org", "Sender: a@example.org")
		}, "from_unreadable"},
		"several addresses, unreadable Sender": {func(w *world) {
			withField(w, "From", "a@example.org, b@example.net")
			withField(w, "Sender", "a@example.org b")
		}, "from_unreadable"},
		"one address, Sender does not matter": {func(w *world) { withField(w, "Sender", "joe@example.com") }, "example.org/s1"},
		"internationalized": {func(w *world) {
			w.key("xn--bcher-kva.example", "s", keys.RSA)
			withField(w, "From", "joe@b\u00fccher.example")
		}, "xn--bcher-kva.example/s"},
		"a broken key beside a good one": {func(w *world) { w.write("example.org", "s0.pem", "rubbish") }, "example.org/s1"},
		"no usable key":                  {func(w *world) { w.write("example.org", "s1.pem", "rubbish") }, "key_unusable"},
		"no usable key, but an also domain": {func(w *world) {
			w.write("example.org", "s1.pem", "rubbish")
			w.config.AlsoDomains = []domain.Name{"host.example"}
			w.key("host.example", "p", keys.RSA)
		}, "key_unusable"},
		"a broken domain.toml":               {func(w *world) { w.write("example.org", "domain.toml", "identity = 3") }, "key_unusable"},
		"a key that does not sign yet":       {func(w *world) { w.write("example.com", "s.pem.new", "x"); withField(w, "From", "joe@example.com") }, "no_key"},
		"too many fields":                    {func(w *world) { w.fields = append(w.fields, slices.Repeat([]string{"X: y"}, message.MaxFields)...) }, "limit"},
		"too many fields to name in h=":      {func(w *world) { w.fields = append(w.fields, slices.Repeat([]string{"List-Post: y"}, 990)...) }, "limit"},
		"just as many fields as h= can name": {func(w *world) { w.fields = append(w.fields, slices.Repeat([]string{"List-Post: y"}, 986)...) }, "example.org/s1"},
		"user_match: not logged in":          {func(w *world) { w.config.UserMatch = signer.MatchDomain }, "example.org/s1"},
		"user_match: the login's domain":     {func(w *world) { w.config.UserMatch = signer.MatchDomain; w.env.AuthUser = "ann@Example.Org" }, "example.org/s1"},
		"user_match: another domain":         {func(w *world) { w.config.UserMatch = signer.MatchDomain; w.env.AuthUser = "ann@example.com" }, "user_mismatch"},
		"user_match: a subdomain is another": {func(w *world) { w.config.UserMatch = signer.MatchDomain; w.env.AuthUser = "ann@a.example.org" }, "user_mismatch"},
		"user_match: a login without domain": {func(w *world) { w.config.UserMatch = signer.MatchDomain; w.env.AuthUser = "ann" }, "user_mismatch"},
		"user_match: no name":                {func(w *world) { w.config.UserMatch = signer.MatchDomain; w.env.AuthType = "PLAIN" }, "user_mismatch"},
		"user_match: listed": {func(w *world) {
			w.config.UserMatch = signer.MatchDomain
			w.env.AuthUser = "ann"
			w.write("example.org", "domain.toml", `users = ["bob", "ann"]`)
		}, "example.org/s1"},
		"user_match: not listed": {func(w *world) {
			w.config.UserMatch = signer.MatchDomain
			w.env.AuthUser = "ann"
			w.write("example.org", "domain.toml", `users = ["bob"]`)
		}, "user_mismatch"},
		"user_match: a list that cannot be read": {func(w *world) {
			w.config.UserMatch = signer.MatchDomain
			w.env.AuthUser = "ann"
			w.write("example.org", "domain.toml", `users = ["ann`)
		}, "key_unusable"},
		"user_match: not listed, where no key is chosen": {func(w *world) {
			w.config.UserMatch = signer.MatchDomain
			w.env.AuthUser = "ann"
			w.write("example.org", "domain.toml", "users = [\"bob\"]\nselectors = [\"s2\"]")
		}, "user_mismatch"},
		"user_match: nor as the fallback": {func(w *world) {
			w.config.UserMatch = signer.MatchDomain
			w.env.AuthUser = "ann@example.org"
			w.config.FallbackDomain = "example.org"
			withField(w, "From", "joe@example.com")
		}, "user_mismatch"},
		"user_match any: another domain": {func(w *world) { w.config.UserMatch = signer.MatchAny; w.env.AuthUser = "ann@example.com" }, "example.org/s1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.change(w)
			signed, reason, err := w.sign(w.signer())
			var got []string
			for i, s := range signed.Signatures {
				got = append(got, s.Domain+"/"+s.Selector)
				if _, err := w.verify(signed.Fields[i]); err != nil {
					t.Errorf("%s: %v", got[i], err)
				}
			}
			if reason.Code != "" {
				got = append(got, reason.Code)
			}
			if errors.Is(err, signer.ErrKeyUnusable) {
				got = append(got, signer.KeyUnusable)
			} else if err != nil {
				t.Error(err)
			}
			if words := strings.Join(got, " "); words != test.want {
				t.Errorf("got %s (%s, %v), want %s", words, reason.Text, err, test.want)
			}
		})
	}
}

// TestReasonText: what an administrator reads, and no byte of the message raw.
func TestReasonText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	withField(w, "From", "joe@example.com")
	_, reason, _ := w.sign(w.signer())
	if !strings.HasPrefix(reason.Text, "no key for example.com:") {
		t.Error(reason.Text)
	}
	w.config.UserMatch = signer.MatchDomain
	w.env.AuthUser = "x\r\ny\u202e@" + strings.Repeat("z", 500)
	withField(w, "From", "joe@[\u00e4]")
	_, reason, _ = w.sign(w.signer())
	if reason.Code == "" || len(reason.Text) > 400 || strings.ContainsFunc(reason.Text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("%q", reason)
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	const oversigned = "From:From:To:To:Cc:Subject:Subject:Date:Date:Message-ID:Message-ID:Reply-To"
	tests := map[string]struct {
		change func(*world)
		tag    string
		want   string
	}{
		"h= by default":          {func(*world) {}, "h", oversigned + ":List-Id"},
		"h= each time it occurs": {func(w *world) { w.fields = append(w.fields, "SUBJECT: x", "list-id: x") }, "h", strings.Replace(oversigned, "Subject:", "Subject:Subject:", 1) + ":List-Id:List-Id"},
		"h= by a star, only names": {func(w *world) {
			w.fields = append(w.fields, "List-;d=evil.example: x", "List-\u00e4: x", "List-"+strings.Repeat("x", 300)+": x")
		}, "h", oversigned + ":List-Id"},
		"h= by a star, nothing unstable": {func(w *world) {
			w.config.Headers = []string{"R*", "A*", "B*", "D*"}
			w.config.Oversign = []string{}
			w.fields = append(w.fields, "Return-Path: <>", "ARC-Seal: x", "Bcc: y")
		}, "h", "From:Date"},
		"h= absence of what servers add, RFC 6409 8.2 and 8.3": {func(w *world) {
			for _, name := range []string{"Date", "Message-ID", "To"} {
				withoutField(w, name)
			}
		}, "h", "From:From:To:Cc:Subject:Subject:Reply-To:List-Id"},
		"h= configured": {func(w *world) {
			w.config.Headers = []string{"Subject", "TO", "to"}
			w.config.Oversign = []string{"Subject", "X-None"}
		}, "h", "From:Subject:Subject:TO:X-None"},
		"h= empty lists: From": {func(w *world) { w.config.Headers = []string{}; w.config.Oversign = []string{} }, "h", "From"},
		"h= of the domain": {func(w *world) {
			w.write("example.org", "domain.toml", `headers = ["Date", "From", "Received", "List-*"]`)
		}, "h", "Date:Date:From:From:Received:List-Id"},
		"h= of the domain, oversigned by a star": {func(w *world) {
			w.write("example.org", "domain.toml", `headers = ["From", "List-*"]`)
			w.fields = append(w.fields, "List-Unsubscribe: <https://example.org/u>")
		}, "h", "From:From:List-Id:List-Unsubscribe:List-Unsubscribe"},
		"h= more and less than others sign": {func(w *world) {
			w.write("example.org", "domain.toml", `headers = ["+Received", "-Date", "-List-*"]`)
		}, "h", "From:From:To:To:Cc:Subject:Subject:Message-ID:Message-ID:Reply-To:Received"},
		"h= oversigned otherwise": {func(w *world) {
			w.write("example.org", "domain.toml", `oversign = ["From", "X-None"]`)
		}, "h", "From:From:To:Subject:Date:Message-ID:List-Id:X-None"},
		"h= oversigned more and less": {func(w *world) {
			w.write("example.org", "domain.toml", "headers = [\"-Date\"]\noversign = [\"+X-None\", \"-Subject\"]")
		}, "h", "From:From:To:To:Cc:Subject:Message-ID:Message-ID:Reply-To:List-Id:X-None"},
		"c= of the domain": {func(w *world) {
			w.write("example.org", "domain.toml", `canonicalization = "simple/simple"`)
		}, "c", "simple/simple"},
		"d= of another domain": {func(w *world) {
			w.write("alias.example", "domain.toml", `sign_as = "example.org"`)
			withField(w, "From", "j@alias.example")
		}, "d", "example.org"},
		"c= relaxed/relaxed":    {func(*world) {}, "c", "relaxed/relaxed"},
		"c= simple/simple":      {func(w *world) { w.config.HeaderCanon, w.config.BodyCanon = dkim.Simple, dkim.Simple }, "c", "simple/simple"},
		"c= simple/relaxed":     {func(w *world) { w.config.HeaderCanon = dkim.Simple }, "c", "simple/relaxed"},
		"t=":                    {func(*world) {}, "t", "1700000000"},
		"x= not by default":     {func(*world) {}, "x", ""},
		"x= configured":         {func(w *world) { w.config.Expiry = time.Hour + time.Second/2 }, "x", "1700003600"},
		"x= of the domain":      {func(w *world) { w.config.Expiry = time.Hour; w.write("example.org", "domain.toml", `expiry = "2h"`) }, "x", "1700007200"},
		"x= not for the domain": {func(w *world) { w.config.Expiry = time.Hour; w.write("example.org", "domain.toml", `expiry = "0"`) }, "x", ""},
		"i= not by default":     {func(*world) {}, "i", ""},
		"i= of the domain":      {func(w *world) { w.write("example.org", "domain.toml", `identity = "@Mail.Example.org"`) }, "i", "@mail.example.org"},
		"i= encoded":            {func(w *world) { w.write("example.org", "domain.toml", `identity = "a;b=c@example.org"`) }, "i", "a=3Bb=3Dc@example.org"},
		"a= rsa":                {func(*world) {}, "a", "rsa-sha256"},
		"d= of a subdomain is the key's domain": {func(w *world) {
			w.write("example.org", "domain.toml", "subdomains = true")
			withField(w, "From", "j@x.example.org")
		}, "d", "example.org"},
		"bh= of an empty body": {func(w *world) { w.body = "" }, "bh", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
		"l= never":             {func(*world) {}, "l", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.change(w)
			signed := w.mustSign()
			if got := tag(t, signed.Fields[0], test.tag); got != test.want {
				t.Errorf("%s=%s, want %s", test.tag, got, test.want)
			}
		})
	}
}

// TestLongNamesStayWithinALine: a domain and selector of the greatest length, 900 names in h=.
func TestLongNamesStayWithinALine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	domain := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 40) + ".example"
	w.key(domain, strings.Repeat("s", 63), keys.RSA)
	w.key(domain, "ed", keys.Ed25519)
	withField(w, "From", "joe@"+domain)
	for i := range 900 {
		w.fields = append(w.fields, fmt.Sprintf("List-%d: x", i))
	}
	w.write(domain, "domain.toml", `identity = "`+strings.Repeat(";", 64)+"@"+domain+`"`)
	if n := len(w.mustSign().Fields); n != 2 {
		t.Errorf("%d signatures", n)
	}
}

// TestFoldingAtEveryWidth: wherever the tags happen to end, no line that can be folded is too long.
func TestFoldingAtEveryWidth(t *testing.T) {
	t.Parallel()
	for n := 1; n < 60; n++ {
		w := newWorld(t)
		domain := strings.Repeat("a", n) + ".example"
		w.key(domain, "s", keys.RSA)
		w.key(domain, "e", keys.Ed25519)
		w.config.Expiry = time.Hour
		withField(w, "From", "joe@"+domain)
		withField(w, "List-"+strings.Repeat("b", n), "x")
		w.mustSign()
	}
}

// TestOversigningKeepsFieldsOut: RFC 6376 section 8.15.
func TestOversigningKeepsFieldsOut(t *testing.T) {
	t.Parallel()
	for _, name := range signer.DefaultOversign() {
		w := newWorld(t)
		if name != "Cc" && name != "Reply-To" { // those are not to be added where there is none
			withField(w, name, w.value(name))
		}
		value := w.mustSign().Fields[0]
		w.fields = append([]string{name + ": added"}, w.fields...)
		if _, err := w.verify(value); !errors.Is(err, errBroken) {
			t.Errorf("%s was added on top: %v", name, err)
		}
	}
	w := newWorld(t)
	value := w.mustSign().Fields[0]
	w.fields = append(w.fields, "X-Added: x", "Received: x")
	if _, err := w.verify(value); err != nil {
		t.Error(err)
	}
}

// What servers and lists add where it is missing: Sendmail a Date and a Message-ID, after its filters.
func TestAddedFieldsBreakNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	withoutField(w, "Date")
	withoutField(w, "Message-ID")
	value := w.mustSign().Fields[0]
	for _, name := range []string{
		"Date", "Message-Id", "Sender", "In-Reply-To", "References", "MIME-Version", "Content-Type",
		"Content-Transfer-Encoding", "Content-Disposition", "List-Unsubscribe", "List-Unsubscribe-Post", "CFBL-Address",
	} {
		w.fields = append([]string{name + ": added"}, w.fields...)
		if _, err := w.verify(value); err != nil {
			t.Errorf("%s was added: %v", name, err)
		}
	}
}

// RFC 9477: the addresses for complaints are believed only where they are signed.
func TestFeedbackFieldsAreSigned(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"CFBL-Address", "CFBL-Feedback-ID"} {
		w := newWorld(t)
		w.fields = append(w.fields, name+": fbl@example.org")
		value := w.mustSign().Fields[0]
		w.fields[len(w.fields)-1] = name + ": eve@example.net"
		if _, err := w.verify(value); !errors.Is(err, errBroken) {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
}

func TestNewNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := signer.New(signer.Config{
		Headers: []string{"Sub ject", "X:", "a*b", "\u00e4"}, Oversign: []string{"List-*"}, Expiry: -1,
	})
	for _, want := range []string{"Keys", "Sub ject", `"X:"`, `"a*b"`, "Headers", `"List-*"`, "Expiry"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in %v", want, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 998)
	tests := map[string]struct {
		change func(*world)
		want   []string
	}{
		"none":                          {func(w *world) { w.body = long + "\r\n" + long + "\r\n" + strings.Repeat("short\r\n", 1000) + long }, nil},
		"a line of 999":                 {func(w *world) { w.body = "x\r\n" + long + "x\r\nx" }, []string{"body has a line"}},
		"a last line of 999":            {func(w *world) { w.body = "x\r\nx" + long }, []string{"body has a line"}},
		"8-bit body":                    {func(w *world) { w.body = strings.Repeat("x", 100) + "\u00e4" }, []string{"body has 8-bit"}},
		"8-bit at the end of 32":        {func(w *world) { w.body = strings.Repeat("x", 31) + "\xff" + long[:64] }, []string{"body has 8-bit"}},
		"a long line in a signed field": {func(w *world) { withField(w, "Subject", long) }, []string{"field has a line"}},
		"a long line in another field":  {func(w *world) { withField(w, "X-Other", long) }, nil},
		"a long folded field":           {func(w *world) { withField(w, "Subject", long[:900]+"\r\n "+long[:900]) }, nil},
		"8-bit in a signed field":       {func(w *world) { withField(w, "Subject", "\u00e4") }, []string{"field has 8-bit"}},
		"a key left out":                {func(w *world) { w.write("example.org", "s0.pem", "rubbish") }, []string{"key example.org/s0"}},
		"an also domain left out": {func(w *world) {
			w.config.AlsoDomains = []domain.Name{"host.example"}
			w.write("host.example", "p.pem", "rubbish")
			w.write("host.example", "domain.toml", "x")
		}, []string{"host.example"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.change(w)
			got := w.mustSign().Warnings
			if len(got) != len(test.want) {
				t.Fatalf("%q, want %q", got, test.want)
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("%q, want %q", got[i], want)
				}
			}
		})
	}
}

// TestFinishHonoursContext: the message's deadline ends the wait, and it is no fault of the key.
// TestLongFieldsAreFolded: only what is signed, and only where the front door can replace it.
func TestLongFieldsAreFolded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("word ", 300) + "end"
	for _, can := range []bool{true, false} {
		w := newWorld(t)
		w.config.HeaderCanon = dkim.Simple
		w.env.CanReplaceFields = can
		withField(w, "Subject", long)
		withField(w, "X-Other", long)
		signed, _, err := w.sign(w.signer())
		if err != nil || signed.LongField == can || signed.LongBody {
			t.Fatalf("%v, long %t", err, signed.LongField)
		}
		if !can {
			if len(signed.Folded) > 0 {
				t.Errorf("folded %+v", signed.Folded)
			}
			continue
		}
		if len(signed.Folded) != 1 || signed.Folded[0].Name != "Subject" {
			t.Fatalf("folded %+v", signed.Folded)
		}
		withField(w, "Subject", strings.TrimPrefix(signed.Folded[0].Value, " "))
		if _, err := w.verify(signed.Fields[0]); err != nil {
			t.Error(err)
		}
	}
}

func TestFinishHonoursContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.signer()
	h := w.header()
	signing, _ := s.Begin(t.Context(), w.env, h, message.ReadFrom(h))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	signed, err := signing.Finish(ctx)
	if err == nil && len(signed.Fields) == 1 {
		return // nothing had to be waited for
	}
	if !errors.Is(err, context.Canceled) || errors.Is(err, signer.ErrKeyUnusable) {
		t.Error(signed, err)
	}
}

// TestManyMessagesAtOnce is for the race detector.
func TestManyMessagesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.key("example.org", "s2", keys.Ed25519)
	s := w.signer()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for range 5 {
				signed, _, err := w.sign(s)
				if err != nil || len(signed.Fields) != 2 {
					t.Error(len(signed.Fields), err)
					return
				}
				for _, value := range signed.Fields {
					if _, err := w.verify(value); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
}

// Domains that sign one message each have a canonicalization of their own; each signature verifies.
func TestCanonicalizationOfEachDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.key("also.example", "a1", keys.RSA)
	w.key("more.example", "m1", keys.Ed25519)
	w.write("also.example", "domain.toml", `canonicalization = "simple/simple"`)
	w.write("more.example", "domain.toml", `canonicalization = "simple/relaxed"`)
	w.config.AlsoDomains = []domain.Name{"also.example", "more.example"}
	var got []string
	for _, field := range w.mustSign().Fields {
		got = append(got, tag(t, field, "d")+" "+tag(t, field, "c"))
	}
	if want := "example.org relaxed/relaxed, also.example simple/simple, more.example simple/relaxed"; strings.Join(got, ", ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Where several domains sign for a sender one signature of them is enough, and none of them is too little.
func TestSeveralDomainsForASender(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.key("b.example", "b1", keys.RSA)
	w.write("broken.example", "x.pem", "junk")
	store, _ := keys.Open(keys.Config{Directory: w.dir})
	t.Cleanup(store.Close)
	find := func(names ...domain.Name) func(message.Address) []*keys.Domain {
		return func(message.Address) (all []*keys.Domain) {
			for _, name := range names {
				all = append(all, store.Lookup(message.Address{Domain: name})...)
			}
			return all
		}
	}
	for _, test := range []struct {
		names []domain.Name
		want  string // d= of what signs
		fails bool
	}{
		{[]domain.Name{"example.org", "b.example"}, "example.org b.example", false},
		{[]domain.Name{"broken.example", "b.example"}, "b.example", false},
		{[]domain.Name{"broken.example"}, "", true},
	} {
		w.config.Keys = find(test.names...)
		s, err := signer.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		signed, _, err := w.sign(s)
		var got []string
		for _, one := range signed.Signatures {
			got = append(got, one.Domain)
		}
		if strings.Join(got, " ") != test.want || errors.Is(err, signer.ErrKeyUnusable) != test.fails {
			t.Errorf("%v: %q %v", test.names, got, err)
		}
	}
}

// The address of the sender is that of From, as it is written; where From has several of one domain, the first.
func TestSenderAddress(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"Joe <Joe@Example.org>": "Joe@example.org", "a@example.org, b@example.org": "a@example.org", "\"a b\"@example.org": "a b@example.org",
		"John @ Acme <a@example.org>": "a@example.org",
	} {
		w := newWorld(t)
		withField(w, "From", from)
		asked := ""
		w.config.Keys = func(a message.Address) []*keys.Domain { asked = a.Local + "@" + string(a.Domain); return nil }
		s, err := signer.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		_, _, _ = w.sign(s)
		if asked != want {
			t.Errorf("%s: %s, want %s", from, asked, want)
		}
	}
}

// A domain whose list of users cannot be read opens no other one to a login that may not use it.
func TestUnreadDomainOpensNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.key("example.com", "c", keys.RSA)
	w.write("example.com", "domain.toml", `users = ["ann`)
	w.config.UserMatch = signer.MatchDomain
	w.env.AuthUser = "eve@other.example"
	store, _ := keys.Open(keys.Config{Directory: w.dir})
	t.Cleanup(store.Close)
	for names, want := range map[string]string{"example.com": "key_unusable", "example.com example.org": "user_mismatch", "example.org example.com": "user_mismatch"} {
		w.config.Keys = func(message.Address) (found []*keys.Domain) {
			for name := range strings.FieldsSeq(names) {
				found = append(found, store.Lookup(message.Address{Domain: domain.Name(name)})...)
			}
			return found
		}
		s, err := signer.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		signed, reason, err := w.sign(s)
		got := reason.Code
		if err != nil {
			got = "key_unusable"
		}
		if got != want || len(signed.Fields) > 0 {
			t.Errorf("%s: %s, %d signatures, %v; want %s", names, got, len(signed.Fields), err, want)
		}
	}
}
