package keys_test

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/keys"
)

// tables is a world whose key table has the entries a to d, and more.
func tables(t *testing.T, keyTable, signingTable string) (*world, keys.Config) {
	t.Helper()
	w := newWorld(t)
	w.write("../k/a.pem", rfc8463PEM)
	w.write("../t/KeyTable", keyTable)
	w.write("../t/SigningTable", signingTable)
	return w, keys.Config{Directory: w.dir, KeyTable: w.path("../t/KeyTable"), SigningTable: "refile:" + w.path("../t/SigningTable")}
}

const fourKeys = "a a.example:s1:../k/a.pem\nb b.example:s1:../k/a.pem # the same file\nc c.example:s2:../k/a.pem\n\nd d.example:s1:../k/a.pem\n"

// signers are d=/s=/i= of what signs for an address; ! before one that cannot.
func signers(s *keys.Store, address string) string {
	local, host, _ := strings.Cut(address, "@")
	var all []string
	for _, d := range s.Lookup(message.Address{Local: local, Domain: domain.Name(host)}) {
		text := "!" + string(d.Name)
		if d.Usable() {
			names := []string{string(d.Name)}
			for _, k := range d.Keys {
				names = append(names, k.Selector)
			}
			text = strings.Join(names, "/")
		}
		all = append(all, text+d.Options.Identity)
	}
	return strings.Join(all, " ")
}

func TestSigningTable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		table    string
		kind     string // refile or file
		multiple bool
		want     map[string]string
	}{
		"a refile: the first line that matches": {
			table: "joe@a.example a\r\n*@a.example b\n*@*.a.example\t c\n*@b.example d\n*@a.example d\n", kind: "refile",
			want: map[string]string{
				"joe@a.example": "a.example/s1", "JOE@a.example": "a.example/s1", "ann@a.example": "b.example/s1",
				"joe@x.a.example": "c.example/s2", "joe@y.x.a.example": "c.example/s2", "joe@b.example": "d.example/s1", "joe@x.b.example": "", "joe@example": "",
			},
		},
		"a refile: a later line does not take precedence for being exact": {
			table: "*@a.example b\njoe@a.example a\n", kind: "refile", want: map[string]string{"joe@a.example": "b.example/s1"},
		},
		"a refile: globs of any form": {
			table: "sales-*@a.example a\n*example.net b\n*.example.org c\nann@* d\n*@mx*.c.example a\n", kind: "refile",
			want: map[string]string{
				"sales-1@a.example": "a.example/s1", "sales@a.example": "", "joe@example.net": "b.example/s1", "joe@notexample.net": "b.example/s1",
				"joe@x.example.org": "c.example/s2", "joe@example.org": "", "ann@where.ever": "d.example/s1", "joe@mx1.c.example": "a.example/s1", "joe@c.example": "",
			},
		},
		"a refile: all lines that match, with multiple_signatures": {
			table: "*@a.example a\njoe@a.example b\n* c\n*@a.example d\n", kind: "refile", multiple: true,
			want: map[string]string{"joe@a.example": "a.example/s1 b.example/s1 c.example/s2 d.example/s1", "joe@x.example": "c.example/s2"},
		},
		"a file: the order of the forms, not of the lines": {
			table: "* d\nann@* c\n.a.example b\njoe@.a.example c\na.example b\njoe@a.example a\n", kind: "file",
			want: map[string]string{
				"joe@a.example": "a.example/s1", "ann@a.example": "b.example/s1", "joe@x.a.example": "c.example/s2", "bob@x.a.example": "b.example/s1",
				"bob@y.x.a.example": "b.example/s1", "ann@where.ever": "c.example/s2", "bob@where.ever": "d.example/s1",
			},
		},
		"a file: one line of each form, with multiple_signatures": {
			table: "* d\na.example b\na.example c\njoe@a.example a\n", kind: "file", multiple: true,
			want: map[string]string{"joe@a.example": "a.example/s1 b.example/s1 d.example/s1"},
		},
		"a file has no patterns": {
			table: "*@a.example a\n", kind: "file", want: map[string]string{"joe@a.example": ""},
		},
		"identities": {
			table: "joe@a.example a:joe@a.example\nann@a.example a:%\nbob@a.example a:@%\neve@a.example a:@b.example\nzoe@a.example a:@%.a.example\n*@x.a.example a:news@%\n", kind: "refile",
			want: map[string]string{
				"joe@a.example": "a.example/s1joe@a.example", "ann@a.example": "a.example/s1", "bob@a.example": "a.example/s1@a.example",
				"eve@a.example": "a.example/s1", "zoe@a.example": "a.example/s1@a.example.a.example", "joe@x.a.example": "a.example/s1news@x.a.example",
			},
		},
		"a key named after the sender's domain": {
			table: "*@*.example %\n", kind: "refile", want: map[string]string{"joe@a.example": "", "joe@x.example": "!x.example"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c := tables(t, fourKeys, test.table)
			c.SigningTable, c.MultipleSignatures = test.kind+":"+w.path("../t/SigningTable"), test.multiple
			s := w.with(c)
			for address, want := range test.want {
				if name == "a key named after the sender's domain" && address == "joe@a.example" {
					continue
				}
				if got := signers(s, address); got != want {
					t.Errorf("%s: %q, want %q", address, got, want)
				}
			}
		})
	}
}

