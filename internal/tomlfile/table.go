package tomlfile

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/fault"
)

// Table is one table of the file. Its accessors check type and range; if a value is
// wrong they record a fault and return the default. Asking for a key makes it known. A Table is not safe for use by several goroutines.
type Table struct {
	file    *File
	path    string
	line    int
	entries map[string]*value
	known   map[string]bool   // asked for through an accessor
	used    map[string]bool   // known, or a fault about it is recorded already
	absent  map[string]*Table // handed out for tables that the file does not have
	asked   bool              // handed out; the keys of others are covered by a fault about the table

	expanded map[string][]entry // lists that take in shared ones
}

// Has reports whether the file sets the key. It does not make it known.
func (t *Table) Has(key string) bool { return t.entries[key] != nil }

// IsString reports whether the file sets the key to a string. It does not make it known.
func (t *Table) IsString(key string) bool { return t.Has(key) && t.entries[key].kind == kindString }

// Path is that of the file the table is in.
func (t *Table) Path() string { return t.file.path }

// Keys are the keys the file sets in this table, in the order of their lines.
func (t *Table) Keys() []string {
	keys := slices.Sorted(maps.Keys(t.entries))
	slices.SortStableFunc(keys, func(a, b string) int { return t.entries[a].line - t.entries[b].line })
	return keys
}

// Line is the line of the table's header; an absent table has that of the table above it.
func (t *Table) Line() int { return t.line }

// LineOf is the line of a key, or of the table where the key is absent.
func (t *Table) LineOf(key string) int {
	if v := t.entries[key]; v != nil {
		return v.line
	}
	return t.line
}

// KeyPath is the key as faults name it: milter.listen, rule[2].action (counted from 1).
func (t *Table) KeyPath(key string) string {
	if t.path == "" {
		return bareKey(key)
	}
	return t.path + "." + bareKey(key)
}

// Table is the subtable of that name; an empty one where it is absent.
func (t *Table) Table(key string) *Table {
	if v := t.ask(key); v != nil {
		if v.table != nil {
			v.table.asked = true
			return v.table
		}
		t.wrongType(key, v, "a table", "begin it with a line ["+t.KeyPath(key)+"]")
	}
	if sub := t.absent[key]; sub != nil {
		return sub
	}
	sub := empty(t.file.path).root
	sub.file, sub.path, sub.line = t.file, t.KeyPath(key), t.LineOf(key)
	if t.absent == nil {
		t.absent = map[string]*Table{}
	}
	t.absent[key] = sub
	return sub
}

// Tables are the tables of an array of tables, [[key]], in their order.
func (t *Table) Tables(key string) []*Table {
	v := t.ask(key)
	if v == nil {
		return nil
	}
	const want = "an array of tables"
	hint := "begin each with a line [[" + t.KeyPath(key) + "]]"
	if v.kind != kindList {
		t.wrongType(key, v, want, hint)
		return nil
	}
	tables := make([]*Table, 0, len(v.items))
	for _, item := range v.items {
		if item.table == nil {
			t.wrongType(key, v, want, hint)
			return nil
		}
		item.table.asked = true
		tables = append(tables, item.table)
	}
	return tables
}

// String is a string.
func (t *Table) String(key, def string) string {
	v := t.ask(key)
	if v == nil {
		return def
	}
	if v.kind != kindString {
		t.wrongType(key, v, "a string", quoteHint(v))
		return def
	}
	return v.text
}

// Strings is a list of strings; a single string is a list of one.
func (t *Table) Strings(key string, def []string) []string {
	items, ok := t.list(key)
	if !ok {
		return slices.Clone(def)
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		list = append(list, item.text)
	}
	return list
}

// Bool is true or false.
func (t *Table) Bool(key string, def bool) bool {
	v := t.ask(key)
	if v == nil {
		return def
	}
	if v.kind != kindBool {
		hint := ""
		if v.kind == kindString && (v.text == "true" || v.text == "false") {
			hint = "write it without quotes: " + v.text
		}
		t.wrongType(key, v, "true or false", hint)
		return def
	}
	return v.text == "true"
}

// Int is a whole number from least to most.
func (t *Table) Int(key string, def, least, most int64) int64 {
	v := t.ask(key)
	if v == nil {
		return def
	}
	want := "a whole number from " + strconv.FormatInt(least, 10) + " to " + strconv.FormatInt(most, 10)
	if v.kind != kindInteger {
		hint := ""
		if _, err := strconv.ParseInt(v.text, 10, 64); v.kind == kindString && err == nil {
			hint = "write it without quotes: " + v.text
		}
		t.wrongType(key, v, want, hint)
		return def
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(v.text, "_", ""), 0, 64)
	if err != nil || n < least || n > most {
		t.Fault(key, want, "")
		return def
	}
	return n
}

