package config

import (
	"fmt"
	"strings"
)

// width is where the lines of generated text break.
const width = 100

// Keys are the paths of all keys of dkimd.toml: milter.listen.
func Keys() []string {
	var paths []string
	for _, table := range Default().tables() {
		for _, key := range table.keys {
			paths = append(paths, table.path(key))
		}
	}
	return paths
}

// Reference is a dkimd.toml that says the defaults, each with its meaning.
func Reference() string {
	var b strings.Builder
	b.WriteString("# dkimd.toml: every key with its default. An empty or absent file means the same.\n")
	for _, table := range Default().tables() {
		b.WriteByte('\n')
		table.annotate(&b)
	}
	return b.String()
}

// Document is the part of docs/configuration.md that describes the keys.
func Document() string {
	var b strings.Builder
	for _, table := range Default().tables() {
		if table.name != "" {
			fmt.Fprintf(&b, "## [%s]\n\n%s", table.name, wrap("", table.doc))
			if table.atStart {
				b.WriteString("Changes take effect at the next start, not at a reload.\n")
			}
			b.WriteByte('\n')
		}
		b.WriteString("```toml\n")
		table.annotate(&b)
		b.WriteString("```\n\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// annotate writes a table as TOML, each key with its kind and meaning.
func (t table) annotate(b *strings.Builder) {
	if t.name != "" {
		fmt.Fprintf(b, "[%s]\n", t.name)
	}
	if len(t.keys) == 0 { // the administrator names them
		b.WriteString("# forwarders = [\"192.0.2.0/24\", \"2001:db8::7\"]\n")
	}
	for i, key := range t.keys {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(wrap("# ", key.doc))
		fmt.Fprintf(b, "# (%s)\n", key.value.kind())
		b.WriteString(fold(key.name + " = " + toml(key.value)))
	}
}

// Describe is the configuration as TOML; a comment after each value says
// where it comes from: the line of the file, or the default.
func (c *Config) Describe() string {
	var b strings.Builder
	for i, table := range c.tables() {
		if len(table.keys) == 0 { // lists, where there are none
			continue
		}
		if i > 0 {
			fmt.Fprintf(&b, "\n[%s]\n", table.name)
		}
		for _, key := range table.keys {
			fmt.Fprintf(&b, "%s = %s  # %s\n", key.name, toml(key.value), c.origin(table.path(key)))
		}
	}
	return b.String()
}

// wrap breaks text into lines that begin with prefix.
func wrap(prefix, text string) string {
	var b strings.Builder
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(prefix)+len(line)+1+len(word) > width {
			b.WriteString(prefix + line + "\n")
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return b.String() + prefix + line + "\n"
}

// fold breaks a long list into lines.
func fold(assignment string) string {
	start, items, isList := strings.Cut(strings.TrimSuffix(assignment, "]"), "[")
	if !isList || len(assignment) <= width {
		return assignment + "\n"
	}
	return start + "[\n" + wrap("  ", items+",") + "]\n"
}
