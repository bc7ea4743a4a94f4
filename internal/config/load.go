package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"dkimd/internal/fault"
	"dkimd/internal/tomlfile"
)

// Bounds of the numbers in dkimd.toml.
const (
	maxConnections  = 65536
	maxSignatures   = 100 // design limit: at most so many are looked at
	leastRSABits    = 1024
	mostRSABits     = 4096
	maxClockSkew    = 24 * time.Hour
	maxExpiry       = 3650 * 24 * time.Hour
	leastDNSTimeout = 100 * time.Millisecond
	mostDNSTimeout  = 30 * time.Second
	maxDNSAttempts  = 10
	maxDNSServers   = 16
	maxCacheEntries = 10_000_000
)

// Load reads the file at path. An absent file is an empty one, unless named
// is set: then the operator asked for this very file. With faults the
// Config still holds what could be read, and defaults for the rest; never nil.
func Load(path string, named bool) (*Config, fault.Faults) {
	c, faults := load(path, named)
	c.Path = path
	return c, faults
}

func load(path string, named bool) (*Config, fault.Faults) {
	file, err := tomlfile.Read(path)
	if err == nil {
		c, faults := read(file)
		return c, otherProgram(path, faults)
	}
	absent := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	wrong := fault.Fault{Path: path, Got: reason(err), Want: "the configuration file"}
	switch _, link := os.Readlink(path); {
	case absent && link == nil:
		wrong.Got, wrong.Hint = "a link that leads nowhere", "readlink "+path+" shows where to"
	case absent && !named:
		return Default(), nil
	case absent:
		wrong.Got, wrong.Hint = "no such file", "name it with --config, or leave that out to use the defaults"
	case errors.Is(err, fs.ErrPermission):
		wrong.Want = "a file that dkimd's user (" + strconv.Itoa(os.Geteuid()) + ") can read"
		wrong.Hint = "namei -l " + path + " shows who may"
	default:
		wrong.Want, wrong.Hint = "a file that dkimd can read", "namei -l "+path+" shows what is there"
	}
	return Default(), fault.Faults{wrong}
}

// reason is the cause of a file error, without the path that is named anyway.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err.Error()
	}
	return err.Error()
}

func read(file *tomlfile.File) (*Config, fault.Faults) {
	c := Default()
	root := file.Root()
	c.Hostname = readHostname(root, "hostname")
	c.Exim.read(root.Table("exim"))
	c.Milter.read(root.Table("milter"), c.Exim.Listen)
	c.Sign.read(root.Table("sign"))
	c.Verify.read(root.Table("verify"))
	c.DNS.read(root.Table("dns"))
	c.Policy.Directory = readDirectory(root.Table("policy"), c.Policy.Directory)
	c.Log.read(root.Table("log"))
	c.Metrics.read(root.Table("metrics"), reserved{"milter.listen", c.Milter.Listen}, reserved{"exim.listen", c.Exim.Listen})
	return c, file.Faults()
}

// read reads [milter]; a host with Exim alone may have no milter at all.
func (m *Milter) read(t *tomlfile.Table, exim []string) {
	if len(exim) == 0 || !t.Has("listen") || len(t.Strings("listen", nil)) > 0 {
		m.Listen = readListen(t, m.Listen, reserved{"exim.listen", exim})
	} else {
		m.Listen = []string{}
	}
	m.SocketMode = readMode(t, m.SocketMode)
	m.SocketGroup = readGroup(t)
	m.MaxConnections = readInt(t, "max_connections", m.MaxConnections, 1, maxConnections)
}

func (e *Exim) read(t *tomlfile.Table) {
	if len(t.Strings("listen", nil)) > 0 {
		e.Listen = readListen(t, e.Listen)
	}
	e.SocketMode = readMode(t, e.SocketMode)
	e.SocketGroup = readGroup(t)
	e.MaxConnections = readInt(t, "max_connections", e.MaxConnections, 1, maxConnections)
}

