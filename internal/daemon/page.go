package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/domain"
	"dkimd/internal/socket"
	"dkimd/internal/statuspage"
	"dkimd/keys"
	"dkimd/policy"
)

// Bounds of what the status page lists.
const (
	maxPageFiles   = 1000 // rules files
	maxPageTests   = 1000 // files of test cases
	maxPageDomains = 50   // with keys
)

// statusPage is what the status page knows beside what a Setup has.
type statusPage struct {
	daemon   *daemon
	history  *statuspage.History
	compared comparedKeys

	mu     sync.Mutex
	tested *policy.Rules // the rules of tests
	tests  string
	failed bool
}

// newStatusPage makes the page of a configuration; nil: it has none.
func newStatusPage(d *daemon, c *config.Config) *statusPage {
	if len(c.Metrics.Listen) == 0 || c.Metrics.Page == config.PageOff {
		return nil
	}
	return &statusPage{daemon: d, history: statuspage.NewHistory(c.Metrics.History<<20, d.began, d.log)}
}

func (p *statusPage) handler() (http.Handler, error) {
	if p == nil {
		return nil, nil //nolint:nilnil // there is no page
	}
	return statuspage.New(statuspage.Config{History: p.history, Status: controlled{p.daemon}.Status, Rules: p.rules, Keys: p.keys})
}

// PageOpenTo are the addresses at which the status page is given to other hosts.
func PageOpenTo(c *config.Config) []string {
	if c.Metrics.Page != config.PageEverywhere {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.Metrics.Listen), func(address string) bool {
		_, at, _ := strings.Cut(address, ":")
		host, _, err := net.SplitHostPort(at)
		addr, _ := netip.ParseAddr(host)
		return socket.IsUnix(address) || err == nil && (host == "localhost" || addr.IsLoopback())
	})
}