// d= may be the sender's domain, with one key for all or a file for each.
func TestKeyTableOfTheSenderDomain(t *testing.T) {
	t.Parallel()
	w, c := tables(t, "all %:s1:../k/a.pem\nown %:s2:DIR/own/%/mail.private\nfixed a.example:s3:DIR/own/%/mail.private\n"+
		"a.example a.example:named:../k/a.pem\n", "")
	w.write("../own/a.example/mail.private", rfc8463PEM)
	w.write("../own/b.example/mail.private", rfc8463PEM)
	w.write("../t/KeyTable", strings.ReplaceAll(read(t, w.path("../t/KeyTable")), "DIR", w.path("..")))
	w.write("../t/SigningTable", "*@*.all.example all:news@%\n*@*.own.example own\njoe@b.example own\nann@b.example fixed\n*@a.example %\n*@c.example %\n*@b.example own:@%\n")
	s := w.with(c)
	for address, want := range map[string]string{
		"joe@x.all.example": "x.all.example/s1news@x.all.example", "joe@b.example": "b.example/s2", "joe@x.own.example": "!x.own.example",
		"ann@b.example": "a.example/s3", "joe@a.example": "a.example/named", "joe@c.example": "!c.example", "bob@b.example": "b.example/s2@b.example",
	} {
		if got := signers(s, address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	d := s.Lookup(message.Address{Local: "joe", Domain: "x.all.example"})[0]
	if _, err := d.Keys[0].Load(within(t)); err != nil || d.Keys[0].Domain != "x.all.example" {
		t.Errorf("key %s: %v", d.Keys[0], err)
	}
}

// Keys stand in the table itself, too, as opendkim and rspamd take them.
func TestKeyTableWithKeysInIt(t *testing.T) {
	t.Parallel()
	block, _ := pem.Decode([]byte(rfc8463PEM))
	der := base64.StdEncoding.EncodeToString(block.Bytes)
	w, c := tables(t, "der a.example:s1:"+der+"\npem b.example:s1:"+strings.ReplaceAll(strings.TrimSpace(rfc8463PEM), "\n", `\n`)+
		"\njoined c.example:s1:"+strings.ReplaceAll(rfc8463PEM, "\n", "")+"\njunk d.example:s1:MIIjunk\n", "*@a.example der\n*@b.example pem\n*@c.example joined\n*@d.example junk\n")
	if err := os.Chmod(w.path("../t/KeyTable"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.with(c)
	for _, name := range []domain.Name{"a.example", "b.example", "c.example"} {
		p, err := lookup(s, name).Keys[0].Load(within(t))
		if err != nil || p.Type != keys.Ed25519 {
			t.Errorf("%s: %v %v", name, p, err)
		}
	}
	if got := signers(s, "joe@d.example"); got != "!d.example" {
		t.Errorf("junk: %q", got)
	}
	if text := s.Faults().Err().Error(); !strings.Contains(text, "KeyTable:4: got ") || strings.Contains(text, "MIIjunk") || strings.Contains(text, "KeyTable:1") {
		t.Error(text)
	}
	if err := os.Chmod(w.path("../t/KeyTable"), 0o644); err != nil {
		t.Fatal(err)
	}
	if s = w.with(c); signers(s, "joe@a.example") != "!a.example" {
		t.Error("a key signs that everybody can read")
	}
}

// A wrong line stops itself alone, and its mail is not sent unsigned.
func TestTableFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keyTable, signingTable string
		fault                  string // in it
		address, want          string
	}{
		"a key that is not in the table": {fourKeys, "*@x.example absent\n", `SigningTable:1: got no key "absent" in the key table`, "joe@x.example", "!absent"},
		"no name of a key":               {fourKeys, "*@x.example\n", "SigningTable:1: got a pattern without the name of a key", "joe@x.example", "!*@x.example"},
		"a key without its file":         {fourKeys + "x x.example:s1:/absent\n", "*@x.example x\n", "/absent: got no such file or directory", "joe@x.example", "!x.example"},
		"an entry without selector":      {fourKeys + "x x.example:/k/a.pem\n", "*@x.example x\n", "KeyTable:6: got an entry without domain, selector and key", "joe@x.example", "!x.example"},
		"an entry with a wrong domain":   {fourKeys + "x localhost:s1:/k/a.pem\n", "*@x.example x\n", `KeyTable:6: got the domain "localhost": it has one label`, "joe@x.example", "!x"},
		"an entry with a wrong selector": {fourKeys + "x x.example:s 1:/k/a.pem\n", "*@x.example x\n", `KeyTable:6: got the selector "s 1": `, "joe@x.example", "!x.example"},
		"an entry that nothing names":    {fourKeys + "x\n", "*@b.example b\n", "KeyTable:6: got an entry without domain, selector and key", "joe@b.example", "b.example/s1"},
		"Latin-1":                        {fourKeys, "# b\xfccher\n*@b\xfccher.example a\n*@a.example a\n", "SigningTable:2: got bytes that are not UTF-8", "joe@a.example", "a.example/s1"},
		"a long line":                    {fourKeys, "*@a.example" + strings.Repeat(" ", 16<<10-12) + "a\n" + strings.Repeat("x", 16<<10+1) + "\n", "SigningTable:2: got a line of more than 16 KiB", "joe@a.example", "a.example/s1"},
		"something binary":               {"\x7fELF\x00\x01", "*@a.example a\n", "KeyTable: got something binary", "joe@a.example", "!a"},
		"a byte order mark":              {"\xef\xbb\xbf" + fourKeys, "\xef\xbb\xbf*@a.example a\n*@x.example absent\n", "SigningTable:2: got no key", "joe@a.example", "a.example/s1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c := tables(t, test.keyTable, test.signingTable)
			s := w.with(c)
			if got := signers(s, test.address); got != test.want {
				t.Errorf("%s: %q, want %q", test.address, got, test.want)
			}
			if text := s.Faults().Err().Error(); !strings.Contains(text, test.fault) || len(s.Faults()) != 1 {
				t.Errorf("%s; want one, with %s", text, test.fault)
			}
		})
	}
}

// What is no table is a fault of the whole, for which a reload is refused. At a start it is not known who signs: no mail is nobody's.
func TestTableThatIsNone(t *testing.T) {
	t.Parallel()
	w, c := tables(t, fourKeys, "")
	w.write("own.example/s9.pem", rfc8463PEM)
	for name, path := range map[string]string{"a directory": w.path(".."), "a device": "/dev/zero", "no such file": w.path("../absent")} {
		c.SigningTable = path
		s, _ := keys.Open(c)
		if got := signers(s, "joe@a.example") + " " + signers(s, "joe@other.example") + " " + signers(s, "joe@own.example"); got != "!a.example !other.example own.example/s9" {
			t.Errorf("%s: %s signs; want what other sources know, and nobody to go out unsigned", path, got)
		}
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), "got "+name) {
			t.Errorf("%s: %v", path, err)
		}
		s.Close()
	}
	big := w.path("../t/big")
	f := must(os.Create(big))
	if err := f.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	c.SigningTable = big
	s, _ := keys.Open(c)
	defer s.Close()
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "got more than 256 MiB") {
		t.Errorf("1 GB: %v", err)
	}
}

