// Package config reads dkimd.toml: every key with its default, every value
// checked at load, all faults at once with their lines. It opens no socket and
// reads no key or rule; those have packages of their own.
//
// tables.go declares the keys, each in one place: field, default, bounds and
// meaning. Loading, docs/configuration.md and `dkimd config` follow from it.
package config

import (
	"slices"
	"strconv"

	"dkimd/internal/fault"
	"dkimd/internal/tomlfile"
)

// DefaultPath is where dkimd.toml is looked for when no --config names one.
const DefaultPath = "/etc/dkimd/dkimd.toml"

// Config is dkimd.toml with its defaults filled in.
type Config struct {
	Path     string // the file
	Hostname string // authserv-id, RFC 8601 section 2.5
	Memory   int    // MiB that all messages under way may hold together
	Milter   Door   // of Postfix and Sendmail; listens nowhere only where Exim has a door
	Exim     Door   // listens nowhere: no such door
	Sign     Sign
	Publish  []Publish
	Rotate   Rotate
	Verify   Verify
	DNS      DNS
	Policy   Policy
	Lists    *tomlfile.Lists // [lists], shared by rules
	Log      Log
	Metrics  Metrics
	Control  Control

	ignored []string       // files in the directory beside it that are not read
	file    *tomlfile.File // as it was when it was loaded: says where a value comes from
}

// Default is the configuration of an empty file.
func Default() *Config { return defaults(DefaultPath) }

func defaults(path string) *Config {
	c := &Config{Path: path, file: tomlfile.Parse(path, nil)}
	for _, table := range c.tables() {
		for _, key := range table.keys {
			key.value.reset()
		}
	}
	return c
}

// Warnings are what works and is likely not what the operator wants, such as files beside dkimd.toml that have no effect.
func (c *Config) Warnings() fault.Faults {
	warnings := make(fault.Faults, len(c.ignored))
	for i, path := range c.ignored {
		warnings[i] = fault.Fault{Path: path, Got: "a name that dkimd does not look for", Want: "NAME.toml", Hint: "rename it, or move it away"}
	}
	return append(warnings, c.file.Warnings()...)
}

// Locate gives faults that came to light when a configuration was put to use the
// file and, where the file sets the key, the line.
func (c *Config) Locate(faults fault.Faults) fault.Faults {
	located := make(fault.Faults, len(faults))
	for i, fault := range faults {
		located[i] = c.file.Place(fault)
	}
	return located
}

// NeedsRestart names the keys in which c differs from the configuration in
// force and which a reload cannot put into force: sockets and outputs stay
// open from start to end.
func (c *Config) NeedsRestart(inForce *Config) []string {
	var changed []string
	before := inForce.tables()
	for i, table := range c.tables() {
		for j, key := range table.keys {
			if table.atStart && toml(key.value) != toml(before[i].keys[j].value) {
				changed = append(changed, table.path(key))
			}
		}
	}
	slices.Sort(changed)
	return changed
}

// Sets reports whether the file sets the key, which is its whole path: "control.listen".
func (c *Config) Sets(key string) bool { return c.file.Place(fault.Fault{Key: key}).Line > 0 }

// Value is what a key of the configuration is, and where it comes from.
type Value struct {
	Key   string `json:"key"`   // its whole path: milter.listen
	Value any    `json:"value"` // a bool, an int, a string, a []string or a []keys.Mapping
	// Path and Line are where the file sets it; without them it is the default.
	Path string `json:"path,omitempty"`
	Line int    `json:"line,omitempty"`
}

// Values are those of all keys.
func (c *Config) Values() []Value {
	var all []Value
	for _, table := range c.tables() {
		for _, key := range table.keys {
			v := Value{Key: table.path(key), Value: key.value.plain()}
			if place := c.file.Place(fault.Fault{Key: v.Key}); place.Line > 0 {
				v.Path, v.Line = place.Path, place.Line
			}
			all = append(all, v)
		}
	}
	return all
}

// origin is where the value of a key comes from.
func (c *Config) origin(key string) string {
	if place := c.file.Place(fault.Fault{Key: key}); place.Line > 0 {
		return place.Path + ":" + strconv.Itoa(place.Line)
	}
	return "default"
}