// rules are the rules files in force. Their test cases are tried once for each configuration.
func (p *statusPage) rules() statuspage.Rules {
	rules := p.daemon.current.Load().Rules
	list := statuspage.Rules{Files: rules.Files()}
	for _, d := range rules.Listed(maxPageFiles) {
		list.Listed = append(list.Listed, statuspage.Rule{File: d.File, Mode: d.Mode, Name: d.Rule, Action: d.Action.String()})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tested != rules {
		p.tested = rules
		p.tests, p.failed = tryTests(rules)
	}
	list.Tests, list.Failed = p.tests, p.failed
	return list
}

// tryTests says what came of the test cases beside the rules.
func tryTests(rules *policy.Rules) (text string, failed bool) {
	files := rules.Tests()
	if len(files) == 0 {
		return "", false
	}
	cases, wrong := 0, 0
	for _, file := range files[:min(len(files), maxPageTests)] {
		n, faults := rules.RunTest(file)
		cases, wrong = cases+n, wrong+len(faults)
	}
	if wrong > 0 {
		return fmt.Sprintf("%d of %d failed: dkimd policy test says how", wrong, cases), true
	}
	text = fmt.Sprintf("all %d passed", cases)
	if left := len(files) - maxPageTests; left > 0 {
		text += fmt.Sprintf("; %d files more were not tried", left)
	}
	return text, false
}

// keys are those of a domain, or of the first domains, those in trouble before the others. A page reads no directory but
// that of the domain: of those that nobody has read yet, nothing is known to be in trouble.
func (p *statusPage) keys(_ context.Context, name domain.Name) statuspage.Keys {
	store := p.daemon.current.Load().Keys
	dns, at := p.compared.last()
	list := statuspage.Keys{Compared: at}
	withheld := &p.daemon.withheld
	troubled := func(d *keys.Domain) bool {
		return len(d.Faults()) > 0 || slices.ContainsFunc(d.Keys, func(k *keys.Key) bool {
			n, ok := dns[k.String()]
			return ok && !n.serves || withheld.has(d.Name, k.Selector)
		})
	}
	var chosen, others []*keys.Domain
	for _, d := range store.Known(name) {
		switch {
		case name != "" && d.Name != name:
		case name != "" || troubled(d):
			chosen = append(chosen, d)
		case len(others) < maxPageDomains:
			others = append(others, d)
		}
	}
	if chosen = append(chosen, others...); len(chosen) > maxPageDomains {
		chosen = chosen[:maxPageDomains]
	}
	if name == "" {
		list.Left = store.Len() - len(chosen)
	}
	for _, d := range chosen {
		for _, k := range pageKeys(d, dns) {
			if k.Trouble == "" && withheld.has(d.Name, k.Selector) {
				k.Trouble = "withheld: DNS does not serve it, so the other keys of the domain sign"
			}
			list.Listed = append(list.Listed, k)
		}
	}
	return list
}

// pageKeys are the keys of a domain at any stage of their lives. Those that sign now are told by what is in force.
func pageKeys(d *keys.Domain, dns map[string]keyNote) []statuspage.Key {
	held, _ := d.Held() // a domain of tables has no directory; a broken state file is among the faults
	var list []statuspage.Key
	for i, k := range slices.Concat(d.Keys, d.Pending) {
		note, compared := dns[k.String()]
		one := statuspage.Key{Domain: string(d.Name), Selector: k.Selector, State: k.Role(), Type: note.kind, DNS: note.dns, Unserved: compared && !note.serves && i < len(d.Keys)}
		if private, err, ready := k.Ready(); ready {
			if err != nil {
				one.Trouble = err.Error()
			} else {
				one.Type = kindOf(private)
			}
		}
		if info, err := os.Stat(k.Path); err == nil && k.Line == 0 {
			one.Made = info.ModTime()
		}
		list = append(list, one)
	}
	for _, h := range held {
		at := slices.IndexFunc(list, func(k statuspage.Key) bool { return k.Selector == h.Selector })
		if at < 0 {
			list = append(list, statuspage.Key{Domain: string(d.Name), Selector: h.Selector, Type: h.Life.Type})
			at = len(list) - 1
		}
		one := &list[at]
		one.State, one.Since, one.Trouble = string(h.Stage()), h.Life.Since, cmp.Or(one.Trouble, h.Life.Trouble)
	}
	return list
}

func kindOf(private *keys.Private) string {
	if private.Type == "RSA" {
		return "RSA, " + strconv.Itoa(private.Bits) + " bits"
	}
	return private.Type
}

// maxNotes is how many keys comparedKeys keeps.
const maxNotes = 10_000

// comparedKeys is what the last comparison of keys with DNS found. It is safe for concurrent use.
type comparedKeys struct {
	mu    sync.Mutex
	at    time.Time
	notes map[string]keyNote // by DOMAIN/SELECTOR
}

// keyNote is what a comparison found of one key.
type keyNote struct {
	kind   string // type and bits
	dns    string
	serves bool
	at     time.Time
}

// add takes in the keys of a domain.
func (c *comparedKeys) add(results []keys.CheckResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.notes == nil {
		c.notes = map[string]keyNote{}
	}
	c.at = time.Now()
	for _, r := range results {
		name := r.Key.String()
		if _, known := c.notes[name]; !known && len(c.notes) >= maxNotes {
			continue
		}
		note := keyNote{dns: r.State.String(), serves: r.Serves(), at: c.at}
		if r.Private != nil {
			note.kind = kindOf(r.Private)
		}
		c.notes[name] = note
	}
}

// last are the notes of the last two days, and when the last one was made.
func (c *comparedKeys) last() (notes map[string]keyNote, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	notes = make(map[string]keyNote, len(c.notes))
	for name, n := range c.notes {
		if c.at.Sub(n.at) > 2*watchEvery {
			delete(c.notes, name) // that key is gone
			continue
		}
		notes[name] = n
	}
	return notes, c.at
}
