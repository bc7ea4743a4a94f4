package tomlfile

import (
	"bytes"
	"errors"
	"maps"
	"strconv"
	"strings"

	"dkimd/internal/fault"
	"dkimd/internal/safetext"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// syntaxFault says in an operator's words why a document is not TOML.
func syntaxFault(data []byte) (fault.Fault, bool) {
	var all map[string]any
	err := toml.Unmarshal(data, &all)
	if err == nil {
		return fault.Fault{}, false
	}
	decode, ok := errors.AsType[*toml.DecodeError](err)
	if !ok {
		return fault.Fault{Got: "something that is not TOML: " + err.Error(), Want: "TOML"}, true
	}
	line, column := decode.Position()
	f := fault.Fault{Line: line, Key: joinKey(decode.Key())}
	if f.Key != "" && strings.Contains(decode.Error(), "already") {
		f.Got, f.Want = "it a second time", "every key and table once"
		if path, first := firstOf(data, line); first > 0 {
			f.Key = path
			f.Got += " (the first is on line " + strconv.Itoa(first) + ")"
		}
		if f.Hint = "remove one of the two"; !strings.Contains(f.Got, "the first") {
			f.Hint += "; a line " + f.Key + ".KEY = VALUE makes the table, too"
		}
		return f, true
	}
	text := lineOf(data, line)
	f.Got = safetext.Quote(strings.TrimSpace(text))
	f.Want = "TOML"
	f.Hint = syntaxHint(parserMessage(data, decode), text, column)
	return f, true
}

// parserMessage is the parser's own words for a syntax error, or the decoder's for another one.
func parserMessage(data []byte, decode error) string {
	p := unstable.Parser{}
	p.Reset(data)
	for p.NextExpression() {
	}
	if syntax, ok := errors.AsType[*unstable.ParserError](p.Error()); ok {
		return syntax.Message
	}
	return decode.Error()
}

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
