package policy

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/safetext"
	"dkimd/internal/tomlfile"
)

// Bounds of the rules directory.
const (
	MaxFiles     = 1_000_000
	MaxFileBytes = 256 << 10
)

// Load reads every rules file of a directory; lists are those that rules share. An absent
// directory, and an empty name, is one without files. The Rules are usable whatever the faults say: a
// DOMAIN.toml that cannot be used is replaced by one that defers that domain's
// mail, and with a _default.toml that cannot be used, or a directory that cannot
// be read, DefaultBroken reports true.
func Load(dir string, lists *tomlfile.Lists) (*Rules, fault.Faults) { return Reload(dir, lists, nil) }

// Reload is Load, but a DOMAIN.toml that cannot be used leaves the rules of that domain as
// they are in previous: the same file judges its mail, or none where there was none. Its
// faults are in Kept then, and not among those returned. Nil: there are no rules yet.
func Reload(dir string, lists *tomlfile.Lists, previous *Rules) (*Rules, fault.Faults) {
	l := loader{
		rules:    &Rules{files: map[domain.Name]*file{}, recipients: map[domain.Name]*file{}, kept: map[domain.Name]fault.Kept{}},
		lists:    lists,
		previous: previous,
		shared:   map[content]*program{},
		paths:    map[domain.Name]string{},
	}
	if dir == "" {
		return l.rules, nil
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !isLink(dir):
		return l.rules, nil
	case err != nil:
		l.unreadable(dir, err)
		return l.rules, l.faults
	}
	l.loadAll(dir, "", entries)
	for _, files := range []map[domain.Name]*file{l.rules.files, l.rules.recipients} {
		for _, f := range files {
			l.rules.stops = l.rules.stops || f.stops && f.mode == modeEnforce
		}
	}
	if f := l.rules.fallback; f != nil {
		l.rules.stops = l.rules.stops || f.stops && f.mode == modeEnforce
	}
	l.rules.warnings = append(l.rules.warnings, l.rules.gaps(dir)...)
	return l.rules, l.faults
}

// loadAll reads the files of a directory, or of that for recipients in it.
func (l *loader) loadAll(dir, below string, entries []fs.DirEntry) {
	for _, entry := range entries {
		name := below + entry.Name()
		switch {
		case name+"/" == recipientDirectory:
			further, err := os.ReadDir(filepath.Join(dir, name))
			if err != nil {
				l.unreadable(filepath.Join(dir, name), err)
				continue
			}
			l.loadAll(dir, recipientDirectory, further)
			continue
		case !isRules(entry.Name()):
			l.overlook(filepath.Join(dir, below), entry)
			continue
		}
		if l.count++; l.count > MaxFiles {
			l.rules.defaultBroken = true
			l.fault(dir, "more than "+strconv.Itoa(MaxFiles)+" rules files", "fewer of them", "give parent domains a file with subdomains = true")
			break
		}
		l.load(dir, name)
	}
}

// content is what a program is compiled from.
type content struct {
	sum  [sha256.Size]byte
	kind kind
}

type loader struct {
	rules    *Rules
	lists    *tomlfile.Lists
	previous *Rules // nil: none
	faults   fault.Faults
	shared   map[content]*program // hosters give most domains the same rules
	paths    map[domain.Name]string
	count    int
}

// isRules leaves alone what editors and package managers put beside rules files
// (.gmail.com.toml.swp, gmail.com.toml~, gmail.com.toml.bak).
func isRules(name string) bool {
	if name[0] == '.' || name[0] == '#' {
		return false
	}
	return strings.HasSuffix(strings.ToLower(name), ".toml")
}

func (l *loader) fault(path, got, want, hint string) {
	l.faults = append(l.faults, fault.Fault{Path: path, Got: got, Want: want, Hint: hint})
}

func (l *loader) unreadable(dir string, err error) {
	l.rules.defaultBroken = true
	l.rules.fallback = deferring(defaultName, "", false)
	l.rules.stops = true
	l.fault(dir, reason(err), "a directory that dkimd can read", "namei -l "+dir+" shows who may")
}

func (l *loader) unreadableFile(path string, err error) {
	hint := "namei -l " + path + " shows who may"
	switch {
	case errors.Is(err, errTooLarge):
		hint = "give it fewer rules, signers and networks"
	case errors.Is(err, errNotRegular), !errors.Is(err, fs.ErrPermission):
		hint = "fix or remove it"
	}
	l.fault(path, reason(err), "a file that dkimd can read", hint)
}

