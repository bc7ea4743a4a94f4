package importer

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// toml is a configuration to be written: tables in the order of their first key.
type toml struct {
	tables []*tomlTable
}

type tomlTable struct {
	name  string // empty: above the first table
	lines []tomlLine
}

type tomlLine struct {
	key   string
	value any // a string, a bool, an int, a []string or a below
	why   string
}

// below is a path in the directory that is written.
type below string

// set gives a key its value; why says where it comes from.
func (t *toml) set(table, key string, value any, why string) {
	var at *tomlTable
	for _, known := range t.tables {
		if known.name == table {
			at = known
		}
	}
	if at == nil {
		at = &tomlTable{name: table}
		t.tables = append(t.tables, at)
	}
	for i := range at.lines {
		if at.lines[i].key == key {
			at.lines[i].value, at.lines[i].why = value, why
			return
		}
	}
	at.lines = append(at.lines, tomlLine{key, value, why})
}

// value is that of a key, or nil.
func (t *toml) value(table, key string) any {
	for _, known := range t.tables {
		for _, l := range known.lines {
			if known.name == table && l.key == key {
				return l.value
			}
		}
	}
	return nil
}

// render is the text of the file, as it is in the directory dir.
func (t *toml) render(head, dir string) string {
	var b strings.Builder
	b.WriteString(head)
	write := func(table *tomlTable) {
		if table.name != "" {
			b.WriteString("\n[" + table.name + "]\n")
		}
		for _, l := range table.lines {
			if l.why != "" {
				b.WriteString("# " + l.why + "\n")
			}
			b.WriteString(l.key + " = " + tomlText(l.value, dir) + "\n")
		}
	}
	for _, table := range t.tables { // keys without a table stand above all
		if table.name == "" {
			write(table)
		}
	}
	for _, table := range t.tables {
		if table.name != "" {
			write(table)
		}
	}
	return b.String()
}

func tomlText(value any, dir string) string {
	switch v := value.(type) {
	case string:
		return tomlQuote(v)
	case below:
		kind, path, found := strings.Cut(string(v), ":")
		if !found {
			return tomlQuote(filepath.Join(dir, string(v)))
		}
		return tomlQuote(kind + ":" + filepath.Join(dir, path))
	case []string:
		quoted := make([]string, len(v))
		width := 0
		for i, item := range v {
			quoted[i] = tomlQuote(item)
			width += len(quoted[i]) + len(", ")
		}
		if width < 100 {
			return "[" + strings.Join(quoted, ", ") + "]"
		}
		return "[\n  " + strings.Join(quoted, ",\n  ") + ",\n]"
	}
	return fmt.Sprint(value)
}

// tomlQuote is a basic string. What TOML does not allow in one is escaped.
func tomlQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < ' ' || r == 0x7f:
			b.WriteString(`\u00` + strconv.FormatInt(int64(r)+0x100, 16)[1:])
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}