// Patterns that match no address, and those that match all, are said aloud.
func TestTableWarnings(t *testing.T) {
	t.Parallel()
	w, c := tables(t, fourKeys+"a z.example:s:/z\n", "a.example a\n@a.example a\n.a.example a\n*@* a\n*@b.example b:@a.example\n")
	s := w.with(c)
	var got []string
	for _, f := range s.Warnings() {
		_, text, _ := strings.Cut(f.Error(), "Table:")
		got = append(got, text[:strings.Index(text, ";")])
	}
	want := []string{
		`6: got a second entry for "a"`, `1: got the pattern "a.example", which no address matches`, `2: got the pattern "@a.example", which no address matches`,
		`3: got the pattern ".a.example", which no address matches`, `4: got the pattern "*@*": mail of every sender is signed`, `5: got the identity "@a.example", which is left out`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("warnings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	c.SigningTable = "file:" + w.path("../t/SigningTable")
	w.write("../t/SigningTable", "*@a.example a\n")
	if text := w.with(c).Warnings().Err().Error(); !strings.Contains(text, "which no address matches; want user@example.com, example.com, .example.com or * (hint: name the table refile:") {
		t.Error(text)
	}
}

// A key that 10,000 domains share is read once.
func TestTableSharesKeys(t *testing.T) {
	t.Parallel()
	const domains = 10_000
	var keyTable, signingTable strings.Builder
	for i := range domains {
		name := string(nthDomain(i))
		keyTable.WriteString(name + " " + name + ":s1:../k/a.pem\n")
		signingTable.WriteString("*@" + name + " " + name + "\n")
	}
	w, c := tables(t, keyTable.String(), signingTable.String())
	s := w.with(c)
	first := must(lookup(s, nthDomain(0)).Keys[0].Load(within(t)))
	if err := os.Remove(filepath.Join(w.dir, "../k/a.pem")); err != nil {
		t.Fatal(err)
	}
	for i := range domains {
		k := lookup(s, nthDomain(i)).Keys[0]
		if p, err, known := k.Ready(); p != first || err != nil || !known || k.Domain != nthDomain(i) {
			t.Fatalf("%d: %v %v", i, p, err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	return string(must(os.ReadFile(path)))
}

// A reload takes the lines that are good; where one is broken that was not, its mail is signed as before.
func TestReloadOfTables(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keyTable, signingTable string // after
		spoil                  func(w *world)
		kept                   string
	}{
		"a line without a key":           {fourKeys, "*@one.example\n*@two.example b\n*@new.example d\n", nil, "a.example"},
		"a line in Latin-1":              {fourKeys, "*@one.example a:j\xf6@a.example\n*@two.example b\n*@new.example d\n", nil, "a.example"},
		"a line without end":             {fourKeys, "*@one.example a:" + strings.Repeat("x", 17<<10) + "\n*@two.example b\n*@new.example d\n", nil, "a.example"},
		"a glob without a key":           {fourKeys, "*@one.example a\n*@two.example b\ns-*@three.example\n*@new.example d\n", nil, "c.example"},
		"a key that is gone":             {strings.Replace(fourKeys, "a a.", "z a.", 1), "*@one.example a\n*@two.example b\n*@new.example d\n", nil, "a.example"},
		"an entry that is broken":        {strings.Replace(fourKeys, "s1:", "", 1), "*@one.example a\n*@two.example b\n*@new.example d\n", nil, "a.example"},
		"a key file that is broken":      {strings.Replace(fourKeys, "../k/a.pem", "../k/b.pem", 1), "*@one.example a\n*@two.example b\n*@new.example d\n", func(w *world) { w.write("../k/b.pem", "junk") }, "a.example"},
		"a key file that was not before": {fourKeys, "*@one.example a\n*@two.example b\n*@new.example d\n", func(w *world) { w.check(os.Remove(w.path("../k/a.pem"))) }, "a.example b.example d.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c := tables(t, fourKeys, "*@one.example a\n*@two.example b\ns-*@three.example c\n")
			s := w.with(c)
			for range 2 {
				w.write("../t/KeyTable", test.keyTable)
				w.write("../t/SigningTable", test.signingTable)
				if test.spoil != nil {
					test.spoil(w)
					test.spoil = nil
				}
				c.Previous = s
				next := w.with(c)
				next.Keep(s)
				s = next
				var kept []string
				for _, k := range s.Kept() {
					kept = append(kept, k.Domain)
				}
				if got := strings.Join(kept, " "); got != test.kept {
					t.Errorf("kept %q, want %q: %v", got, test.kept, s.Kept())
				}
				if got := signers(s, "joe@one.example") + " " + signers(s, "joe@two.example"); got != "a.example/s1 b.example/s1" {
					t.Errorf("signs with %q", got)
				}
				if got := signers(s, "s-1@three.example"); (got == "c.example/s2") != strings.Contains(test.kept, "c.") {
					t.Errorf("what was taken away or broken: %q", got)
				}
				if got := signers(s, "joe@new.example"); got != "d.example/s1" && !strings.Contains(test.kept, "d.") {
					t.Errorf("the new line: %q", got)
				}
			}
			w.write("../t/KeyTable", fourKeys)
			w.write("../t/SigningTable", "*@one.example d\n")
			w.write("../k/a.pem", rfc8463PEM)
			c.Previous = s
			next := w.with(c)
			if next.Keep(s); signers(next, "joe@one.example") != "d.example/s1" || next.Kept() != nil || signers(next, "joe@two.example") != "" {
				t.Errorf("mended: %q, kept %v", signers(next, "joe@one.example"), next.Kept())
			}
		})
	}
}

// What has not changed is not read again.
func TestReloadOfTablesKeepsKeys(t *testing.T) {
	t.Parallel()
	w, c := tables(t, fourKeys, "*@one.example a\n")
	s := w.with(c)
	before := must(lookup(s, "one.example").Keys[0].Load(within(t)))
	c.Previous = s
	if after, _, _ := lookup(w.with(c), "one.example").Keys[0].Ready(); after != before {
		t.Error("a key was read again")
	}
	w.write("../k/a.pem", rfc8463PEM+"\n")
	if after := must(lookup(w.with(c), "one.example").Keys[0].Load(within(t))); after == before {
		t.Error("a key that changed was not read again")
	}
}

// A table that its group can write is used and told: without it all mail would go out unsigned. One that everybody can write says
// nothing: a reload that finds it so is refused, and what was in force stays.
func TestTableThatOthersCanWrite(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"../t/KeyTable", "../t/SigningTable"} {
		for mode, used := range map[os.FileMode]bool{0o664: true, 0o666: false, 0o646: false} {
			w, c := tables(t, fourKeys, "*@one.example a\n")
			s := w.with(c)
			if got := signers(s, "joe@one.example"); got != "a.example/s1" || s.Err() != nil {
				t.Fatalf("%q, %v", got, s.Err())
			}
			w.check(os.Chmod(w.path(table), mode))
			told := fmt.Sprintf("mode %04o, with which others than its owner can write it", mode)
			for _, c.Previous = range []*keys.Store{nil, s} {
				next := w.with(c)
				if err := next.Err(); (err == nil) != used || err != nil && !strings.Contains(err.Error(), told) {
					t.Errorf("%s: %v", table, err)
				}
				if got := signers(next, "joe@one.example"); strings.Contains(got, "a.example/") != used || !strings.Contains(w.texts(next.Faults()), told) {
					t.Errorf("%s of mode %04o: %q: %s", table, mode, got, w.texts(next.Faults()))
				}
			}
		}
	}
}
