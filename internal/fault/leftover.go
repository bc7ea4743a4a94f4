package fault

import (
	"slices"
	"strings"
)

// Leftover reports the names of files that are out of use on purpose: hidden ones (Kubernetes' ..data, .git), and
// what editors, package managers and administrators leave beside the files in use. They are no faults.
func Leftover(name string) bool {
	if name == "" || name[0] == '.' || name[0] == '#' || name == "lost+found" || strings.HasPrefix(strings.ToUpper(name), "README") {
		return true
	}
	return slices.ContainsFunc([]string{"~", ".bak", ".old", ".orig", ".save", ".disabled", ".swp", ".rpmsave", ".rpmnew"}, func(end string) bool {
		return strings.HasSuffix(name, end)
	}) || strings.Contains(name, ".dpkg-") || strings.Contains(name, ".ucf-")
}
