package eml_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/eml"
	"dkimd/internal/message"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]struct{ eol, fields, rawBody, body string }{
		"A: b\nC: d\n\nx\ny\n":          {"\n", "A: b|C: d", "x\ny\n", "x\r\ny\r\n"},
		"A: b\r\n\r\nx\r\n":             {"\r\n", "A: b", "x\r\n", "x\r\n"},
		"A: b\n c\n\td\n\n":             {"\n", "A: b\r\n c\r\n\td", "", ""},
		"A: b\r\n c\n\r\nx\n":           {"\r\n", "A: b\r\n c", "x\n", "x\r\n"},
		"A: b\nno field\n\nx\n":         {"\n", "A: b", "no field\n\nx\n", "no field\r\n\r\nx\r\n"},
		" folded: x\n":                  {"\n", "", " folded: x\n", " folded: x\r\n"},
		"From joe Mon\nA: b\n\nx":       {"\n", "A: b", "x", "x"},
		"":                              {"\n", "", "", ""},
		"\nFrom the body\n":             {"\n", "", "From the body\n", "From the body\r\n"},
		"A: b":                          {"\n", "A: b", "", ""},
		"From joe\r\nA: b\r\n\r\nx\r\n": {"\r\n", "A: b", "x\r\n", "x\r\n"},
	} {
		m := eml.Split([]byte(raw))
		var fields []string
		for _, f := range m.Fields {
			fields = append(fields, string(f.Raw()))
		}
		if m.EOL != want.eol || strings.Join(fields, "|") != want.fields || string(m.RawBody) != want.rawBody || string(m.Body) != want.body {
			t.Errorf("%q: %q %q %q %q", raw, m.EOL, fields, m.RawBody, m.Body)
		}
		if got := string(m.WithFields()); got != raw {
			t.Errorf("%q without more fields is %q", raw, got)
		}
	}
}

// New fields stand below the line of an mbox, with the line ends of the message.
func TestWithFields(t *testing.T) {
	t.Parallel()
	add := []message.Field{message.NewField("S", " 1;\n 2"), message.NewField("T", " 3")}
	for raw, want := range map[string]string{
		"A: b\n\nx\n":                   "S: 1;\n 2\nT: 3\nA: b\n\nx\n",
		"From joe\r\nA: b\r\n\r\nx\r\n": "From joe\r\nS: 1;\r\n 2\r\nT: 3\r\nA: b\r\n\r\nx\r\n",
	} {
		if got := string(eml.Split([]byte(raw)).WithFields(add...)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "m.eml")
	if err := os.WriteFile(path, []byte("A: file\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{path: "A: file", "-": "A: stdin"} {
		m, err := eml.Read(file, strings.NewReader("A: stdin\n\n"))
		if err != nil || len(m.Fields) != 1 || string(m.Fields[0].Raw()) != want {
			t.Errorf("%s: %v, %v", file, m.Fields, err)
		}
	}
	if _, err := eml.Read(path+"x", nil); err == nil || !strings.HasPrefix(err.Error(), "read the message: open ") {
		t.Errorf("no file: %v", err)
	}
}
