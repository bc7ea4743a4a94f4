package keys_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dkimd/keys"
)

// Trees of other programs, as docs/keys.md has them; DIR stands for the root.
func TestLayouts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		layout, selector string
		files            string
		want             map[string]string // address -> signers
	}{
		"iRedMail, amavisd": {
			"DIR/var/lib/dkim/{domain}.pem", "dkim", "var/lib/dkim/a.example.pem var/lib/dkim/b.example.pem var/lib/dkim/notes.txt",
			map[string]string{"joe@a.example": "a.example/dkim", "joe@b.example": "b.example/dkim", "joe@x.a.example": "", "joe@c.example": ""},
		},
		"rspamd, Mailu": {
			"DIR/dkim/{domain}.{selector}.key", "", "dkim/a.example.dkim.key dkim/a.example.dkim.pub dkim/a.b.example.s1.key dkim/a.b.example.s2.key",
			map[string]string{"joe@a.example": "a.example/dkim", "joe@a.b.example": "a.b.example/s1/s2", "joe@b.example": ""},
		},
		"OpenDKIM, docker-mailserver": {
			"DIR/keys/{domain}/{selector}.private", "", "keys/a.example/mail.private keys/a.example/mail.txt keys/a.example/x.y.private keys/b.example/mail.private.bak",
			map[string]string{"joe@a.example": "a.example/mail/x.y", "joe@b.example": ""},
		},
		"docker-mailserver with rspamd": {
			"DIR/rspamd/dkim/rsa-2048-{selector}-{domain}.private.txt", "", "rspamd/dkim/rsa-2048-mail-my-shop.example.private.txt rspamd/dkim/rsa-2048-mail-my-shop.example.public.txt",
			map[string]string{"joe@my-shop.example": "my-shop.example/mail", "joe@shop.example": ""},
		},
		"Hestia": {
			"DIR/exim4/domains/{domain}/dkim.pem", "mail", "exim4/domains/a.example/dkim.pem exim4/domains/b.example/aliases",
			map[string]string{"joe@a.example": "a.example/mail", "joe@b.example": ""},
		},
		"Plesk": {
			"DIR/domainkeys/{domain}/default", "default", "domainkeys/a.example/default", map[string]string{"joe@a.example": "a.example/default"},
		},
		"ISPConfig": {
			"DIR/amavis/dkim/{domain}.private", "default", "amavis/dkim/a.example.private amavis/dkim/a.example.public amavis/dkim/b.example.public",
			map[string]string{"joe@a.example": "a.example/default", "joe@b.example": ""},
		},
		"cPanel": {
			"DIR/domain_keys/private/{domain}", "default", "domain_keys/private/a.example domain_keys/public/b.example",
			map[string]string{"joe@a.example": "a.example/default", "joe@b.example": ""},
		},
		"DirectAdmin": {
			"DIR/virtual/{domain}/dkim.private.key", "x", "virtual/a.example/dkim.private.key virtual/a.example/dkim.public.key virtual/domainowners",
			map[string]string{"joe@a.example": "a.example/x", "joe@domainowners": ""},
		},
		"KumoMTA": {
			"DIR/kumomta/{domain}/{selector}.key", "", "kumomta/a.example/s1024.key", map[string]string{"joe@a.example": "a.example/s1024"},
		},
		"the selector above the domain": {
			"DIR/{selector}/{domain}.pem", "", "2024/a.example.pem 2025/a.example.pem 2025/b.example.pem", map[string]string{"joe@a.example": "a.example/2024/2025", "joe@b.example": "b.example/2025"},
		},
		"the domain twice": {
			"DIR/{domain}/{domain}.key", "s", "A.Example/A.Example.key b.example/c.example.key", map[string]string{"joe@a.example": "a.example/s", "joe@b.example": "", "joe@c.example": ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			root := filepath.Join(w.dir, "../root")
			for file := range strings.FieldsSeq(test.files) {
				w.write("../root/"+file, rfc8463PEM)
			}
			s := w.with(keys.Config{Directory: w.dir, Layouts: []string{strings.Replace(test.layout, "DIR", root, 1)}, Selector: test.selector})
			for address, want := range test.want {
				if got := signers(s, address); got != want {
					t.Errorf("%s: %q, want %q", address, got, want)
				}
			}
			if faults := s.Faults(); len(faults) > 0 {
				t.Error(faults.Err())
			}
		})
	}
}

