package importer

import (
	"strings"
)

// datasetKind is how OpenDKIM looks something up in a set.
type datasetKind string

const (
	ofFile    datasetKind = "file"   // one entry a line
	ofPattern datasetKind = "refile" // the same; * in an entry stands for anything
	ofList    datasetKind = "csl"    // in the value itself, with commas
	notRead   datasetKind = ""       // a database, a program
)

// dataset is a set of entries, each with a value where the set maps something: opendkim(8), DATA SETS.
type dataset struct {
	kind    datasetKind
	written string // as the configuration names it
	path    string // of a file: as the system has it
	entries []entry
}

type entry struct {
	Place
	key, value string
}

// datasetFile splits what names a set into its kind and, where that is a file, the name of the file.
func datasetFile(written string) (kind datasetKind, file string) {
	prefix, rest, found := strings.Cut(written, ":")
	switch {
	case strings.HasPrefix(written, "/") && strings.HasSuffix(written, ".db"):
		return notRead, ""
	case strings.HasPrefix(written, "/"):
		return ofFile, written
	case !found:
		return ofList, ""
	}
	switch prefix {
	case "file":
		return ofFile, rest
	case "refile":
		return ofPattern, rest
	case "csl":
		return ofList, ""
	case "db", "bdb", "dsn", "ldap", "ldaps", "ldapi", "lua", "memcache", "mdb", "erlang", "repute", "socket":
		return notRead, ""
	}
	return ofList, ""
}

// ofNoType reports whether OpenDKIM takes what stands before the first colon of a list for a type of sets, and does not start.
func ofNoType(written string) bool {
	kind, _ := datasetFile(written)
	before, _, colon := strings.Cut(written, ":")
	return kind == ofList && colon && before != string(ofList) && !strings.Contains(before, ",")
}

// dataset reads the set that a setting names. Relative names are below base.
func (r root) dataset(s setting, base string) (dataset, error) {
	kind, file := datasetFile(s.value)
	d := dataset{kind: kind, written: s.value}
	switch kind {
	case notRead:
	case ofList:
		for item := range strings.SplitSeq(strings.TrimPrefix(s.value, "csl:"), ",") {
			key, value, _ := strings.Cut(item, "=")
			if key = strings.TrimSpace(key); key != "" {
				d.entries = append(d.entries, entry{s.Place, key, strings.TrimSpace(value)})
			}
		}
	case ofFile, ofPattern:
		if !strings.HasPrefix(file, "/") {
			file = base + "/" + file
		}
		d.path = r.path(file)
		data, err := r.read(file, s.Place)
		if err != nil {
			return d, err
		}
		for _, l := range lines(d.path, data) {
			at := strings.IndexAny(l.text, " \t")
			if at < 0 {
				at = len(l.text)
			}
			d.entries = append(d.entries, entry{l.Place, l.text[:at], strings.TrimSpace(l.text[at:])})
		}
	}
	return d, nil
}

// keys are those of the entries, each once.
func (d dataset) keys() []string {
	var all []string
	seen := map[string]bool{}
	for _, e := range d.entries {
		if !seen[e.key] {
			seen[e.key] = true
			all = append(all, e.key)
		}
	}
	return all
}
