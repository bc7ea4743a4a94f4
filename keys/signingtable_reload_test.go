package keys_test

import (
	"os"
	"strings"
	"testing"
)

// An entry with d= of the sender that breaks at a reload signs as before, too: under the sender's name, and with its file.
func TestReloadOfEntriesOfTheSenderDomain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keyTable string // after; the signing table is as it was unless spoil writes it
		spoil    func(w *world)
	}{
		"one key for all without its file":    {"all %:s1\nown %:s2:DIR/own/%/mail.private\n", nil},
		"the key of all is broken":            {"all %:s1:../k/b.pem\nown %:s2:DIR/own/%/mail.private\n", func(w *world) { w.write("../k/b.pem", "junk") }},
		"a file for each without the place":   {"all %:s1:../k/a.pem\nown %:s2\n", nil},
		"a directory of the files not there":  {"all %:s1:../k/a.pem\nown %:s2:DIR/gone/%/mail.private\n", nil},
		"the directory of the files is moved": {"all %:s1:../k/a.pem\nown %:s2:DIR/own/%/mail.private\n", func(w *world) { w.check(os.Rename(w.path("../own"), w.path("../away"))) }},
		"an entry for all that is gone":       {"own %:s2:DIR/own/%/mail.private\n", nil},
		"a line that names no key":            {"all %:s1:../k/a.pem\nown %:s2:DIR/own/%/mail.private\n", func(w *world) { w.write("../t/SigningTable", "*@*.all.example\n*@b.example own\n") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c := tables(t, "", "*@*.all.example all\n*@b.example own\n")
			write := func(text string) { w.write("../t/KeyTable", strings.ReplaceAll(text, "DIR", w.path(".."))) }
			write("all %:s1:../k/a.pem\nown %:s2:DIR/own/%/mail.private\n")
			w.write("../own/b.example/mail.private", rfc8463PEM)
			s := w.with(c)
			write(test.keyTable)
			if test.spoil != nil {
				test.spoil(w)
			}
			for range 2 {
				c.Previous = s
				next := w.with(c)
				next.Keep(s)
				s = next
				if got := signers(s, "joe@x.all.example") + " " + signers(s, "joe@b.example"); got != "x.all.example/s1 b.example/s2" {
					t.Errorf("signs with %q", got)
				}
				if len(s.Faults())+len(s.Kept()) == 0 {
					t.Error("nothing is said about it")
				}
			}
		})
	}
}

// Files outside the directory of keys that sign are known, also where the tables name others by now that cannot be used.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	w, c := tables(t, "a b.example:s1:../k/a.pem\n", "*@b.example a\n")
	w.write("own.example/s1.pem", rfc8463PEM)
	s := w.with(c)
	w.write("../k/b.pem", "junk")
	w.write("../t/KeyTable", "a b.example:s1:../k/b.pem\n")
	for _, what := range []string{"at first", "kept"} {
		if what == "kept" {
			c.Previous = s
			next := w.with(c)
			next.Keep(s)
			s = next
		}
		if got := s.Elsewhere(); len(got) != 1 || !strings.HasSuffix(got[0], "k/a.pem") {
			t.Errorf("%s: %q", what, got)
		}
		if kept := s.Kept(); (len(kept) == 1) != (what == "kept") {
			t.Errorf("%s: kept %v", what, kept)
		}
	}
}