// The directory goes before layouts, the first layout before the others, and a domain.toml in the directory
// holds for keys that a layout has.
func TestLayoutsComeAfterTheDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("a.example/own.pem", rfc8463PEM)
	w.write("b.example/domain.toml", "subdomains = true\nselectors = \"s2\"\nidentity = \"@b.example\"\n")
	w.write("c.example/domain.toml", "selectors = \"s9\"\n")
	for _, file := range []string{"a.example.s1.key", "b.example.s1.key", "b.example.s2.key", "c.example.s1.key"} {
		w.write("../one/"+file, rfc8463PEM)
	}
	w.write("../two/b.example.pem", rfc8463PEM)
	w.write("../two/d.example.pem", rfc8463PEM)
	w.write("../one/e.example.s1.key", rfc8463PEM)
	w.write("../two/e.example.pem", rfc8463PEM)
	s := w.with(keys.Config{Directory: w.dir, Layouts: []string{w.path("../one/{domain}.{selector}.key"), w.path("../two/{domain}.pem")}, Selector: "two"})
	for address, want := range map[string]string{
		"joe@a.example": "a.example/own", "joe@b.example": "b.example/s2@b.example", "joe@x.b.example": "b.example/s2@b.example",
		"joe@c.example": "!c.example", "joe@d.example": "d.example/two", "joe@e.example": "e.example/s1",
	} {
		if got := signers(s, address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	if text := w.texts(s.Faults()); !strings.Contains(text, `c.example/domain.toml:1: selectors: got "s9"; want the selector of a key in this directory`) {
		t.Error(text)
	}
}

// The rule of modes and owners holds for all sources; one mode more can be accepted.
func TestAllowMode(t *testing.T) {
	t.Parallel()
	w, c := tables(t, fourKeys, "*@a.example a\n")
	key := w.write("../hestia/b.example/dkim.pem", rfc8463PEM)
	c.Layouts, c.Selector = []string{w.path("../hestia/{domain}/dkim.pem")}, "mail"
	chmod := func(mode os.FileMode) {
		for _, path := range []string{key, w.path("../k/a.pem")} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	chmod(0o660)
	s := w.with(c)
	if got := signers(s, "joe@a.example") + signers(s, "joe@b.example"); got != "!a.example!b.example" {
		t.Errorf("mode 0660 of a table and of a layout: %s", got)
	}
	if n := strings.Count(s.Faults().Err().Error(), "mode 0660, with which the group can write the key"); n != 2 {
		t.Errorf("%d faults: %v", n, s.Faults())
	}
	c.AllowMode = 0o660
	s = w.with(c)
	if got := signers(s, "joe@a.example") + signers(s, "joe@b.example"); got != "a.example/s1b.example/mail" || len(s.Faults()) > 0 {
		t.Errorf("mode 0660, allowed: %s %v", got, s.Faults())
	}
	chmod(0o664)
	if got := signers(w.with(c), "joe@b.example"); got != "!b.example" {
		t.Errorf("mode 0664 where 0660 is allowed: %s", got)
	}
}

// Every layout of docs/keys.md finds its keys.
func TestLayoutsOfTheGuide(t *testing.T) {
	t.Parallel()
	guide := read(t, "../docs/keys.md")
	rows := regexp.MustCompile("(?m)^\\| ([^|]+) \\| `layout = \"([^\"]+)\"`(.*)$").FindAllStringSubmatch(guide, -1)
	if len(rows) < 9 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		t.Run(row[1], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			selector := "dkim"
			if m := regexp.MustCompile("`selector = \"([^\"]+)\"`").FindStringSubmatch(row[3]); m != nil {
				selector = m[1]
			}
			c := keys.Config{Directory: w.dir, Layouts: []string{w.path("../root" + row[2])}}
			if !strings.Contains(row[2], keys.SelectorPlace) {
				c.Selector = selector
			}
			path := w.write("../root"+strings.NewReplacer("{domain}", "my-shop.example.org", "{selector}", selector).Replace(row[2]), rfc8463PEM)
			if strings.Contains(row[3], `allow_mode = "0660"`) {
				c.AllowMode = 0o660
				w.check(os.Chmod(path, 0o660))
			}
			if got := signers(w.with(c), "joe@my-shop.example.org"); got != "my-shop.example.org/"+selector {
				t.Errorf("%q", got)
			}
		})
	}
}

