package importer

import (
	"strings"
	"unicode/utf8"

	"dkimd/internal/fault"
	"dkimd/internal/safetext"
)

// ucl is a value in rspamd's language of configurations (UCL), of which this reads what people write: see docs/adr. A number or
// a boolean is its text.
type ucl struct {
	Place
	text   string
	list   []*ucl   // of [ ], or of a key that is there several times
	object []uclKey // of { }, in order
	kind   uclKind
}

type uclKind uint8

const (
	uclText uclKind = iota
	uclList
	uclObject
)

type uclKey struct {
	name  string
	value *ucl
}

// get is the value of a key of an object, or nil; several values are a list.
func (u *ucl) get(name string) *ucl {
	if u == nil {
		return nil
	}
	var found *ucl
	for _, k := range u.object {
		if k.name != name {
			continue
		}
		if found == nil {
			found = k.value
			continue
		}
		if found.kind != uclList {
			found = &ucl{Place: found.Place, kind: uclList, list: []*ucl{found}}
		}
		found.list = append(found.list, k.value)
	}
	return found
}

// set gives a key a value in the place of all that it has.
func (u *ucl) set(name string, value *ucl) {
	var kept []uclKey
	for _, k := range u.object {
		if k.name != name {
			kept = append(kept, k)
		}
	}
	u.object = append(kept, uclKey{name, value})
}

// merge takes the keys of another object: objects are merged, other values take the place of those before.
func (u *ucl) merge(with *ucl) {
	seen := map[string]bool{}
	for _, k := range with.object {
		before := u.get(k.name)
		switch {
		case before != nil && before.kind == uclObject && k.value.kind == uclObject:
			before.merge(k.value)
		case seen[k.name]: // several values of one file
			u.object = append(u.object, k)
		default:
			u.set(k.name, k.value)
		}
		seen[k.name] = true
	}
}

// uclReader reads one file.
type uclReader struct {
	path      string
	text      string
	at, line  int
	variables map[string]string
	include   func(r *uclReader, into *ucl, arguments, path string) error
}

// parseUCL reads a file; include is asked for each .include.
func parseUCL(path string, data []byte, variables map[string]string, include func(r *uclReader, into *ucl, arguments, path string) error) (*ucl, error) {
	r := &uclReader{path: path, text: strings.TrimPrefix(string(data), "\ufeff"), line: 1, variables: variables, include: include}
	if !utf8.ValidString(r.text) {
		return nil, r.fault("bytes that are not UTF-8", "a configuration of rspamd")
	}
	top := &ucl{Place: Place{path, 1}, kind: uclObject}
	r.space()
	braces := r.peek() == '{' && !r.template() // JSON, or all in braces
	if braces {
		r.next()
	}
	if err := r.keys(top, braces); err != nil {
		return nil, err
	}
	return top, nil
}

func (r *uclReader) fault(got, want string) error {
	return fault.Fault{Path: r.path, Line: r.line, Got: got, Want: want}
}

func (r *uclReader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

func (r *uclReader) next() byte {
	c := r.peek()
	if c == '\n' {
		r.line++
	}
	r.at++
	return c
}

// space passes over white space and comments.
func (r *uclReader) space() {
	for r.at < len(r.text) {
		switch rest := r.text[r.at:]; {
		case strings.ContainsRune(" \t\r\n", rune(rest[0])):
			r.next()
		case rest[0] == '#':
			for r.at < len(r.text) && r.peek() != '\n' {
				r.next()
			}
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest, "*/")
			if end < 0 {
				end = len(rest) - 2
			}
			for range end + 2 {
				r.next()
			}
		default:
			return
		}
	}
}

// keys reads the keys of an object, up to its brace or the end of the file.
func (r *uclReader) keys(into *ucl, braces bool) error {
	for {
		r.space()
		switch c := r.peek(); {
		case r.at >= len(r.text) && !braces:
			return nil
		case r.at >= len(r.text):
			return r.fault("the end of the file", "a } for the { of line "+itoa(into.Line))
		case c == '}' && braces:
			r.next()
			return nil
		case c == ';' || c == ',':
			r.next()
		case c == '.':
			if err := r.macro(into); err != nil {
				return err
			}
		case r.template():
			return r.fault("a template", "a value: import what rspamadm configdump dkim_signing prints")
		default:
			if err := r.key(into); err != nil {
				return err
			}
		}
	}
}

// template reports whether a template of Jinja begins here.
func (r *uclReader) template() bool {
	return strings.HasPrefix(r.text[r.at:], "{%") || strings.HasPrefix(r.text[r.at:], "{{")
}

