package dkim

import "dkimd/internal/domain"

// Misplaced is a name at which a key record ends up by mistake.
type Misplaced struct {
	Name string
	Why  string // what is wrong with the name
}

// MisplacedNames are the names at which records are found that belong at RecordName: most panels add
// the name of the zone to what is entered, and people leave out a part.
func MisplacedNames(selector string, sdid domain.Name) []Misplaced {
	d := string(sdid)
	enter := selector + "._domainkey"
	list := []Misplaced{
		{enter + "." + d + "." + d, "the panel has added " + d + " once more; enter " + enter + " as the name"},
		{selector + "." + d, "_domainkey is missing in the name"},
		{selector + ".domainkey." + d, "the underscore before domainkey is missing"},
		{selector + "._domainkeys." + d, "it is _domainkey, without an s"},
		{selector + "_domainkey." + d, "the dot before _domainkey is missing"},
		{"_domainkey." + selector + "." + d, "the selector comes before _domainkey"},
		{"_domainkey." + d, "the selector is missing in the name"},
		{enter + "." + enter + "." + d, "the panel has added " + enter + " once more"},
		{d, "it is at the domain itself"},
	}
	if zone := sdid.Organizational(); zone != sdid && zone != "" {
		list = append(list,
			Misplaced{enter + "." + d + "." + string(zone), "the panel has added " + string(zone) + "; enter " + enter + "." + d[:len(d)-len(zone)-1] + " as the name"},
			Misplaced{enter + "." + string(zone), "it is there for " + string(zone) + " and not for " + d})
	}
	return list
}
