package tomlfile

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

func notUTF8(data []byte) Fault {
	offset := 0
	for offset < len(data) {
		r, size := utf8.DecodeRune(data[offset:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		offset += size
	}
	return Fault{
		Line: 1 + bytes.Count(data[:offset], []byte("\n")),
		Got:  "the byte 0x" + strconv.FormatUint(uint64(data[offset])|0x100, 16)[1:],
		Want: "UTF-8 text",
		Hint: "convert the file: iconv -f latin1 -t utf-8",
	}
}

// syntaxFault says in an operator's words why a document is no TOML.
func syntaxFault(data []byte) (Fault, bool) {
	var all map[string]any
	err := toml.Unmarshal(data, &all)
	if err == nil {
		return Fault{}, false
	}
	decode, ok := errors.AsType[*toml.DecodeError](err)
	if !ok {
		return Fault{Got: "what is no TOML: " + err.Error(), Want: "TOML"}, true
	}
	line, column := decode.Position()
	message := strings.TrimPrefix(decode.Error(), "toml: ")
	f := Fault{Line: line, Key: joinKey(decode.Key())}
	if f.Key != "" && strings.Contains(message, "already") {
		f.Got, f.Want = "it a second time", "every key and table once"
		if path, first := firstOf(data, line); first > 0 {
			f.Key = path
			f.Got += " (the first is on line " + strconv.Itoa(first) + ")"
		}
		f.Hint = "remove one of the two"
		return f, true
	}
	text := lineOf(data, line)
	f.Got = quote(strings.TrimSpace(text))
	f.Want = "TOML"
	f.Hint = sentence(message, text, column)
	return f, true
}

// sentence explains a syntax error: what stands where, and what belongs there.
func sentence(message, text string, column int) string {
	at := "column " + strconv.Itoa(1+utf8.RuneCountInString(text[:min(max(column-1, 0), len(text))])) + ": "
	key, val, assigns := strings.Cut(text, "=")
	val = strings.TrimSpace(val)
	switch bare := wholeBare.MatchString(val); {
	case assigns && (val == "True" || val == "False" || val == "TRUE" || val == "FALSE"):
		return "write it in lower case: " + strings.ToLower(val)
	case assigns && bare && (val == "yes" || val == "on"):
		return at + "write true, or a string in quotes"
	case assigns && bare && (val == "no" || val == "off"):
		return at + "write false, or a string in quotes"
	case assigns && digits.MatchString(val) && val[0] != '0':
		return at + "the number is too large"
	case assigns && digits.MatchString(val):
		return at + "a number has no 0 in front: " + cmp.Or(strings.TrimLeft(val, "0"), "0") + "; a string is written in quotes: " + quote(val)
	case assigns && bare && wholeKey.MatchString(key):
		return at + "strings are written in quotes: " + strings.TrimSpace(key) + " = " + quote(val)
	case strings.Contains(message, "new lines"), strings.Contains(message, "unterminated"):
		return at + "the quote that ends the string is missing on this line"
	case strings.Contains(message, "after array value"), strings.Contains(message, "array is incomplete"):
		return at + "a comma or the ] that ends the list is missing here or on a line above"
	case strings.Contains(message, "'=' after key"):
		return at + "a line is KEY = VALUE, [TABLE] or # COMMENT"
	case strings.Contains(message, "invalid escape"):
		return at + `\ begins an escape: write \\, or the string in 'single quotes'`
	}
	return at + message
}

var (
	// wholeBare: a value that lacks its quotes, such as inet:127.0.0.1:8891.
	wholeBare = regexp.MustCompile(`^[A-Za-z0-9:./@_][A-Za-z0-9:./@_ -]*$`)
	wholeKey  = regexp.MustCompile(`^\s*[A-Za-z0-9_.-]+\s*$`)
	digits    = regexp.MustCompile(`^[0-9]+$`)
)

func lineOf(data []byte, line int) string {
	for range line - 1 {
		_, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	return strings.TrimSuffix(string(first), "\r")
}

func joinKey(key toml.Key) string {
	parts := make([]string, len(key))
	for i, part := range key {
		parts[i] = bareKey(part)
	}
	return strings.Join(parts, ".")
}

// firstOf finds where a key or table that is there twice stands first, given
// the line of the second; 0: not found.
func firstOf(data []byte, second int) (path string, line int) {
	lines := map[string]int{}
	header := ""
	p := unstable.Parser{}
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.KeyValue && e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
			continue
		}
		var parts []string
		line = 0
		for it := e.Key(); it.Next(); {
			if line == 0 {
				line = 1 + bytes.Count(data[:it.Node().Raw.Offset], []byte("\n"))
			}
			parts = append(parts, bareKey(string(it.Node().Data)))
		}
		path = strings.Join(parts, ".")
		if e.Kind != unstable.KeyValue {
			header = path
		} else if header != "" {
			path = header + "." + path
		}
		if line >= second {
			return path, lines[path]
		}
		if e.Kind == unstable.ArrayTable {
			// Its keys begin anew.
			maps.DeleteFunc(lines, func(key string, _ int) bool { return strings.HasPrefix(key, path+".") })
		}
		if lines[path] == 0 {
			lines[path] = line
		}
	}
	return "", 0
}
