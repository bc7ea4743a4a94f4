package importer

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/fault"
	"dkimd/internal/safetext"
)

// Options say what is imported and how.
type Options struct {
	Root string // below which the files of the configuration are; empty: "/"
	Copy bool   // copy every key, also those that dkimd can use where they are
	User User   // whom dkimd runs as
}

// opendkim is a configuration of OpenDKIM being read.
type opendkim struct {
	Options
	root root
	plan *Plan
	set  map[string]setting // in force, by name in lower case: the last line wins
	all  []setting          // as they stand
	base string             // BaseDirectory, for relative names

	directives map[string]directive
	signing    signing
	rules      []rule
	proven     []*tableKey     // keys in no table, for a proof
	taken      map[string]bool // names of copies of keys
}

// maxInclude is how deep OpenDKIM follows Include.
const maxInclude = 5

// DefaultOpenDKIM is where OpenDKIM looks for its configuration.
const DefaultOpenDKIM = "/etc/opendkim.conf"

// OpenDKIM reads opendkim.conf at path, as the system below Options.Root names it, with the files it names. Without a path it
// is the one that a package's file of defaults names, or DefaultOpenDKIM. The error is that of files without which
// nothing can be said.
func OpenDKIM(path string, options Options) (*Plan, error) {
	system := path == "" || path == DefaultOpenDKIM
	if path == "" {
		path = root(options.Root).defaultConfig()
	}
	o := &opendkim{
		Options: options, root: root(options.Root), set: map[string]setting{}, base: "/",
		plan: &Plan{Source: "opendkim", From: root(options.Root).path(path)}, directives: map[string]directive{},
	}
	for _, d := range directives() {
		o.directives[strings.ToLower(d.name)] = d
	}
	if err := o.include(path, Place{}, 0); err != nil {
		return nil, err
	}
	if system {
		o.commandLine()
	}
	for i, s := range o.all {
		name := strings.ToLower(s.name)
		if again, set := o.set[name]; set {
			o.plan.note(Same, again.Place, again.name, again.value, "without effect: "+s.Path+":"+strconv.Itoa(s.Line)+" sets it again")
		}
		o.set[name] = o.all[i]
	}
	if s, set := o.set["basedirectory"]; set {
		o.base = s.value
	}
	if err := o.carryAll(); err != nil {
		return nil, err
	}
	o.plan.OldConfig, o.plan.Records = o.writeOld, o.keyRecords
	o.plan.sort()
	return o.plan, nil
}

// carryAll gives every setting its verdict, and dkimd what says the same.
func (o *opendkim) carryAll() error {
	if err := o.readSigning(); err != nil {
		return err
	}
	for _, s := range o.all {
		if o.set[strings.ToLower(s.name)] != s {
			continue
		}
		if err := o.directives[strings.ToLower(s.name)].carry(o, s); err != nil {
			return err
		}
	}
	o.defaults()
	o.writeSigning()
	o.writeRules()
	return nil
}

// include reads a file of settings, depth files deep.
func (o *opendkim) include(path string, by Place, depth int) error {
	if depth > maxInclude {
		return fault.Fault{
			Path: by.Path, Line: by.Line, Key: "Include", Got: safetext.Quote(path), Want: "files that include each other 5 deep at most",
			Hint: "is it a loop?",
		}
	}
	if !strings.HasPrefix(path, "/") && by.Path != "" {
		path = filepath.Join(o.base, path)
	}
	data, err := o.root.read(path, by)
	if err != nil {
		return err
	}
	for _, l := range lines(o.root.path(path), data) {
		name, value := l.text, ""
		if at := strings.IndexAny(l.text, " \t"); at >= 0 {
			name, value = l.text[:at], strings.TrimSpace(l.text[at:])
		}
		s := setting{l.Place, name, value}
		if strings.EqualFold(name, "Include") {
			o.plan.note(Same, s.Place, "Include", value, "read")
			if err := o.include(value, s.Place, depth+1); err != nil {
				return err
			}
			continue
		}
		o.add(s)
	}
	return nil
}

// add takes a setting in, if OpenDKIM would.
func (o *opendkim) add(s setting) {
	d, known := o.directives[strings.ToLower(s.name)]
	if !known {
		o.plan.note(NotCarried, s.Place, safetext.Printable(s.name), s.value, "opendkim.conf(5) does not have it: see what was meant")
		return
	}
	s.name = d.name
	switch wrong := d.kind.wrong(s.value); {
	case wrong != "":
		o.plan.note(NotCarried, s.Place, s.name, s.value, wrong+"; OpenDKIM does not start with it")
	case safetext.Printable(s.value) != s.value:
		o.plan.note(NotCarried, s.Place, s.name, safetext.Printable(s.value), "want a value in UTF-8 without control characters")
	default:
		if d.kind == set && ofNoType(s.value) {
			o.plan.note(Close, s.Place, s.name, s.value, "OpenDKIM does not start with it: it takes what is before the colon for a type. Read as a list, as with csl: in front")
		}
		o.all = append(o.all, s)
	}
}