// A directory of a layout that cannot be listed hides domains: a reload must not take that for their end.
func TestLayoutWithADirectoryThatCannotBeListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("../root/2025/a.example.pem", rfc8463PEM)
	w.write("../root/notes", "no directory")
	w.check(os.Symlink("nowhere", w.path("../root/2023")))
	c := keys.Config{Directory: w.dir, Layouts: []string{filepath.Join(w.dir, "../root/{selector}/{domain}.pem")}}
	if err := w.with(c).Err(); err != nil {
		t.Errorf("nothing is hidden: %v", err)
	}
	w.check(os.Symlink("2024", w.path("../root/2024"))) // leads in a circle
	s := w.with(c)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "root/2024") {
		t.Errorf("hidden domains: %v", err)
	}
	if got := signers(s, "joe@a.example"); got != "a.example/2025" {
		t.Errorf("beside it: %q", got)
	}
}

// No path is made of a sender's domain, and no message has the disk searched for one.
func TestLayoutsAndTablesAreNotSearchedForSenders(t *testing.T) {
	t.Parallel()
	w, c := tables(t, "", "* own\n")
	w.write("../t/KeyTable", "own %:s1:"+w.path("../own/%/s1.private")+"\n")
	w.write("../own/a.example/s1.private", rfc8463PEM)
	w.write("../root/b.example.pem", rfc8463PEM)
	c.Layouts, c.Selector = []string{filepath.Join(w.dir, "../root/{domain}.pem")}, "s1"
	layouts := keys.Config{Directory: w.dir, Layouts: c.Layouts, Selector: "s1"}
	byTable, byLayout := w.with(c), w.with(layouts)
	w.write("../own/late.example/s1.private", rfc8463PEM)
	w.write("../own/../x/s1.private", rfc8463PEM)
	w.write("../root/late.example.pem", rfc8463PEM)
	w.write("../x.pem", rfc8463PEM)
	for _, host := range []string{"late.example", "../x", "../own/a.example", ".", "", "b.example\x00", "*", "%", strings.Repeat("a.", 5000) + "example"} {
		if got := signers(byTable, "joe@"+host); got != "!"+host {
			t.Errorf("%.20q by the table: %q", host, got)
		}
		if got := signers(byLayout, "joe@"+host); got != "" {
			t.Errorf("%.20q by the layout: %q", host, got)
		}
	}
	if n := len(byTable.Domains()) + len(byLayout.Domains()); n != 3 {
		t.Errorf("%d domains, want 3: what was asked for is kept", n)
	}
}

// A directory below a layout that belongs to somebody else has no key of ours in it: it may be a link to that of others.
func TestLayoutOfOthers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give directories away")
	}
	w := newWorld(t)
	w.write("../keys.d/a.example/mail.private", rfc8463PEM)
	w.write("../keys.d/b.example/sub/mail.private", rfc8463PEM)
	w.check(os.Chown(w.path("../keys.d/a.example"), 4711, -1))
	s := w.with(keys.Config{Directory: w.dir, Layouts: []string{w.path("../keys.d") + "/{domain}/{selector}.private"}})
	if got := signers(s, "joe@a.example"); got != "!a.example" || !strings.Contains(w.texts(s.Faults()), ".d/a.example: got owner 4711") {
		t.Errorf("%q: %s", got, w.texts(s.Faults()))
	}
	s = w.with(keys.Config{Directory: w.dir, Layouts: []string{w.path("../keys.d") + "/{domain}/sub/{selector}.private"}})
	if got := signers(s, "joe@b.example"); got != "b.example/mail" {
		t.Errorf("%q: %s", got, w.texts(s.Faults()))
	}
	w.check(os.Chown(w.path("../keys.d/b.example"), 4711, -1))
	s = w.with(keys.Config{Directory: w.dir, Layouts: []string{w.path("../keys.d") + "/{domain}/sub/{selector}.private"}})
	if got := signers(s, "joe@b.example"); got != "!b.example" {
		t.Errorf("above: %q", got)
	}
}
