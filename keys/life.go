package keys

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/fault"
	"dkimd/internal/safetext"
	"dkimd/internal/tomlfile"

	"golang.org/x/sys/unix"
)

// Stage is where a key is in its life.
type Stage string

// The stages of a key, in their order.
const (
	StageMade      Stage = "made"      // its record is not seen in DNS yet
	StagePublished Stage = "published" // every server of the zone has its record; caches may still remember that it was absent
	StageActive    Stage = "active"    // it signs
	StageRetiring  Stage = "retiring"  // it signs no more, and its record stays for the mail under way
	StageRevoked   Stage = "revoked"   // its record has an empty p= (RFC 6376 section 3.6.1)
	StageWithdrawn Stage = "withdrawn" // its record is gone
	StageDestroyed Stage = "destroyed" // its private key is deleted
)

// lockEvery is how often is looked whether a lock is free.
const lockEvery = 50 * time.Millisecond

const (
	stateSuffix   = ".toml"                            // ends the names of state files: SELECTOR.toml
	stateHead     = "# Where this key is in its life." // begins them
	retiredSuffix = ".pem.old"                         // ends the names of keys that sign no more
)

// ErrLocked says that another dkimd works on the keys of a domain.
var ErrLocked = errors.New("another dkimd works on these keys")

// Life is what the state file of a key says. Who signs does not depend on it: the name of the key file says that.
type Life struct {
	Stage    Stage
	Since    time.Time // when the stage began
	Rotating bool      // dkimd takes it to the next stage by itself
	Type     string    // RSA or Ed25519
	Bits     int       // of an RSA key that is still to be made
	Record   string    // the TXT record that DNS is to have
	Before   string    // what DNS may have instead and dkimd may replace; empty: nothing
	Replaces []string  // selectors that retire once this key signs
	Then     []string  // types of keys that rotate after this one
	Asked    time.Time // when the record was last asked for; zero: not yet
	Reminded time.Time // when somebody was last told of what holds it up
	TTL      time.Duration
	Hold     time.Duration // how long caches may remember something else than the record
	Waited   time.Duration // how much of the wait under way is over
	Looked   Moment        // when Waited was counted
	Signed   time.Time     // the last signature, as far as is known
	Trouble  string        // what holds it up; empty: nothing
}

// Place is which file a key has.
type Place uint8

// The files of a key.
const (
	NoFile  Place = iota
	Waiting       // SELECTOR.pem.new
	Signing       // SELECTOR.pem
	Retired       // SELECTOR.pem.old
)

// Held is a key of a domain at any stage of its life.
type Held struct {
	Selector string
	Life     Life  // of a key without a state file: what the name of its file says
	Recorded bool  // it has a state file
	Place    Place // its file
	Path     string
}

// Held are all keys of the domain as its directory holds them now, by selector; of retired ones only those with a
// state file. A state file that cannot be read is a fault, and its key is left out.
func (d *Domain) Held() ([]Held, fault.Faults) {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return nil, fault.Faults{*unreadable(d.Path, err)}
	}
	found := map[string]*Held{}
	of := func(selector string) *Held {
		if found[selector] == nil {
			found[selector] = &Held{Selector: selector}
		}
		return found[selector]
	}
	for _, e := range entries {
		for _, file := range []struct {
			suffix string
			place  Place
		}{{pendingSuffix, Waiting}, {".pem", Signing}, {retiredSuffix, Retired}, {stateSuffix, NoFile}} {
			stem, is := strings.CutSuffix(e.Name(), file.suffix)
			if selector, err := dkim.ParseSelector(stem, d.Name, dkim.AsPublished); is && err == nil && !fault.Leftover(stem) && e.Name() != optionsFile {
				h := of(selector)
				// Cut off between link and unlink, a key has both names: the one that signs counts.
				if file.place != NoFile && h.Place != Signing {
					h.Place, h.Path = file.place, filepath.Join(d.Path, e.Name())
				}
				h.Recorded = h.Recorded || file.place == NoFile && e.Type().IsRegular()
			}
		}
	}
	return d.lives(found)
}

