// Package tomlfile reads a TOML file strictly and keeps the line of every
// value, so that an operator learns all that is wrong with it at once. It knows
// TOML's types, ranges and the spelling of keys; what a value means is the
// caller's: it asks a Table for each key it knows, and a key that was not asked for
// is unknown. A file that is not TOML gives a single fault and an empty Root.
package tomlfile

import (
	"bytes"
	"cmp"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"dkimd/internal/fault"
	"dkimd/internal/safetext"
)

// MaxBytes is the size of the largest file that is read.
const MaxBytes = 1 << 20

// File is one TOML file being read.
type File struct {
	path   string
	root   *Table
	faults fault.Faults
	warned fault.Faults
	broken bool    // not TOML: the one fault is enough, more would mislead
	parts  []*File // those that Include and Lines took in
	lists  *Lists  // shared lists, or nil
}

// Read reads the file at path. The error is the operating system's (absent,
// unreadable); everything that is wrong with the content is in Faults.
func Read(path string) (*File, error) {
	data, wrong, err := readRegular(path, "a TOML file")
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		file := empty(path)
		file.fail(*wrong)
		return file, nil
	}
	return Parse(path, data), nil
}

// readRegular reads a regular file, and one octet more than MaxBytes where it is larger.
func readRegular(path, want string) (data []byte, wrong *fault.Fault, err error) {
	// Opening a pipe does not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, err
	case info.IsDir():
		return nil, &fault.Fault{Got: "a directory", Want: want, Hint: "name the file in it"}, nil
	case !info.Mode().IsRegular():
		return nil, &fault.Fault{Got: "something that is not a regular file", Want: want}, nil
	}
	data, err = io.ReadAll(io.LimitReader(f, MaxBytes+1))
	return data, nil, err
}

// Parse reads data; path only names it in faults.
func Parse(path string, data []byte) *File {
	file := empty(path)
	if file.tooLarge(data) {
		return file
	}
	data = bytes.TrimPrefix(data, []byte(byteOrderMark)) // which TOML does not allow
	if wrong, ok := notText(data); ok {
		file.fail(wrong)
		return file
	}
	if wrong, ok := syntaxFault(data); ok {
		file.fail(wrong)
		return file
	}
	file.root = build(file, data)
	return file
}

// byteOrderMark is what Windows editors begin a file with.
const byteOrderMark = "\xef\xbb\xbf"

func (f *File) tooLarge(data []byte) bool {
	if len(data) > MaxBytes {
		f.fail(fault.Fault{Got: "more than 1 MiB", Want: "a file of at most 1 MiB", Hint: "is this the file you mean?"})
	}
	return f.broken
}

func empty(path string) *File {
	f := &File{path: path}
	f.root = &Table{file: f, entries: map[string]*value{}, known: map[string]bool{}, used: map[string]bool{}}
	return f
}

// Path is the name under which faults report the file.
func (f *File) Path() string { return f.path }

// Root is the table of the keys above every [header]; empty for a broken file.
func (f *File) Root() *Table { return f.root }

// Add records a fault that belongs to no single key. Path is filled in.
func (f *File) Add(wrong fault.Fault) {
	if f.broken {
		return
	}
	wrong.Path = f.path
	wrong.Want, wrong.Hint = safetext.Clip(wrong.Want, maxHint), safetext.Clip(wrong.Hint, maxHint)
	f.faults = append(f.faults, wrong)
}

func (f *File) fail(wrong fault.Fault) {
	f.Add(wrong)
	f.broken = true
}

// Caution records what works, and is likely not what the operator wants. An empty Path is filled in.
func (f *File) Caution(w fault.Fault) {
	w.Path = cmp.Or(w.Path, f.path)
	f.warned = append(f.warned, w)
}

// Warnings are all that was warned of, file by file and by line.
func (f *File) Warnings() (all fault.Faults) {
	for _, file := range f.all() {
		all = append(all, file.warned.Sorted()...)
	}
	return all
}

// all is f and all that was taken in.
func (f *File) all() []*File {
	files := []*File{f}
	for _, part := range f.parts {
		files = append(files, part.all()...)
	}
	return files
}

