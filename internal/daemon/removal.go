package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/terminal"
)

// manyDomains is how many signing domains, or rules files that enforce, there have to be
// for the loss of more than half of them to look like an accident.
const manyDomains = 10

// vanished says which directory of s is gone. At start an absent default directory
// is an empty one; at a reload it would take all keys or all rules away.
func (s *Setup) vanished(next *config.Config) error {
	gone := func(dir string) bool {
		_, err := os.Stat(dir)
		return errors.Is(err, fs.ErrNotExist)
	}
	const hint = "put it back, or stop and start dkimd"
	switch {
	case s.Keys.Listed() && gone(next.Sign.Directory):
		return atKey(next, fault.Faults{{
			Key: "sign.directory", Got: "a directory that was there and is gone", Want: next.Sign.Directory, Hint: hint,
		}})
	case !s.Rules.Empty() && gone(next.Policy.Directory):
		return atKey(next, fault.Faults{{
			Key: "policy.directory", Got: "a directory that was there and is gone", Want: next.Policy.Directory, Hint: hint,
		}})
	}
	return nil
}

// removal is what a reload would take away, where that is so much that a mount may have
// failed. Token stands for this removal from the setup in force, and for no other.
type removal struct {
	faults fault.Faults // without a hint
	token  string
}

// removal compares s, which is in force, with the setup that is to follow; nil: nothing to ask about.
func (s *Setup) removal(next *Setup) *removal {
	signing, left := s.signing(), map[domain.Name]bool{}
	for _, name := range next.signing() {
		left[name] = true
	}
	keyless := slices.DeleteFunc(slices.Clone(signing), func(name domain.Name) bool { return left[name] })
	enforced := s.Rules.Enforced()
	ruleless := slices.DeleteFunc(slices.Clone(enforced), next.Rules.Has)
	r := &removal{}
	add := func(key, got, want string) { r.faults = append(r.faults, fault.Fault{Key: key, Got: got, Want: want}) }
	switch {
	case s.Keys.Len() > 0 && next.Keys.Len() == 0 && next.Config.Sign.SigningTable != "":
		add("sign.signing_table", "no domain with a key any more, where there were "+strconv.Itoa(s.Keys.Len()), "the tables as they were")
	case s.Keys.Len() > 0 && next.Keys.Len() == 0:
		add("sign.directory", "a directory without any domain, where "+terminal.Plural(s.Keys.Len(), "domain")+" had keys", next.Config.Sign.Directory+" as it was")
	case len(signing) >= manyDomains && 2*len(keyless) > len(signing):
		add("sign.directory", fmt.Sprintf("no key any more for %d of %s, %s among them", len(keyless), terminal.Plural(len(signing), "domain"), keyless[0]), "the keys of most domains to stay")
	}
	switch {
	case !s.Rules.Empty() && next.Rules.Empty():
		add("policy.directory", "a directory without any rules file, where there were some", next.Config.Policy.Directory+" as it was")
	case len(enforced) >= manyDomains && 2*len(ruleless) > len(enforced):
		slices.Sort(ruleless)
		add("policy.directory", fmt.Sprintf("no rules file any more for %d of %s that enforce, %s among them", len(ruleless), terminal.Plural(len(enforced), "domain"), ruleless[0]), "most of the rules files to stay")
	}
	if r.faults == nil {
		return nil
	}
	slices.Sort(ruleless)
	sum := sha256.Sum256([]byte(fmt.Sprint(s.loaded.UnixNano(), keyless, ruleless, r.faults)))
	r.token = hex.EncodeToString(sum[:4])
	return r
}

// signing are the domains whose mail is ours to sign.
func (s *Setup) signing() []domain.Name {
	var names []domain.Name
	for _, d := range s.Keys.Domains() {
		if d.Signs() {
			names = append(names, d.Name)
		}
	}
	return names
}

// acceptFile is the file beside dkimd.toml with which the operator accepts a removal.
const acceptFile = "accept-removal"

// accepts reports whether the operator has accepted this removal; the error says how to.
func (d *daemon) accepts(c *config.Config, r *removal, accepted bool) error {
	if accepted {
		d.log.Warn("removal accepted", "by", "dkimd reload --accept-removal", "what", r.faults.Error())
		return nil
	}
	path := filepath.Join(filepath.Dir(d.Config), acceptFile)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() < 1<<10 {
		if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == r.token { //nolint:gosec // beside dkimd.toml
			d.log.Warn("removal accepted", "file", path, "what", r.faults.Error())
			return nil
		}
	}
	faults := slices.Clone(r.faults)
	for i := range faults {
		faults[i].Hint = "is it mounted? if it was removed on purpose: dkimd reload --accept-removal, or echo " + r.token + " > " + path + ", and reload again"
	}
	return atKey(c, faults)
}

// reportKept logs what stays as it was; more than a page of it helps nobody.
func (d *daemon) reportKept(kept []fault.Kept) {
	for i, k := range kept {
		if i == maxWatchWarnings {
			d.log.Error("more domains stay as they were before the reload", "domains", len(kept)-i, "hint", "dkimd check")
			return
		}
		d.log.Error("a domain stays as it was: its files are broken", "domain", k.Domain,
			"since", k.Since.UTC().Format(time.RFC3339), "fault", k.Faults.Error())
	}
}