// isLink tells a link to nowhere, which is a mistake, from an absent directory.
func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// reason is an error of the operating system without the path, which the fault names already.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// load reads one file.
func (l *loader) load(dir, name string) {
	path, before := filepath.Join(dir, name), len(l.faults)
	kind, files := ofSender, l.rules.files
	base, isFor := strings.CutPrefix(name, recipientDirectory)
	if isFor {
		kind, files = ofRecipient, l.rules.recipients
	}
	if strings.EqualFold(name, defaultName) {
		l.loadDefault(path, name)
		return
	}
	if l.isTest(path, name) {
		l.rules.tests = append(l.rules.tests, path)
		return
	}
	sender, hint := domainOfFile(base)
	if hint != "" {
		l.fault(path, safetext.Quote(base), "the name of a domain and .toml, or "+defaultName, hint)
		return
	}
	unusable := func(subdomains bool) *file {
		f := deferring(name, sender, subdomains)
		f.kind = kind
		return f
	}
	key := sender
	if isFor {
		key = recipientDirectory + sender
	}
	if first, twice := l.paths[key]; twice {
		l.fault(path, "a second file for "+string(sender), "one file for each domain", "join it with "+filepath.Base(first))
		f := files[sender]
		l.broken(unusable(f != nil && f.subdomains || l.subdomains(path)), before)
		return
	}
	l.paths[key] = path
	data, err := readFile(path)
	if err != nil {
		l.unreadableFile(path, err)
		l.broken(unusable(false), before)
		return
	}
	p := l.compile(path, kind, data)
	if len(p.faults) > 0 {
		l.broken(unusable(claimsSubdomains(p, data)), before)
		return
	}
	f := &file{name: name, domain: sender, program: p}
	files[sender] = f
	if isFor {
		return
	}
	l.unclaimable(path, f)
	if sender == "default" {
		l.rules.warnings = append(l.rules.warnings, fault.Fault{
			Path: path, Got: "rules for a domain named default", Want: defaultName + " for the mail no other file claims", Hint: "rename it",
		})
	}
}

// broken takes in a domain whose file cannot be used, for the reasons since before: as it
// was if there are rules in force already, else by one that defers its mail.
func (l *loader) broken(f *file, before int) {
	files := l.rules.of(f.kind)
	if l.previous == nil {
		files[f.domain] = f
		return
	}
	old := l.previous.of(f.kind)[f.domain]
	if old != nil && old.broken {
		files[f.domain] = f
		return
	}
	delete(files, f.domain)
	if old != nil {
		files[f.domain] = old
	}
	name := f.key()
	k, again := l.rules.kept[name]
	if !again {
		k = fault.Kept{Domain: string(name), Since: time.Now()}
		if earlier, was := l.previous.kept[name]; was {
			k.Since = earlier.Since
		}
	}
	k.Faults = append(k.Faults, l.faults[before:]...)
	l.rules.kept[name], l.faults = k, l.faults[:before]
}

func (l *loader) loadDefault(path, name string) {
	if l.rules.fallback != nil {
		l.fault(path, "a second "+defaultName, "one", "remove one of the two")
		l.rules.defaultBroken, l.rules.fallback = true, deferring(name, "", false)
		return
	}
	data, err := readFile(path)
	if err != nil {
		l.unreadableFile(path, err)
		l.rules.defaultBroken, l.rules.fallback = true, deferring(name, "", false)
		return
	}
	p := compileFile(data, ofAnyone, l.lists)
	l.report(path, p)
	l.rules.fallback = &file{name: name, program: p}
	if len(p.faults) > 0 {
		l.rules.defaultBroken, l.rules.fallback = true, deferring(name, "", false)
	}
}

// compile compiles each content once.
func (l *loader) compile(path string, kind kind, data []byte) *program {
	of := content{sha256.Sum256(data), kind}
	p := l.shared[of]
	if p == nil {
		p = compileFile(data, kind, l.lists)
		l.shared[of] = p
	}
	l.report(path, p)
	return p
}

func (l *loader) report(path string, p *program) {
	for _, f := range p.faults {
		f.Path = path
		l.faults = append(l.faults, f)
	}
	for _, f := range p.warnings {
		f.Path = path
		l.rules.warnings = append(l.rules.warnings, f)
	}
}

// isTest reports whether the file holds test cases: they are not rules, and say
// nothing about mail.
func (l *loader) isTest(path, name string) bool {
	if !strings.HasSuffix(strings.ToLower(name), testSuffix) {
		return false
	}
	data, err := readFile(path)
	return err == nil && caseLine.Match(data)
}

func (l *loader) subdomains(path string) bool {
	data, err := readFile(path)
	return err == nil && claimsSubdomains(compileFile(data, ofSender, l.lists), data)
}

// domainOfFile is the domain a file name stands for.
func domainOfFile(file string) (name domain.Name, hint string) {
	stem := file[:len(file)-len(".toml")]
	name, err := domain.ParseLax(stem)
	switch {
	case strings.HasPrefix(stem, "*."):
		return "", "name it " + stem[len("*."):] + ".toml and write subdomains = true in it"
	case strings.Contains(stem, "@"):
		return "", "rules are for whole domains: leave out what stands before and with the @"
	case strings.HasPrefix(stem, "_"):
		return "", "names with _ in front are reserved; the rules for all other mail are in " + defaultName
	case err != nil || strings.HasSuffix(stem, "."):
		return "", "rename or remove it"
	}
	return name, ""
}

// readFile reads a regular file. A pipe or device is opened without waiting for
// anybody at its other end.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the directory
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFileBytes {
		return nil, errTooLarge
	}
	return data, nil
}

var (
	errNotRegular = errors.New("something that is not a regular file")
	errTooLarge   = errors.New("more than 256 KiB")
)
