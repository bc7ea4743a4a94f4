package policy

import (
	"io/fs"
	"path/filepath"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
)

// overlook warns of what is in the directory and is no rules file, though its author may believe it is.
func (l *loader) overlook(dir string, entry fs.DirEntry) {
	name := entry.Name()
	if fault.Leftover(name) {
		return
	}
	w := fault.Fault{
		Path: filepath.Join(dir, name), Got: "a file that is no rules file because of its name",
		Want: "DOMAIN.toml, or " + defaultName, Hint: "rename it, or move it away",
	}
	if entry.IsDir() {
		if sender, err := domain.Parse(name); err != nil || !strings.Contains(string(sender), ".") {
			return // somebody's own business
		}
		w.Got, w.Hint = "a directory, in which no rules are looked for", "the rules for "+name+" are in "+name+".toml"
	}
	l.rules.warnings = append(l.rules.warnings, w)
}

// unclaimable warns of a file for a domain of one label: mail of such a domain comes only from its subdomains.
func (l *loader) unclaimable(path string, f *file) {
	if strings.Contains(string(f.domain), ".") || f.subdomains || f.domain == "default" {
		return
	}
	hint := "with subdomains = true it is for all domains below " + string(f.domain)
	meant, err := domain.Parse(strings.NewReplacer("_", ".", "-", ".", ",", ".", " ", ".").Replace(string(f.domain)))
	if err == nil && strings.Contains(string(meant), ".") {
		hint = "for " + string(meant) + " name it " + string(meant) + ".toml"
	}
	l.rules.warnings = append(l.rules.warnings, fault.Fault{
		Path: path, Got: "rules for a domain of one label, from which no mail comes", Want: "the name of a domain and .toml", Hint: hint,
	})
}