// lives reads the state files of the keys that have one.
func (d *Domain) lives(found map[string]*Held) (all []Held, faults fault.Faults) {
	top, err := stat(filepath.Dir(d.Path))
	if err != nil {
		return nil, fault.Faults{*unreadable(d.Path, err)}
	}
	permissions := newPermissions(top, Config{})
	for _, h := range found {
		switch {
		case !h.Recorded && h.Place == Retired, !h.Recorded && h.Place == NoFile:
			continue // whoever put it out of use did not ask for more
		case !h.Recorded:
			h.Life.Stage = map[Place]Stage{Waiting: StageMade, Signing: StageActive}[h.Place]
			if info, err := os.Stat(h.Path); err == nil {
				h.Life.Since = info.ModTime()
			}
		default:
			path := filepath.Join(d.Path, h.Selector+stateSuffix)
			data, _, wrong := permissions.read(path, permissions.checkOptions)
			if wrong != nil {
				faults = append(faults, *wrong)
				continue
			}
			life, wrongs := readLife(path, data)
			if len(wrongs) > 0 {
				faults = append(faults, wrongs...)
				continue
			}
			h.Life = life
		}
		all = append(all, *h)
	}
	slices.SortFunc(all, func(a, b Held) int { return strings.Compare(a.Selector, b.Selector) })
	return all, faults
}

// readLife reads a state file.
func readLife(path string, data []byte) (Life, fault.Faults) {
	const most = 100 * 365 * 24 * time.Hour
	file := tomlfile.Parse(path, data)
	t := file.Root()
	at := func(key string) (when time.Time) {
		text := t.String(key, "")
		when, err := time.Parse(time.RFC3339, text)
		if text != "" && err != nil {
			t.Fault(key, "a time", `such as "2026-11-30T12:00:00Z"`)
		}
		return when
	}
	if !t.Has("state") && len(data) > 0 {
		t.Fault("state", "the stage of a key", "dkimd writes this file; remove it if the key is not being rotated")
	}
	stages := []Stage{StageMade, StagePublished, StageActive, StageRetiring, StageRevoked, StageWithdrawn, StageDestroyed}
	words := make([]string, len(stages))
	for i, s := range stages {
		words[i] = string(s)
	}
	l := Life{
		Stage: Stage(t.Enum("state", string(StageMade), words...)), Since: at("since"), Rotating: t.Bool("rotating", false),
		Type: t.Enum("type", RSA, RSA, Ed25519), Bits: int(t.Int("bits", 0, 0, MaxRSABits)),
		Record: t.String("record", ""), Before: t.String("before", ""), Replaces: t.Strings("replaces", nil), Then: t.Strings("then", nil),
		Asked: at("asked"), Reminded: at("reminded"), Signed: at("last_signed"),
		TTL: t.Duration("ttl", 0, 0, most), Hold: t.Duration("hold", 0, 0, most), Waited: t.Duration("waited", 0, 0, most),
		Looked:  Moment{Wall: at("looked"), Boot: t.String("boot", ""), Up: t.Duration("uptime", 0, 0, most)},
		Trouble: t.String("trouble", ""),
	}
	return l, file.Faults()
}

// text is the state file.
func (l Life) text() string {
	var b strings.Builder
	b.WriteString(stateHead + " dkimd writes this file; docs/keys.md explains it.\n")
	word := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s = %s\n", key, quoteTOML(value))
		}
	}
	at := func(key string, t time.Time) {
		if !t.IsZero() {
			word(key, t.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano))
		}
	}
	span := func(key string, d time.Duration) {
		if d > 0 {
			word(key, tomlfile.FormatDuration(d.Round(time.Millisecond)))
		}
	}
	words := func(key string, list []string) {
		if len(list) > 0 {
			quoted := make([]string, len(list))
			for i, item := range list {
				quoted[i] = quoteTOML(item)
			}
			fmt.Fprintf(&b, "%s = [%s]\n", key, strings.Join(quoted, ", "))
		}
	}
	word("state", string(l.Stage))
	at("since", l.Since)
	if l.Rotating {
		b.WriteString("rotating = true\n")
	}
	word("type", l.Type)
	if l.Bits > 0 {
		b.WriteString("bits = " + strconv.Itoa(l.Bits) + "\n")
	}
	word("record", l.Record)
	word("before", l.Before)
	words("replaces", l.Replaces)
	words("then", l.Then)
	at("asked", l.Asked)
	at("reminded", l.Reminded)
	span("ttl", l.TTL)
	span("hold", l.Hold)
	span("waited", l.Waited)
	at("looked", l.Looked.Wall)
	word("boot", l.Looked.Boot)
	span("uptime", l.Looked.Up)
	at("last_signed", l.Signed)
	word("trouble", l.Trouble)
	return b.String()
}

// quoteTOML is a string as TOML has it: what is not printable is escaped before, as text.
func quoteTOML(s string) string { return strconv.Quote(safetext.Printable(s)) }

// isState reports whether a file is the state file of a key that is gone.
func isState(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0) //nolint:gosec // the operator names the directory
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	head := make([]byte, len(stateHead))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == stateHead
}