// Duration is a span of time such as "90s", "1h30m", "7d", "2w" or "0", from
// least to most; a most of 0 sets no upper bound.
func (t *Table) Duration(key string, def, least, most time.Duration) time.Duration {
	if most == 0 {
		most = math.MaxInt64
	}
	v := t.ask(key)
	if v == nil {
		return def
	}
	want := "a duration of at least " + FormatDuration(least)
	if most != math.MaxInt64 {
		want = "a duration from " + FormatDuration(least) + " to " + FormatDuration(most)
	}
	if v.kind != kindString {
		hint := `write a number with its unit, in quotes: "30s", "5m", "12h", "7d"`
		if v.kind == kindInteger && v.text == "0" {
			hint = `write it in quotes: "0"`
		}
		t.wrongType(key, v, want, hint)
		return def
	}
	d, ok := ParseDuration(v.text)
	switch {
	case !ok:
		t.Fault(key, want, `write a number with its unit: "30s", "5m", "12h", "7d"`)
		return def
	case d < least || d > most:
		t.Fault(key, want, "")
		return def
	}
	return d
}

// Enum is one of the allowed words.
func (t *Table) Enum(key, def string, allowed ...string) string {
	v := t.ask(key)
	if v == nil {
		return def
	}
	if v.kind == kindString && slices.Contains(allowed, v.text) {
		return v.text
	}
	if v.kind != kindString {
		t.wrongType(key, v, choice(allowed), "")
		return def
	}
	t.Fault(key, choice(allowed), didYouMean(v.text, allowed))
	return def
}

// EnumList is a list of allowed words; a single string is a list of one.
func (t *Table) EnumList(key string, def []string, allowed ...string) []string {
	items, ok := t.list(key)
	if !ok {
		return slices.Clone(def)
	}
	list := make([]string, 0, len(items))
	for i, item := range items {
		if !slices.Contains(allowed, item.text) {
			t.FaultItem(key, i, choice(allowed), didYouMean(item.text, allowed))
			continue
		}
		list = append(list, item.text)
	}
	return list
}

// Prefixes is a list of networks in CIDR form or single addresses. IPv4-mapped
// ones become IPv4, the form in which clients are compared. Shared lists are taken in.
func (t *Table) Prefixes(key string, def []netip.Prefix) []netip.Prefix {
	items, ok := t.expand(key)
	if !ok {
		return slices.Clone(def)
	}
	list := make([]netip.Prefix, 0, len(items))
	for i, item := range items {
		prefix, hint := ParsePrefix(item.text)
		if hint != "" {
			t.FaultItem(key, i, "an address or a network in CIDR form", hint)
			continue
		}
		list = append(list, prefix)
	}
	return list
}

// Fault records a fault about a key; what the file says there is filled in.
func (t *Table) Fault(key, want, hint string) {
	got := "nothing"
	if v := t.entries[key]; v != nil {
		got = v.String()
	}
	t.FaultGot(key, got, want, hint)
}

// FaultGot is Fault where what the file says may hold a secret: got stands for it.
func (t *Table) FaultGot(key, got, want, hint string) {
	t.used[key] = true
	t.file.Add(fault.Fault{Line: t.LineOf(key), Key: t.KeyPath(key), Got: got, Want: want, Hint: hint})
}

// FaultItem records a fault about one element of a list, counted from 0 as the accessor
// gave them, at the element's own line.
func (t *Table) FaultItem(key string, i int, want, hint string) {
	if entries := t.expanded[key]; 0 <= i && i < len(entries) {
		if entries[i].list != "" {
			t.misfit(key, entries[i], want, hint)
			return
		}
		i = entries[i].index
	}
	v := t.entries[key]
	if v == nil || v.kind != kindList || i < 0 || i >= len(v.items) {
		t.Fault(key, want, hint)
		return
	}
	t.used[key] = true
	t.file.Add(fault.Fault{Line: v.items[i].line, Key: t.itemPath(key, i), Got: v.items[i].String(), Want: want, Hint: hint})
}

func (t *Table) itemPath(key string, i int) string {
	return t.KeyPath(key) + "[" + strconv.Itoa(i+1) + "]"
}

// ask makes a key known and returns what the file says there.
func (t *Table) ask(key string) *value {
	t.known[key], t.used[key] = true, true
	return t.entries[key]
}

// list is the string elements of a list; !ok: absent, no list, or not all of
// them strings, each of which is a fault of its own.
func (t *Table) list(key string) ([]*value, bool) {
	v := t.ask(key)
	switch {
	case v == nil:
		return nil, false
	case v.kind == kindString:
		return []*value{v}, true
	case v.kind != kindList:
		t.wrongType(key, v, "a list of strings", quoteHint(v))
		return nil, false
	}
	sound := true
	for i, item := range v.items {
		if item.kind != kindString {
			sound = false
			t.file.Add(fault.Fault{
				Line: item.line, Key: t.itemPath(key, i), Got: item.typed(), Want: "a string", Hint: quoteHint(item),
			})
		}
	}
	return v.items, sound
}

func (t *Table) wrongType(key string, v *value, want, hint string) {
	t.file.Add(fault.Fault{Line: v.line, Key: t.KeyPath(key), Got: v.typed(), Want: want, Hint: hint})
}

// subtables are the tables that were handed out.
func (t *Table) subtables() []*Table {
	var subs []*Table
	for _, v := range t.entries {
		if v.table != nil && v.table.asked {
			subs = append(subs, v.table)
		}
		for _, item := range v.items {
			if item.table != nil && item.table.asked {
				subs = append(subs, item.table)
			}
		}
	}
	return subs
}
