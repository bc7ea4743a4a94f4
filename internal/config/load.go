package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"dkimd/internal/fault"
	"dkimd/internal/hosts"
	"dkimd/internal/socket"
	"dkimd/internal/tomlfile"
)

// Load reads the file at path, and those of the directory beside it whose name is path and ".d". An
// absent file is an empty one, unless named is set: then the operator asked for this very file. With faults the
// Config still holds what could be read, and defaults for the rest; never nil.
func Load(path string, named bool) (*Config, fault.Faults) {
	file, faults := readFile(path, named)
	ignored, unread := include(file)
	c, found := read(file)
	c.ignored = ignored
	return c, append(append(faults, unread...), otherProgram(path, found)...)
}

// readFile reads dkimd.toml itself; the File is empty where that cannot be.
func readFile(path string, named bool) (*tomlfile.File, fault.Faults) {
	file, err := tomlfile.Read(path)
	if err == nil {
		return file, nil
	}
	absent := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	wrong := fault.Fault{Path: path, Got: reason(err), Want: "the configuration file"}
	switch _, link := os.Readlink(path); {
	case absent && link == nil:
		wrong.Got, wrong.Hint = "a link that leads nowhere", "readlink "+path+" shows where to"
	case absent && !named:
		return tomlfile.Parse(path, nil), nil
	case absent:
		wrong.Got, wrong.Hint = "no such file", "name it with --config, or leave that out to use the defaults"
	case errors.Is(err, fs.ErrPermission):
		wrong.Want = "a file that dkimd's user (" + fault.User(os.Geteuid()) + ") can read"
		wrong.Hint = "namei -l " + path + " shows who may"
	default:
		wrong.Want, wrong.Hint = "a file that dkimd can read", "namei -l "+path+" shows what is there"
	}
	return tomlfile.Parse(path, nil), fault.Faults{wrong}
}

// include takes in the files of dkimd.toml.d, by name. It returns those that are left out, for their name has another ending.
func include(file *tomlfile.File) (ignored []string, faults fault.Faults) {
	dir := file.Path() + ".d"
	unreadable := func(path string, err error) {
		faults = append(faults, fault.Fault{
			Path: path, Got: reason(err), Want: "a part of the configuration that dkimd's user (" + strconv.Itoa(os.Geteuid()) + ") can read",
			Hint: "namei -l " + path + " shows who may",
		})
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if _, absent := os.Lstat(dir); absent == nil {
			unreadable(dir, err)
		}
		return nil, faults
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch name := entry.Name(); {
		case strings.HasPrefix(name, "."):
			continue
		case !strings.HasSuffix(name, ".toml"):
			ignored = append(ignored, path)
			continue
		}
		part, err := tomlfile.Read(path)
		if err != nil {
			unreadable(path, err)
			continue
		}
		file.Include(part)
	}
	return ignored, faults
}

// reason is the cause of a file error, without the path that is named anyway.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err.Error()
	}
	return err.Error()
}

func read(file *tomlfile.File) (*Config, fault.Faults) {
	c := defaults(file.Path())
	c.file = file
	c.readLists()
	for _, table := range c.tables() {
		t := c.section(table.name)
		for _, key := range table.keys {
			key.value.load(t, key.name)
		}
	}
	c.checkDoors()
	c.checkOversign()
	c.checkTables()
	c.checkRSABits()
	c.warnOfEverybody()
	return c, file.Faults()
}

// section is a table of the file.
func (c *Config) section(name string) *tomlfile.Table {
	if name == "" {
		return c.file.Root()
	}
	return c.file.Root().Table(name)
}

// checkDoors wants a front door, and for each listener addresses of its own.
func (c *Config) checkDoors() {
	milter := c.section("milter")
	if len(c.Milter.Listen)+len(c.Exim.Listen) == 0 {
		if len(milter.Strings("listen", nil)) == 0 {
			milter.Fault("listen", "at least one address", `write ["inet:127.0.0.1:8891"]`)
		}
		c.Milter.Listen = Default().Milter.Listen
	}
	for _, door := range []struct {
		table         string
		listen, peers []string
	}{{"milter", c.Milter.Listen, c.Milter.Peers}, {"exim", c.Exim.Listen, c.Exim.Peers}} {
		if len(door.peers) > 0 && !slices.ContainsFunc(door.listen, socket.IsUnix) {
			c.section(door.table).Fault("peers", "a unix socket in "+door.table+".listen", "an inet socket does not tell who connects")
		}
	}
	type listener struct {
		table     string
		addresses []string
	}
	listeners := []listener{{"exim", c.Exim.Listen}, {"milter", c.Milter.Listen}, {"metrics", c.Metrics.Listen}, {"control", c.Control.Listen}}
	for i, l := range listeners {
		t := c.section(l.table)
		for j, written := range t.Strings("listen", nil) {
			address, err := socket.ParseListen(written)
			for _, reserved := range listeners[:i] {
				if err == nil && slices.Contains(reserved.addresses, address.String()) {
					t.FaultItem("listen", j, "an address that "+reserved.table+".listen does not have", "another protocol is spoken there; give each its own")
				}
			}
		}
	}
}

// checkOversign wants whole names that headers covers. The default follows
// headers: fewer fields signed, fewer oversigned.
func (c *Config) checkOversign() {
	const key = "oversign"
	t, s := c.section("sign"), &c.Sign
	if !t.Has(key) {
		s.Oversign = slices.DeleteFunc(s.Oversign, func(name string) bool { return !covers(s.Headers, name) })
		return
	}
	for i, name := range s.Oversign {
		switch {
		case strings.HasSuffix(name, "*"):
			t.FaultItem(key, i, "a whole field name", "oversigning needs the very name; list each")
		case !covers(s.Headers, name):
			t.FaultItem(key, i, "a field that sign.headers lists", "add "+strconv.Quote(name)+" to headers")
		}
	}
}

// warnOfEverybody warns of lists of clients that hold every address.
func (c *Config) warnOfEverybody() {
	for key, list := range map[string][]hosts.Entry{"sign.networks": c.Sign.Networks, "verify.trusted": c.Verify.Trusted, "verify.leave_alone": c.Verify.LeaveAlone} {
		if slices.ContainsFunc(list, func(e hosts.Entry) bool { return e.Network.IsValid() && e.Network.Bits() == 0 && !e.Not }) {
			c.file.Caution(c.file.Place(fault.Fault{Key: key, Got: "a network that holds every address", Want: "some clients", Hint: "strangers are among them"}))
		}
	}
}

func (c *Config) checkRSABits() {
	if v := &c.Verify; v.MaxRSABits < v.MinRSABits {
		c.section("verify").Fault("max_rsa_bits", "at least min_rsa_bits ("+strconv.Itoa(v.MinRSABits)+")", "")
		v.MaxRSABits = v.MinRSABits
	}
}
