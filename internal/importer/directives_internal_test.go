package importer

import (
	"os"
	"strings"
	"testing"
)

// testdata/opendkim.conf.5 has the parameters of the manual page of Debian 12's opendkim 2.11, with their types:
//
//	zcat opendkim.conf.5.gz | man -l -Tascii - | col -b | grep -E '^       [A-Z][A-Za-z0-9-]+ \('
func TestEveryParameterOfTheManualHasARow(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("testdata/opendkim.conf.5")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]kind{"Include": text}
	for _, d := range directives() {
		if _, twice := rows[d.name]; twice {
			t.Errorf("%s has two rows", d.name)
		}
		rows[d.name] = d.kind
	}
	types := map[string]kind{"string": text, "boolean": boolean, "integer": number, "dataset": set, "data": set, "filename": text, "address": text}
	n := 0
	for line := range strings.Lines(string(page)) {
		name, typ, _ := strings.Cut(strings.TrimSpace(line), " ")
		typ, _, _ = strings.Cut(strings.ToLower(typ), " ")
		n++
		want, known := types[typ]
		got, has := rows[name]
		switch {
		case !known:
			t.Errorf("%s: type %q", name, typ)
		case !has:
			t.Errorf("%s has no row", name)
		case got != want && (got != text && got != set || want != text && want != set): // a text or a set is any value
			t.Errorf("%s is a row of type %d, want %d", name, got, want)
		}
	}
	if n < 130 {
		t.Errorf("the manual page has %d parameters", n)
	}
}

// Every row says something of its setting, exactly once, whatever the value.
func TestEveryRowHasANote(t *testing.T) {
	t.Parallel()
	values := map[kind][]string{text: {"x", "s", "accept"}, boolean: {"yes", "No", "1"}, number: {"0", "022", "99999999"}, set: {"a.example", "dsn:mysql://u:secret@h/d"}}
	for _, d := range directives() {
		for _, value := range values[d.kind] {
			dir := t.TempDir()
			if err := os.WriteFile(dir+"/opendkim.conf", []byte(d.name+" "+value+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := OpenDKIM("/opendkim.conf", Options{Root: dir})
			if err != nil {
				t.Errorf("%s %s: %v", d.name, value, err)
				continue
			}
			n := 0
			for _, note := range p.Notes {
				if note.Setting == d.name && note.Line == 1 && note.Text != "" {
					n++
				}
				if strings.Contains(note.Value, "secret") {
					t.Errorf("%s: a password is shown", d.name)
				}
			}
			if n != 1 && (d.kind != set || n == 0) { // a set has notes of its entries too
				t.Errorf("%s %s: %d notes: %v", d.name, value, n, p.Notes)
			}
		}
	}
}