// Include takes the tables of another file into f, as if they stood there; faults in them name the file they
// stand in. The keys of a table are in one file only, and other keys are in f. A table without keys, as in an
// annotated file with all of them commented out, is as good as none.
func (f *File) Include(part *File) {
	f.parts = append(f.parts, part)
	for _, key := range slices.Sorted(maps.Keys(part.root.entries)) {
		v, before := part.root.entries[key], f.root.entries[key]
		switch {
		case v.table == nil:
			part.Add(fault.Fault{Line: v.line, Key: key, Got: "a key above the first [table]", Want: "it in " + f.path, Hint: "further files hold whole tables"})
		case before != nil && before.table != nil && len(before.table.entries) > 0 && len(v.table.entries) > 0:
			part.Add(fault.Fault{
				Line: v.line, Key: key, Got: "a table that " + before.table.file.path + " has too", Want: "each table in one file",
				Hint: "move all its keys to one of them",
			})
		case before == nil || before.table != nil && len(before.table.entries) == 0:
			f.root.entries[key] = v
		}
	}
}

// Faults are all faults found, file by file and by line, and every key that was not asked for:
// call it when everything has been read.
func (f *File) Faults() fault.Faults {
	homes := map[string][]string{}
	f.root.homes(homes)
	unknown := f.root.unknown(nil, homes)
	var all fault.Faults
	for _, file := range f.all() {
		of := slices.Clone(file.faults)
		for _, u := range unknown {
			if u.Path == file.path {
				of = append(of, u)
			}
		}
		all = append(all, of.Sorted()...)
	}
	return all
}

// Place gives a fault that came to light later the file, and the line of its key
// where the file has it. An index is left out of a key that holds a single value.
func (f *File) Place(wrong fault.Fault) fault.Fault {
	t, name := f.root, wrong.Key
	for {
		table, rest, deeper := strings.Cut(name, ".")
		if !deeper {
			break
		}
		v := t.entries[table]
		if v == nil || v.table == nil {
			break
		}
		t, name = v.table, rest
	}
	wrong.Path = t.file.path
	name, index, indexed := strings.Cut(strings.TrimSuffix(name, "]"), "[")
	v := t.entries[name]
	if v == nil || v.kind != kindList {
		wrong.Key, _, _ = strings.Cut(wrong.Key, "[")
	}
	if v != nil {
		wrong.Line = v.line
		if i, err := strconv.Atoi(index); indexed && err == nil && 0 < i && i <= len(v.items) {
			wrong.Line = v.items[i-1].line
		}
	}
	return wrong
}

// homes collects in which tables each key is known.
func (t *Table) homes(into map[string][]string) {
	home := t.path
	if array, _, element := strings.Cut(home, "["); element {
		home = "[" + array + "]" // all elements are one home, [[array]]
	}
	for key := range t.known {
		if len(into[key]) < 2 && !slices.Contains(into[key], home) { // one home is worth a hint, more are not
			into[key] = append(into[key], home)
		}
	}
	for _, sub := range t.subtables() {
		sub.homes(into)
	}
	for _, sub := range t.absent {
		sub.homes(into)
	}
}

func (t *Table) unknown(all fault.Faults, homes map[string][]string) fault.Faults {
	for key, v := range t.entries {
		if t.used[key] {
			continue
		}
		f := fault.Fault{Path: t.file.path, Line: v.line, Key: t.KeyPath(key), Got: "an unknown key"}
		if v.table != nil { // maybe of an included file
			f.Path = v.table.file.path
		}
		known := sortedKeys(t.known)
		switch near := nearest(key, known); {
		case near != "":
			f.Want, f.Hint = "a known one", "did you mean "+near+"?"
		case len(homes[key]) == 1 && homes[key][0] == "":
			f.Want, f.Hint = "a known one", key+" belongs above the first [table]"
		case len(homes[key]) == 1:
			f.Want, f.Hint = "a known one", key+" belongs in ["+homes[key][0]+"]"
		case len(known) == 0:
			f.Want = "none here"
		default:
			f.Want = "one of " + strings.Join(known, ", ")
		}
		all = append(all, f)
	}
	for _, sub := range t.subtables() {
		all = sub.unknown(all, homes)
	}
	return all
}
