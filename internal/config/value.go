package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/tomlfile"
	"dkimd/keys"
)

// value is a key's place in a Config and its type.
type value interface {
	reset()                             // to the default
	load(t *tomlfile.Table, key string) // from the file; what is wrong there is a fault
	plain() any                         // what it is now, as TOML has it: a bool, an int, a string or a []string
	kind() string                       // type and bounds, as the documentation has them
}

// field is a value of type T.
type field[T any] struct {
	at      *T
	def     T
	form    string // its kind
	read    func(t *tomlfile.Table, key string, def T) T
	plainOf func(T) any
}

func (f field[T]) reset()                             { *f.at = f.def }
func (f field[T]) load(t *tomlfile.Table, key string) { *f.at = f.read(t, key, f.def) }
func (f field[T]) plain() any                         { return f.plainOf(*f.at) }
func (f field[T]) kind() string                       { return f.form }

func boolean(at *bool, def bool) value {
	return field[bool]{at, def, "boolean", (*tomlfile.Table).Bool, func(b bool) any { return b }}
}

func integer(at *int, def, least, most int) value {
	return field[int]{
		at, def, fmt.Sprintf("integer from %d to %d", least, most),
		func(t *tomlfile.Table, key string, def int) int {
			return int(t.Int(key, int64(def), int64(least), int64(most)))
		},
		func(n int) any { return n },
	}
}

func duration(at *time.Duration, def, least, most time.Duration) field[time.Duration] {
	return field[time.Duration]{
		at, def, "duration from " + tomlfile.FormatDuration(least) + " to " + tomlfile.FormatDuration(most),
		func(t *tomlfile.Table, key string, def time.Duration) time.Duration {
			return t.Duration(key, def, least, most)
		},
		func(d time.Duration) any { return tomlfile.FormatDuration(d) },
	}
}

// wholeSeconds is for times that are counted so (RFC 6376 section 3.5, x=).
func wholeSeconds(f field[time.Duration]) value {
	read := f.read
	f.read = func(t *tomlfile.Table, key string, def time.Duration) time.Duration {
		d := read(t, key, def)
		if d%time.Second != 0 {
			t.Fault(key, "whole seconds", "x= counts no less")
			return def
		}
		return d
	}
	return f
}

// word is a word of the file and what it stands for.
type word[T comparable] struct {
	text    string
	meaning T
}

func means[T comparable](text string, meaning T) word[T] { return word[T]{text, meaning} }

// choice is one of several words; the first is the default.
func choice[T comparable](at *T, words ...word[T]) value {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.text
	}
	last := len(texts) - 1
	textOf := func(v T) string {
		for _, w := range words {
			if w.meaning == v {
				return w.text
			}
		}
		return ""
	}
	return field[T]{
		at, words[0].meaning, strings.Join(texts[:last], ", ") + " or " + texts[last],
		func(t *tomlfile.Table, key string, def T) T {
			text := t.Enum(key, textOf(def), texts...)
			for _, w := range words {
				if w.text == text {
					return w.meaning
				}
			}
			return def
		},
		func(v T) any { return textOf(v) },
	}
}

// list is a list of strings; read checks them.
func list[S ~string](at *[]S, read func(t *tomlfile.Table, key string, def []S) []S, def ...S) value {
	return field[[]S]{at, append([]S{}, def...), "list", read, func(list []S) any {
		texts := make([]string, len(list))
		for i, item := range list {
			texts[i] = string(item)
		}
		return texts
	}}
}

func addresses(at *[]string, def ...string) value { return list(at, readListen, def...) }

// toml is a value as TOML.
func toml(v value) string {
	switch v := v.plain().(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		return quotedList(v)
	case []keys.Mapping:
		return mapsTOML(v)
	case []Publish:
		return publishTOML(v)
	default:
		return fmt.Sprint(v)
	}
}

func quotedList(list []string) string {
	quoted := make([]string, len(list))
	for i, item := range list {
		quoted[i] = strconv.Quote(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func text(at *string, def, kind string, read func(t *tomlfile.Table, key, def string) string) value {
	return field[string]{at, def, kind, read, func(s string) any { return s }}
}

func host(at *string) value                  { return text(at, "", "host name", readHostname) }
func group(at *string) value                 { return text(at, "", "group", readGroup) }
func directory(at *string, def string) value { return text(at, def, "directory", readDirectory) }

// sdid is a domain that is to sign; empty: none.
func sdid(at *domain.Name) value {
	return field[domain.Name]{at, "", "domain", readDomain, func(n domain.Name) any { return string(n) }}
}

// readDirectory wants a directory that is configured to be there; the default
// one need not be. Where the fault is known the path is empty, so that nobody
// reports it again.
func readDirectory(t *tomlfile.Table, key, def string) string {
	dir := t.String(key, def)
	if dir == def {
		return dir
	}
	if !filepath.IsAbs(dir) {
		hint := "begin it with /: a daemon has no working directory of its own"
		if dir == "" {
			hint = "leave the key out for the default"
		}
		t.Fault(key, "the absolute path of a directory", hint)
		return ""
	}
	dir = filepath.Clean(dir)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.Fault(key, "a directory that exists", "mkdir -p "+dir)
	case err != nil:
		t.Fault(key, "a directory that dkimd can read", reason(err))
	case !info.IsDir():
		t.Fault(key, "a directory", "this path is not a directory")
	default:
		return dir
	}
	return ""
}

// mode is permissions, written in octal as a string: TOML's integers are decimal.
func mode(at *os.FileMode, def os.FileMode) value {
	return field[os.FileMode]{at, def, "permissions", readMode, func(m os.FileMode) any { return fmt.Sprintf("%04o", uint32(m)) }}
}

func readMode(t *tomlfile.Table, key string, def os.FileMode) os.FileMode {
	s := t.String(key, "0"+strconv.FormatUint(uint64(def), 8))
	mode, err := strconv.ParseUint(s, 8, 16)
	if err != nil || mode > 0o777 || len(s) < 3 || len(s) > 4 {
		t.Fault(key, `permissions in octal, from "0000" to "0777"`, `write it like "0660"`)
		return def
	}
	if mode&0o222 == 0 {
		t.Fault(key, "permissions with which somebody can connect, which takes write permission", `write it like "0660"`)
		return def
	}
	return os.FileMode(mode)
}