// defaultsFiles are where packages keep the command line of OpenDKIM: Debian and Red Hat.
var defaultsFiles = []string{"/etc/default/opendkim", "/etc/sysconfig/opendkim"} //nolint:gochecknoglobals // a constant list

// defaultConfig is the configuration that a file of defaults names with -x, or DefaultOpenDKIM.
func (r root) defaultConfig() string {
	for _, named := range defaultsFiles {
		data, err := r.read(named, Place{})
		if err != nil {
			continue
		}
		for _, l := range lines(named, data) {
			words := strings.Fields(strings.NewReplacer(`"`, " ", "'", " ").Replace(l.text))
			if at := slices.Index(words, "-x"); at >= 0 && at+1 < len(words) {
				return words[at+1]
			}
		}
	}
	return DefaultOpenDKIM
}

// commandLine reads the command line that a package's file of defaults gives OpenDKIM. What it says
// overrides opendkim.conf.
func (o *opendkim) commandLine() {
	for _, named := range defaultsFiles {
		data, err := o.root.read(named, Place{})
		if err != nil {
			continue
		}
		path := o.root.path(named)
		ignored := o.ignoresDefaults(data)
		variables := map[string]string{"NAME": "opendkim", "DAEMON": "/usr/sbin/opendkim"}
		for _, l := range lines(path, data) {
			name, value, assigned := strings.Cut(l.text, "=")
			if name = strings.TrimSpace(strings.TrimPrefix(name, "export ")); !assigned {
				continue
			}
			value = os.Expand(strings.Trim(value, `"' `), func(v string) string { return variables[v] })
			variables[name] = value
			switch {
			case value == "" || name != "SOCKET" && name != "DAEMON_OPTS" && name != "OPTIONS":
			case ignored:
				o.plan.note(Same, l.Place, name, value, "without effect: the service of systemd does not read this file")
			case name == "SOCKET":
				o.add(setting{l.Place, "Socket", value})
			default:
				o.options(l.Place, strings.Fields(value))
			}
		}
	}
}

// ignoresDefaults reports whether a file of defaults is one that Debian keeps but its service does not read, unless
// somebody had an override made from it.
func (o *opendkim) ignoresDefaults(data []byte) bool {
	if !strings.Contains(string(data), "legacy configuration file") {
		return false
	}
	_, err := os.Stat(o.root.path("/etc/systemd/system/opendkim.service.d/override.conf"))
	return err != nil
}

// options are those of a command line.
func (o *opendkim) options(at Place, args []string) {
	names := map[string]string{
		"-b": "Mode", "-c": "Canonicalization", "-d": "Domain", "-k": "KeyFile", "-L": "Minimum", "-o": "OmitHeaders", "-p": "Socket", "-P": "PidFile",
		"-s": "Selector", "-S": "SignatureAlgorithm", "-T": "DNSTimeout", "-u": "UserID",
	}
	flags := map[string]string{"-A": "AutoRestart", "-D": "SubDomains", "-l": "Syslog", "-r": "RequiredHeaders", "-W": "LogWhy"}
	for i := 0; i < len(args); i++ {
		option := args[i]
		value := ""
		if len(option) > 2 && strings.HasPrefix(option, "-") { // -pinet:8891@localhost, -lD
			if _, takes := names[option[:2]]; takes || option[:2] == "-x" {
				option, value = option[:2], option[2:]
			} else {
				args = append(args[:i+1], append([]string{"-" + option[2:]}, args[i+1:]...)...)
				option = option[:2]
			}
		}
		name, takes := names[option]
		if value == "" && (takes || option == "-x") && i+1 < len(args) {
			i++
			value = args[i]
		}
		switch {
		case takes:
			o.add(setting{at, name, value})
		case flags[option] != "":
			o.add(setting{at, flags[option], "yes"})
		case option == "-x", option == "-f":
		default:
			o.plan.note(NotCarried, at, "command line", option, "opendkim(8) does not have it: see what was meant")
		}
	}
}

// absolute is a path that may be relative to BaseDirectory.
func (o *opendkim) absolute(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return filepath.Join(o.base, path)
}

// truth is the value of a boolean setting, which is off where it is not set.
func (o *opendkim) truth(name string) bool {
	s, set := o.set[strings.ToLower(name)]
	return set && isTrue(s.value)
}

// isTrue reads a boolean as OpenDKIM does: by its first letter.
func isTrue(value string) bool { return value != "" && strings.ContainsRune("tTyY1", rune(value[0])) }