func (s *Sign) read(t *tomlfile.Table) {
	s.Directory = readDirectory(t, s.Directory)
	s.Networks = t.Prefixes("networks", s.Networks)
	s.Authenticated = t.Bool("authenticated", s.Authenticated)
	s.DaemonNames = readDaemonNames(t, s.DaemonNames)
	s.UserMatch = t.Enum("user_match", s.UserMatch, "any", "domain")
	s.Canonicalization = t.Enum("canonicalization", s.Canonicalization,
		"relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple")
	s.Headers, s.Oversign = readFields(t, s.Headers, s.Oversign)
	s.Expiry = readExpiry(t, s.Expiry)
	s.FallbackDomain = readDomain(t, "fallback_domain")
	s.AlsoDomains = readDomains(t, "also_domains")
	s.OnError = t.Enum("on_error", s.OnError, "tempfail", "unsigned")
}

func (v *Verify) read(t *tomlfile.Table) {
	v.Trusted = t.Prefixes("trusted", v.Trusted)
	v.Strip = t.Enum("strip", v.Strip, "all", "dkim")
	v.MaxSignatures = readInt(t, "max_signatures", v.MaxSignatures, 1, maxSignatures)
	v.MinRSABits = readInt(t, "min_rsa_bits", v.MinRSABits, leastRSABits, mostRSABits)
	v.MaxRSABits = readInt(t, "max_rsa_bits", v.MaxRSABits, v.MinRSABits, mostRSABits)
	v.ClockSkew = t.Duration("clock_skew", v.ClockSkew, 0, maxClockSkew)
	v.BodyLength = t.Enum("body_length", v.BodyLength, "policy", "honour")
}

func (d *DNS) read(t *tomlfile.Table) {
	d.Servers = readServers(t)
	d.Timeout = t.Duration("timeout", d.Timeout, leastDNSTimeout, mostDNSTimeout)
	d.Attempts = readInt(t, "attempts", d.Attempts, 1, maxDNSAttempts)
	d.CacheEntries = readInt(t, "cache_entries", d.CacheEntries, 1, maxCacheEntries)
}

func (l *Log) read(t *tomlfile.Table) {
	l.Format = t.Enum("format", l.Format, "json", "text", "exim")
	l.Output = readOutputs(t, l.Output)
}

func (m *Metrics) read(t *tomlfile.Table, doors ...reserved) {
	if len(t.Strings("listen", nil)) > 0 {
		m.Listen = readListen(t, m.Listen, doors...)
	}
}

func readInt(t *tomlfile.Table, key string, def, least, most int) int {
	return int(t.Int(key, int64(def), int64(least), int64(most)))
}

// readExpiry reads a time that is counted in whole seconds (RFC 6376 section 3.5, x=).
func readExpiry(t *tomlfile.Table, def time.Duration) time.Duration {
	const key = "expiry"
	expiry := t.Duration(key, def, 0, maxExpiry)
	if expiry%time.Second != 0 {
		t.Fault(key, "whole seconds", "x= counts no less")
		return def
	}
	return expiry
}

// readDirectory wants a directory that is configured to be there; the default
// one need not be. Where the fault is known the path is empty, so that nobody
// reports it again.
func readDirectory(t *tomlfile.Table, def string) string {
	const key = "directory"
	before := t.Has(key)
	dir := t.String(key, def)
	if !before || dir == def {
		return dir
	}
	const want = "the absolute path of a directory"
	if !filepath.IsAbs(dir) {
		t.Fault(key, want, absoluteHint(dir))
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
		t.Fault(key, "a directory", "this path is none")
	default:
		return dir
	}
	return ""
}

func absoluteHint(path string) string {
	if path == "" {
		return "leave the key out for the default"
	}
	return "begin it with /: a daemon has no working directory of its own"
}

// readMode reads permissions, written in octal as a string: TOML's integers are decimal.
func readMode(t *tomlfile.Table, def os.FileMode) os.FileMode {
	const key = "socket_mode"
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
