package keys

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"dkimd/internal/fault"
)

// The limits of a table in OpenDKIM's form. 100,000 lines take 10 MB, with the keys in them 200 MB.
const (
	maxTableBytes  = 256 << 20
	maxTableLine   = 16 << 10
	maxTableFaults = 20 // of its lines: more are counted
)

// Table is where a KeyTable or a SigningTable is.
type Table struct {
	Path    string // empty: the entries are in entries
	entries string // of csl
	globs   bool   // refile: the keys of a signing table are patterns, and the first that matches counts
}

// unread are the data sets of OpenDKIM and its forks that are no files.
const unread = " db dsn ldap ldaps ldapi lua memcache repute socket mdb erlang redis http https vault "

// ParseTable reads how a table is named, in OpenDKIM's form.
func ParseTable(written string) (Table, error) {
	kind, rest, typed := strings.Cut(written, ":")
	switch {
	case strings.HasPrefix(written, "/"):
		return Table{Path: filepath.Clean(written)}, nil
	case !typed:
		return Table{}, errors.New("begin it with /, or with csl: where the entries follow")
	case strings.Contains(unread, " "+strings.ToLower(kind)+" "):
		return Table{}, errors.New(kind + ": is not read: write the table to a file")
	case kind == "csl":
		return Table{entries: rest}, nil
	case kind != "file" && kind != "refile":
		return Table{}, errors.New("the kinds of table are file, refile and csl")
	case !strings.HasPrefix(rest, "/"):
		return Table{}, errors.New("begin the path with /: a daemon has no working directory of its own")
	}
	return Table{Path: filepath.Clean(rest), globs: kind == "refile"}, nil
}

// tableEntry is one line of a table: a name, white space, and a value.
type tableEntry struct {
	key, value string
	line       int
	fault      *fault.Fault // why the line cannot be used
}

// name is how faults call the table.
func (t Table) name() string {
	if t.Path == "" {
		return "csl:"
	}
	return t.Path
}

// HoldsKeys reports whether private keys may stand in the entries that are written in place of a path.
func (t Table) HoldsKeys() bool {
	return slices.ContainsFunc(splitCSL(t.entries), func(e tableEntry) bool {
		parts := strings.SplitN(e.value, ":", 3)
		return len(parts) == 3 && !strings.HasPrefix(parts[2], "/") && !strings.HasPrefix(parts[2], ".")
	})
}

// load reads the entries of a table. The error is why there are none at all.
func (t Table) load() ([]tableEntry, fingerprint, *fault.Fault) {
	if t.Path == "" {
		return splitCSL(t.entries), fingerprint{}, nil
	}
	check := func(path string, p fingerprint) *fault.Fault {
		switch {
		case !p.regular():
			return &fault.Fault{Path: path, Got: p.kind(), Want: wantTable, Hint: "name the file itself"}
		case p.mode&0o002 != 0: // who can write it says who signs for whom
			return writable(path, p)
		case p.size > maxTableBytes:
			return &fault.Fault{Path: path, Got: "more than 256 MiB", Want: wantTable, Hint: "is this the file you mean?"}
		}
		return nil
	}
	data, seen, wrong := (&permissions{}).read(t.Path, check)
	if wrong != nil {
		return nil, seen, wrong
	}
	if bytes.IndexByte(data[:min(len(data), 8<<10)], 0) >= 0 {
		return nil, seen, &fault.Fault{Path: t.Path, Got: "something binary", Want: wantTable, Hint: "is this the file you mean?"}
	}
	return splitTable(string(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))), seen, nil
}

const wantTable = "a text file with a line for each entry"

// splitTable cuts the text of a table into its entries. A # begins a comment, wherever it is.
func splitTable(text string) []tableEntry {
	entries := make([]tableEntry, 0, strings.Count(text, "\n")+1)
	line := 0
	for text != "" {
		var written string
		written, text, _ = strings.Cut(text, "\n")
		line++
		if len(written) > maxTableLine {
			key := written[:strings.IndexAny(written[:maxTableLine]+" ", " \t\v\f\r#")]
			entries = append(entries, tableEntry{line: line, key: key, fault: &fault.Fault{Got: "a line of more than 16 KiB", Want: "an entry"}})
			continue
		}
		written, _, _ = strings.Cut(written, "#")
		if written = strings.TrimSpace(written); written == "" {
			continue
		}
		e := tableEntry{line: line, key: written}
		if i := strings.IndexAny(written, " \t\v\f\r"); i >= 0 {
			e.key, e.value = written[:i], strings.TrimSpace(written[i:])
		}
		if !utf8.ValidString(written) || strings.ContainsRune(written, 0) {
			e.fault = &fault.Fault{Got: "bytes that are not UTF-8", Want: "an entry", Hint: "iconv -f latin1 -t utf-8 converts the file"}
		}
		entries = append(entries, e)
	}
	return entries
}

// splitCSL cuts a list of KEY=VALUE, separated by commas.
func splitCSL(text string) []tableEntry {
	var entries []tableEntry
	for written := range strings.SplitSeq(text, ",") {
		written = strings.TrimSpace(written)
		if written == "" {
			continue
		}
		e := tableEntry{key: written}
		if i := strings.IndexAny(written, "= \t"); i >= 0 {
			e.key, e.value = written[:i], strings.TrimSpace(written[i+1:])
		}
		entries = append(entries, e)
	}
	return entries
}

// at gives a fault the place of an entry.
func (t Table) at(line int, f fault.Fault) *fault.Fault {
	f.Path, f.Line = t.name(), line
	return &f
}

// few leaves the first faults of a table's lines, and says how many more there are.
func (t Table) few(faults fault.Faults) fault.Faults {
	if len(faults) <= maxTableFaults {
		return faults
	}
	more := len(faults) - maxTableFaults
	last := fault.Fault{Path: t.name(), Got: strconv.Itoa(more) + " more lines that cannot be used", Want: wantTable, Hint: "is this the file you mean?"}
	return append(slices.Clone(faults[:maxTableFaults]), last)
}
