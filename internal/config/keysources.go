package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/safetext"
	"dkimd/internal/tomlfile"
	"dkimd/keys"
)

// signTable is the path of a table in OpenDKIM's form; empty: none.
func signTable(at *string, kind string) value {
	return field[string]{at, "", kind, readTable, func(written string) any {
		if t, err := keys.ParseTable(written); err == nil && t.HoldsKeys() {
			return "csl:..." // others may read what commands print
		}
		return written
	}}
}

// readTable wants a table that can be read now: a daemon without the one it is told to use would let mail go out unsigned.
func readTable(t *tomlfile.Table, key, def string) string {
	written := t.String(key, def)
	if written == "" {
		return ""
	}
	table, err := keys.ParseTable(written)
	if err != nil {
		faultTable(t, key, "a file of OpenDKIM's form: an absolute path, with file: or refile: before it where that is meant, or csl: and the entries", err.Error())
		return ""
	}
	if table.Path == "" { // csl
		return written
	}
	f, err := os.Open(table.Path)
	if err != nil {
		t.Fault(key, "a file that dkimd can read", reason(err))
		return ""
	}
	defer f.Close() //nolint:errcheck // only opened
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		t.Fault(key, "a file", "this path is not one")
		return ""
	}
	return written
}

// faultTable is a fault of how a table is named. Of what is no path only the kind is told: a password of a database, or a
// key, may follow.
func faultTable(t *tomlfile.Table, key, want, hint string) {
	kind, rest, typed := strings.Cut(t.String(key, ""), ":")
	if !typed || strings.HasPrefix(kind, "/") || kind == "file" || kind == "refile" || rest == "" {
		t.Fault(key, want, hint)
		return
	}
	t.FaultGot(key, strconv.Quote(safetext.Clip(kind, 20)+":..."), want, hint)
}

// checkTables wants both tables or none, and a selector where layouts need one.
func (c *Config) checkTables() {
	t, s := c.section("sign"), &c.Sign
	const both = "the signing table says which keys of the key table sign for an address"
	if s.KeyTable != "" && !t.Has("signing_table") {
		faultTable(t, "key_table", "signing_table beside it", both)
	}
	if s.SigningTable != "" && !t.Has("key_table") {
		faultTable(t, "signing_table", "key_table beside it", both)
	}
	for i, layout := range s.Layouts {
		if !strings.Contains(layout, keys.SelectorPlace) && s.Selector == "" {
			t.FaultItem("layout", i, "{selector} in it, or sign.selector beside it", `selector = "dkim"`)
		}
	}
	broken := t.Has("layout") && len(s.Layouts) == 0
	if s.Selector != "" && !broken && !slices.ContainsFunc(s.Layouts, func(l string) bool { return !strings.Contains(l, keys.SelectorPlace) }) {
		t.Fault("selector", "a path without {selector} in sign.layout", "it is the selector of those; the files of sign.directory have theirs in their names")
	}
}

func readLayouts(t *tomlfile.Table, key string, def []string) []string {
	layouts := t.Strings(key, def)
	for i, layout := range layouts {
		if err := keys.CheckLayout(layout); err != nil {
			t.FaultItem(key, i, "the absolute path of key files with {domain} in it", err.Error())
			return def
		}
		if base := keys.LayoutBase(layout); !isDirectory(base) {
			t.FaultItem(key, i, "a path in a directory that dkimd can read", base+" is none")
			return def
		}
		layouts[i] = filepath.Clean(layout)
	}
	return layouts
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// readSelector reads a selector; empty is allowed.
func readSelector(t *tomlfile.Table, key, def string) string {
	written := t.String(key, def)
	if written == "" {
		return ""
	}
	name, err := dkim.ParseSelector(written, "example.org", dkim.AsPublished)
	if err != nil {
		t.Fault(key, "a selector", err.Error())
		return def
	}
	return name
}

// keyMode is permissions of key files.
func keyMode(at *os.FileMode) value {
	return field[os.FileMode]{at, 0, "permissions", readKeyMode, func(m os.FileMode) any {
		if m == 0 {
			return ""
		}
		return fmt.Sprintf("%04o", uint32(m))
	}}
}

// readKeyMode reads permissions of key files; 0: none beyond the rule.
func readKeyMode(t *tomlfile.Table, key string, def os.FileMode) os.FileMode {
	written := t.String(key, "")
	if written == "" {
		return def
	}
	mode, err := strconv.ParseUint(written, 8, 16)
	switch {
	case err != nil || mode > 0o777 || len(written) < 3 || len(written) > 4:
		t.Fault(key, `permissions in octal, such as "0660"`, "")
	case mode&0o002 != 0:
		t.Fault(key, "permissions with which not everybody can write the keys", "")
	default:
		return os.FileMode(mode)
	}
	return def
}

// maps are the tables [[sign.map]].
func maps(at *[]keys.Mapping) value {
	return field[[]keys.Mapping]{at, nil, "list of tables", readMaps, func(list []keys.Mapping) any {
		return append([]keys.Mapping{}, list...) // in JSON it is []
	}}
}

func readMaps(t *tomlfile.Table, key string, _ []keys.Mapping) []keys.Mapping {
	var list []keys.Mapping
	for _, entry := range t.Tables(key) {
		m := keys.Mapping{Path: entry.Path(), Line: entry.Line()}
		written := entry.Strings("from", nil)
		for i, w := range written {
			pattern, err := keys.ParsePattern(w)
			if err != nil {
				entry.FaultItem("from", i, "an address, a domain or a pattern", err.Error())
				continue
			}
			m.From = append(m.From, pattern)
		}
		if len(written) == 0 {
			entry.Fault("from", "at least one address, domain or pattern", `such as "user@example.com", "example.com" or "*@*.example.com"`)
		}
		if m.SignAs = readDomain(entry, "sign_as", ""); m.SignAs == "" && entry.String("sign_as", "") == "" {
			entry.Fault("sign_as", wantDomain, "it is d=, the domain whose keys sign")
		}
		m.Selectors = keys.ReadSelectors(entry, m.SignAs)
		m.Identity = keys.ReadIdentity(entry, m.SignAs)
		if len(m.From) > 0 && m.SignAs != "" {
			list = append(list, m)
		}
	}
	return list
}

// mapsTOML is [[sign.map]] on one line.
func mapsTOML(list []keys.Mapping) string {
	tables := make([]string, len(list))
	for i, m := range list {
		parts := []string{"from = " + quotedList(m.From), "sign_as = " + strconv.Quote(string(m.SignAs))}
		if m.Selectors != nil {
			parts = append(parts, "selectors = "+quotedList(m.Selectors))
		}
		if m.Identity != "" {
			parts = append(parts, "identity = "+strconv.Quote(m.Identity))
		}
		tables[i] = "{ " + strings.Join(parts, ", ") + " }"
	}
	return "[" + strings.Join(tables, ", ") + "]"
}
