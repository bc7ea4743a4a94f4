package tomlfile

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/fault"
)

// Lists are lists that other lists take in by name: "@forwarders" there stands for all that
// forwarders holds. Nil has none. It is for one goroutine, which reads files with it.
type Lists struct {
	table *Table
	items map[string][]*value
	used  map[string]bool
}

// Lists makes shared lists of the keys of a table, each a list of strings.
func (t *Table) Lists() *Lists {
	l := &Lists{table: t, items: map[string][]*value{}, used: map[string]bool{}}
	for _, name := range t.Keys() {
		l.items[name], _ = t.list(name)
	}
	return l
}

// Share lets the lists of f that Prefixes and Entries read take in shared ones.
func (f *File) Share(l *Lists) {
	for _, file := range f.all() {
		file.lists = l
	}
}

// SharedName is the name of the list that an entry stands for. "@example.org" stands for a domain: it has a dot.
func SharedName(entry string) (name string, ok bool) {
	name, ok = strings.CutPrefix(entry, "@")
	return name, ok && isBare(name) && len(name) <= maxGot
}

// Unused are warnings of the lists that no file read so far takes in.
func (l *Lists) Unused() fault.Faults {
	var unused fault.Faults
	if l == nil {
		return nil
	}
	for _, name := range l.table.Keys() {
		if !l.used[name] {
			unused = append(unused, fault.Fault{
				Path: l.table.file.path, Line: l.table.LineOf(name), Key: l.table.KeyPath(name),
				Got: "a list that nothing uses", Want: strconv.Quote("@"+name) + " somewhere", Hint: "remove it, or use it",
			})
		}
	}
	return unused
}

// entry is an element of a list as it counts: one that the file has, or one of a shared list.
type entry struct {
	*value
	index int    // of the element that the file has in its place
	list  string // the shared list it is of, and where that is
}

// Entries is Strings with shared lists in it.
func (t *Table) Entries(key string) []string {
	entries, _ := t.expand(key)
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = e.text
	}
	return list
}

// expand is list with the shared lists that its elements stand for.
func (t *Table) expand(key string) ([]entry, bool) {
	items, ok := t.list(key)
	if !ok {
		return nil, false
	}
	delete(t.expanded, key) // faults of elements are about those written here, from now on
	entries := make([]entry, 0, len(items))
	for i, item := range items {
		name, shared := SharedName(item.text)
		if !shared {
			entries = append(entries, entry{value: item, index: i})
			continue
		}
		of, where := t.file.lists.take(name)
		if where == "" {
			t.FaultItem(key, i, "a list of [lists] in dkimd.toml", t.file.lists.hint(name))
		}
		for _, v := range of {
			entries = append(entries, entry{value: v, index: i, list: where})
		}
	}
	if t.expanded == nil {
		t.expanded = map[string][]entry{}
	}
	t.expanded[key] = entries
	return entries, true
}

// take is what a list holds and where it is; nothing: there is no such list.
func (l *Lists) take(name string) (items []*value, where string) {
	if l == nil || !l.table.Has(name) {
		return nil, ""
	}
	l.used[name] = true
	return l.items[name], l.table.KeyPath(name) + " (" + l.table.file.path + ":" + strconv.Itoa(l.table.LineOf(name)) + ")"
}

func (l *Lists) hint(name string) string {
	if l == nil || len(l.items) == 0 {
		return "there is none; a domain without a dot is written without the @"
	}
	names := slices.Sorted(maps.Keys(l.items))
	if near := nearest(name, names); near != "" {
		return "did you mean " + strconv.Quote("@"+near) + "?"
	}
	return "there are " + strings.Join(names, ", ")
}

// misfit records that an entry of a shared list does not fit where the list is used. One is enough for a list.
func (t *Table) misfit(key string, e entry, want, hint string) {
	v := t.entries[key]
	path, line := t.KeyPath(key), v.line
	if v.kind == kindList {
		path, line = t.itemPath(key, e.index), v.items[e.index].line
	}
	told := func(f fault.Fault) bool { return f.Key == path && f.Line == line }
	if slices.ContainsFunc(t.file.faults, told) {
		return
	}
	t.file.Add(fault.Fault{Line: line, Key: path, Got: e.String() + " of " + e.list, Want: want, Hint: cmp.Or(hint, "use a list of another kind")})
}
