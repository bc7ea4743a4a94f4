package fault

import "time"

// Kept is a part of the configuration that stays in force as it was, because what a reload
// found of it on disk is broken.
type Kept struct {
	Domain string
	Since  time.Time // of the first reload that found it broken
	Faults Faults    // what has to be mended
}

// Words say so of each fault, in one line.
func (k Kept) Words() []string {
	lines := make([]string, len(k.Faults))
	for i, f := range k.Faults {
		lines[i] = k.Domain + " is as it was before " + k.Since.UTC().Format(time.RFC3339) + ", for the file is broken: " + f.Error()
	}
	return lines
}
