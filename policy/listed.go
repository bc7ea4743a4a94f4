package policy

import (
	"maps"
	"slices"
	"strings"
)

// Listed are the rules of all files in force, each as the decision it makes, by file and in their order. Those that add
// tags decide nothing and are left out. Where there are more than so many files it is nil.
func (r *Rules) Listed(most int) []Decision {
	if r == nil || r.Files() > most {
		return nil
	}
	files := slices.AppendSeq(slices.Collect(maps.Values(r.files)), maps.Values(r.recipients))
	if r.fallback != nil {
		files = append(files, r.fallback)
	}
	slices.SortFunc(files, func(a, b *file) int { return strings.Compare(a.name, b.name) })
	var list []Decision
	for _, f := range files {
		for _, rule := range f.rules {
			if !rule.isTag {
				list = append(list, Decision{File: f.name, Rule: rule.name, Mode: f.mode, Action: rule.action})
			}
		}
	}
	return list
}