// SaveLife writes the state file of a key: all of it, or nothing where that fails.
func (d *Domain) SaveLife(selector string, l Life) (err error) {
	if selector+stateSuffix == optionsFile {
		return fmt.Errorf("%s/%s: a key of this selector has no state file, because %s holds the domain's options; rename the key", d.Name, selector, optionsFile)
	}
	path := filepath.Join(d.Path, selector+stateSuffix)
	part := filepath.Join(d.Path, "."+selector+stateSuffix+".part") // the lock leaves it to us
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeFile(part, []byte(l.text()), 0o644); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return syncDirectory(d.Path)
}

// Retire has a key sign no more once dkimd reads the domain again: SELECTOR.pem becomes SELECTOR.pem.old.
func (d *Domain) Retire(selector string) error {
	from, to := filepath.Join(d.Path, selector+".pem"), filepath.Join(d.Path, selector+retiredSuffix)
	if there, err := os.Lstat(to); err == nil {
		if signs, err := os.Lstat(from); err == nil && os.SameFile(there, signs) {
			return finish(from) // an earlier rename was cut off in the middle
		}
	}
	return rename(from, to)
}

// Destroy deletes the private key of a retired key, for good.
func (d *Domain) Destroy(selector string) error {
	err := os.Remove(filepath.Join(d.Path, selector+retiredSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDirectory(d.Path))
}

// HasFile reports whether there is any file of a key with this selector, also one that is out of use.
func (d *Domain) HasFile(selector string) bool {
	for _, suffix := range []string{pendingSuffix, ".pem", retiredSuffix, stateSuffix} {
		if _, err := os.Lstat(filepath.Join(d.Path, selector+suffix)); err == nil {
			return true
		}
	}
	return false
}

// Lock keeps others from working on the keys of the domain until unlock is called, or this process ends. It waits for
// whoever does that, but not longer than most. ErrLocked: somebody still does.
func (d *Domain) Lock(ctx context.Context, most time.Duration) (unlock func(), err error) {
	dir, err := openDirectory(d.Path)
	if err != nil {
		return nil, *noDirectory(d.Path, err, "the directory of the domain's keys")
	}
	take := func() error { return unix.Flock(dir.fd, unix.LOCK_EX|unix.LOCK_NB) }
	err = again(take)
	for end := time.Now().Add(most); errors.Is(err, unix.EWOULDBLOCK) && time.Now().Before(end) && ctx.Err() == nil; err = again(take) {
		select {
		case <-ctx.Done():
		case <-time.After(lockEvery):
		}
	}
	if err == nil {
		return dir.close, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w%s", ErrLocked, dir.holder())
	}
	dir.close()
	return nil, fmt.Errorf("lock %s: %w", d.Path, err)
}

// holder is who has locked a directory, as far as Linux tells.
func (d *directory) holder() string {
	var st unix.Stat_t
	locks, err := os.ReadFile("/proc/locks")
	if err != nil || unix.Fstat(d.fd, &st) != nil {
		return ""
	}
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 4711 fe:01:131074 0 EOF
		if f := strings.Fields(line); len(f) > 5 && f[1] == "FLOCK" && strings.HasSuffix(f[5], ":"+strconv.FormatUint(st.Ino, 10)) {
			return ", process " + f[4]
		}
	}
	return ""
}

// Retired is the key of SELECTOR.pem.old.
func (d *Domain) Retired(selector string) (*Private, error) {
	path, data, err := d.readRetired(selector)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	private, wrong := parse(path, data)
	if wrong != nil {
		return nil, *wrong
	}
	return private, nil
}

func (d *Domain) readRetired(selector string) (path string, data []byte, err error) {
	path = filepath.Join(d.Path, selector+retiredSuffix)
	top, err := stat(filepath.Dir(d.Path))
	if err != nil {
		return "", nil, err
	}
	permissions := newPermissions(top, Config{})
	data, _, wrong := permissions.read(path, permissions.checkKey)
	if wrong != nil {
		return "", nil, *wrong
	}
	return path, data, nil
}

// Reveal is the private key of a retired key, in base64: nothing that it signed proves anything from then on.
func (d *Domain) Reveal(selector string) (string, error) {
	_, data, err := d.readRetired(selector)
	if err != nil {
		return "", err
	}
	defer clear(data)
	if block, _ := pem.Decode(data); block != nil {
		return base64.StdEncoding.EncodeToString(block.Bytes), nil
	}
	return strings.TrimSpace(string(data)), nil
}

// Stage is where the key is in its life. What the name of its file says comes before the state file: somebody may
// have renamed it.
func (h Held) Stage() Stage {
	early := h.Life.Stage == StageMade || h.Life.Stage == StagePublished
	switch {
	case h.Place == Signing:
		return StageActive
	case h.Place == Waiting && !early:
		return StageMade
	case h.Place == Retired && (early || h.Life.Stage == StageActive):
		return StageRetiring
	}
	return h.Life.Stage
}