// macro reads .include and its like.
func (r *uclReader) macro(into *ucl) error {
	start := r.at
	for r.at < len(r.text) && !strings.ContainsRune(" \t\r\n(;", rune(r.peek())) {
		r.next()
	}
	name, arguments := r.text[start:r.at], ""
	if r.peek() == '(' {
		end := strings.IndexByte(r.text[r.at:], ')')
		if end < 0 {
			return r.fault("a ( without )", "the arguments of "+safetext.Quote(name))
		}
		arguments = r.text[r.at+1 : r.at+end]
		for range end + 1 {
			r.next()
		}
	}
	r.space()
	value, err := r.scalar()
	if err != nil {
		return err
	}
	if name != ".include" && name != ".includes" {
		return r.fault(safetext.Quote(name), "keys and values: import what rspamadm configdump dkim_signing prints")
	}
	return r.include(r, into, arguments, value.text)
}

// key reads NAME VALUE, with = or : between, or NAME NAME { }.
func (r *uclReader) key(into *ucl) error {
	at := Place{r.path, r.line}
	name, err := r.word(" \t\r\n=:{[;}")
	if err != nil {
		return err
	}
	if name == "" {
		return r.fault(safetext.Quote(string(r.peek())), "a key")
	}
	r.space()
	assigned := false
	if c := r.peek(); c == '=' || c == ':' {
		r.next()
		r.space()
		assigned = true
	}
	var value *ucl
	if c := r.peek(); !assigned && c != '{' && c != '[' { // section "name" { } or key value;
		value, err = r.scalar()
		if r.space(); err == nil && r.peek() == '{' {
			inner := &ucl{Place: at, kind: uclObject}
			var below *ucl
			below, err = r.value()
			inner.object = []uclKey{{value.text, below}}
			value = inner
		}
	} else {
		value, err = r.value()
	}
	if err != nil {
		return err
	}
	value.Place = at
	into.object = append(into.object, uclKey{name, value})
	return nil
}

// value reads an object, a list or a text.
func (r *uclReader) value() (*ucl, error) {
	u := &ucl{Place: Place{r.path, r.line}}
	switch r.peek() {
	case '{':
		r.next()
		u.kind = uclObject
		return u, r.keys(u, true)
	case '[':
		r.next()
		u.kind = uclList
		for {
			r.space()
			switch c := r.peek(); {
			case r.at >= len(r.text):
				return nil, r.fault("the end of the file", "a ] for the [ of line "+itoa(u.Line))
			case c == ']':
				r.next()
				return u, nil
			case c == ',' || c == ';':
				r.next()
			default:
				before := r.at
				item, err := r.value()
				if err == nil && r.at == before { // a } ends no list, and begins nothing
					err = r.fault(safetext.Quote(string(c)), "a ] for the [ of line "+itoa(u.Line))
				}
				if err != nil {
					return nil, err
				}
				u.list = append(u.list, item)
			}
		}
	}
	return r.scalar()
}

// scalar reads a text: in quotes, after <<EOD, or up to the end of the line or a ;.
func (r *uclReader) scalar() (*ucl, error) {
	u := &ucl{Place: Place{r.path, r.line}}
	if strings.HasPrefix(r.text[r.at:], "<<") {
		return u, r.heredoc(u)
	}
	quoted := r.peek() == '"'
	text, err := r.word(";\n,]}{[#")
	if text = strings.TrimSpace(text); err != nil {
		return nil, err
	}
	if u.text = text; quoted || strings.Contains(text, "$") {
		u.text = r.expand(text)
	}
	return u, nil
}

// word reads a text in quotes, or up to one of the characters in end.
func (r *uclReader) word(end string) (string, error) {
	var b strings.Builder
	quote := r.peek()
	if quote != '"' && quote != '\'' {
		for r.at < len(r.text) && !strings.ContainsRune(end, rune(r.peek())) {
			b.WriteByte(r.next())
		}
		return b.String(), nil
	}
	r.next()
	for r.at < len(r.text) {
		c := r.next()
		switch {
		case c == quote:
			return b.String(), nil
		case c == '\\' && quote == '"' || c == '\\' && r.peek() == '\'':
			switch c = r.next(); c {
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			}
		}
		b.WriteByte(c)
	}
	return "", r.fault("a quote that does not end", "a value")
}

// heredoc reads <<WORD up to a line that is WORD.
func (r *uclReader) heredoc(u *ucl) error {
	r.at += len("<<")
	word, rest, _ := strings.Cut(r.text[r.at:], "\n")
	word = strings.TrimSpace(word)
	text, _, ended := strings.Cut("\n"+rest, "\n"+word+"\n")
	if !ended || word == "" {
		return r.fault("<< without an end", "a line "+safetext.Quote(word))
	}
	u.text = strings.TrimPrefix(text, "\n")
	for range len(r.text[r.at:]) - len(rest) + len(text) + len(word) {
		r.next()
	}
	return nil
}

// expand fills in variables that are known: $NAME and ${NAME}. Others stay, as $domain of a path of keys.
func (r *uclReader) expand(s string) string {
	for name, value := range r.variables {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "${"+name+"}", value), "$"+name, value)
	}
	return s
}
