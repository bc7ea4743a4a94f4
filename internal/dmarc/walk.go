package dmarc

import (
	"errors"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/resolver"
)

// maxQueries is how many names one walk asks at most (RFC 9989 section 4.10): the start, and its last 7 labels.
const maxQueries = 8

// Lookup looks up TXT records. An error that is neither resolver.ErrNotExist nor resolver.ErrNoData means that nobody
// could tell. It is asked once for a name.
type Lookup func(name string) (resolver.Answer, error)

// Step is one name that DNS was asked for.
type Step struct {
	For  string      // what was to be found
	Of   domain.Name // of which name
	Name string
	Text string // the record that counts, or why there is none
	Err  error  // nobody could tell
}

// stand is a name and the record at it.
type stand struct {
	name domain.Name
	record
	found bool
	err   error
}

// is reports whether the record says that its name is a public suffix (y) or an organizational domain (n). We
// depart from RFC 9989 here (docs/divergences.md): where everybody can register names, the name belongs to no
// organization, though its registry forgot to say so. Else strangers would be aligned with each other (section 11.8).
func (s stand) is(psd byte) bool {
	if isSuffix(s.name) {
		return psd == 'y'
	}
	return s.psd == psd
}

// isSuffix reports whether everybody can register names below this one: ck is a suffix too, of which the list has *.ck.
func isSuffix(name domain.Name) bool {
	return name.IsPublicSuffix() || ("*." + name).IsPublicSuffix()
}

// walker asks DNS, each name once.
type walker struct {
	lookup Lookup
	asked  []stand // at most maxQueries a walk
	steps  []Step
}

// ask looks for the record of a name: exactly one that begins with v=DMARC1 (section 4.10, steps 2 and 6).
func (w *walker) ask(name domain.Name, goal string, of domain.Name) stand {
	for i := range w.asked {
		if w.asked[i].name == name {
			return w.asked[i]
		}
	}
	s := stand{name: name}
	if at := "_dmarc." + name; at.Lookable() { // else DNS cannot have one
		step := Step{For: goal, Of: of, Name: string(at)}
		var answer resolver.Answer
		answer, s.err = w.lookup(step.Name)
		switch {
		case errors.Is(s.err, resolver.ErrNotExist), errors.Is(s.err, resolver.ErrNoData):
			step.Text, s.err = "no record: "+s.err.Error(), nil
		case s.err != nil:
			step.Err = s.err
		default:
			s.record, step.Text = only(answer.Records)
			s.found = s.psd != 0
		}
		w.steps = append(w.steps, step)
	}
	w.asked = append(w.asked, s)
	return s
}

// only is the DMARC record among TXT records. Of several, none counts.
func only(records []string) (found record, text string) {
	text = "no record among those of TXT"
	for _, txt := range records {
		r, ok := parseRecord(txt)
		switch {
		case !ok:
		case found.psd != 0:
			return record{}, "several records, of which none counts"
		default:
			found, text = r, txt
		}
	}
	return found, text
}

// walk is the DNS tree walk from a name up (section 4.10): the records on the way, the longest name first. It
// does not climb past a name about which nobody could tell. Nobody is asked above a record right below a public
// suffix: nothing there would count (see stand.is), and a registry whose DNS fails is to hold up no mail.
func (w *walker) walk(start domain.Name) (found []stand, err error) {
	name := start
	for {
		s := w.ask(name, "organizational domain", start)
		if s.err != nil {
			return found, s.err
		}
		if s.found {
			found = append(found, s)
			if s.is('y') || s.is('n') || isSuffix(parent(s.name)) {
				return found, nil
			}
		}
		if name == start {
			name = tail(name)
		}
		if name = parent(name); name == "" {
			return found, nil
		}
	}
}

// parent is empty at the top.
func parent(name domain.Name) domain.Name {
	_, above, _ := strings.Cut(string(name), ".")
	return domain.Name(above)
}

// tail are the last maxQueries labels of a name, which may be as long as a message.
func tail(name domain.Name) domain.Name {
	for n := strings.Count(string(name), "."); n >= maxQueries; n-- {
		name = parent(name)
	}
	return name
}

// organizational is the organizational domain of the name where a walk began (section 4.10.2).
func organizational(start domain.Name, found []stand) domain.Name {
	org := start
	for _, s := range found {
		switch {
		case s.is('n'):
			return s.name
		case s.is('y') && s.name != start:
			return below(s.name, start)
		}
		org = s.name
	}
	return org
}

// below is the name one label longer than suffix, which may be the root, on the way to name. It is longer where that is a public suffix too, as
// co.uk is below a record of uk: else all of its registrants would be one organization (see stand.is).
func below(suffix, name domain.Name) domain.Name {
	for name = tail(name); ; {
		up := parent(name)
		if up == suffix || up == "" || isSuffix(up) {
			return name
		}
		name = up
	}
}
