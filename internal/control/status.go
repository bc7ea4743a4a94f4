package control

import (
	"strconv"
	"strings"
	"time"

	"dkimd/internal/fault"
)

// Reload is what came of a reload. The names of its JSON are documented in docs/commands.md.
type Reload struct {
	Result string `json:"result"` // one of the results below
	// Faults are why the reload was refused, or what was left out.
	Faults   []fault.Finding `json:"faults"`
	Warnings []fault.Finding `json:"warnings"` // rules that hardly do what they should
	// Restart are keys whose change takes effect at a restart only.
	Restart []string `json:"restart,omitempty"`
	Summary string   `json:"summary"` // of what is in force now
	Seconds float64  `json:"seconds"` // it took
}

// What comes of a reload.
const (
	Taken   = "taken"   // all that is on disk is in force
	Partly  = "partly"  // what is broken on disk is as it was, or left out; the rest is in force
	Refused = "refused" // nothing changed
)

// Status is what a running daemon does.
type Status struct {
	Version    string          `json:"version"`
	PID        int             `json:"pid"`
	Started    time.Time       `json:"started"`
	Config     string          `json:"config"` // path of dkimd.toml
	Loaded     time.Time       `json:"loaded"` // the configuration in force
	Ready      bool            `json:"ready"`  // as /readyz says it
	Faults     []fault.Finding `json:"faults"`
	Warnings   []fault.Finding `json:"warnings"`
	Doors      []Door          `json:"doors"`
	Keys       Keys            `json:"keys"`
	Rotation   Rotation        `json:"rotation"`
	Rules      Rules           `json:"rules"`
	DNS        DNS             `json:"dns"`
	Messages   []Count         `json:"messages"` // since the start, those that are 0 are left out
	Log        Log             `json:"log"`
	LastReload *Refusal        `json:"refused_reload,omitempty"` // the last reload, if it was refused
}

// Door is a front door.
type Door struct {
	Front       string   `json:"front"` // milter or exim
	Listen      []string `json:"listen"`
	Connections int      `json:"connections"` // open now
	Limit       int      `json:"limit"`
}

// Keys are the private keys.
type Keys struct {
	Usable          int `json:"usable"`
	Unusable        int `json:"unusable"`
	Domains         int `json:"domains"`          // that sign
	UnusableDomains int `json:"unusable_domains"` // with keys of which none can sign
	Kept            int `json:"kept"`             // domains that sign as before a reload, because their files are broken
}

// Rotation is where keys are in their lives.
type Rotation struct {
	Stages   Stages   `json:"stages"`
	Stuck    []string `json:"stuck"`    // DOMAIN/SELECTOR, or DOMAIN
	Overdue  int      `json:"overdue"`  // domains whose rotation is due and not begun
	Paused   bool     `json:"paused"`   // what is due is not begun, for too many keys are not seen in DNS
	Withheld []string `json:"withheld"` // DOMAIN/SELECTOR of keys that sign no more, for DNS does not serve them
}

// Words are what is not at rest; empty: nothing.
func (r Rotation) Words() string {
	var parts []string
	for _, n := range []struct {
		count int
		word  string
	}{
		{r.Stages.Made, "made"},
		{r.Stages.Published, "published"},
		{r.Stages.Retiring, "retiring"},
		{r.Stages.Revoked, "revoked"},
		{r.Stages.Withdrawn, "withdrawn"},
		{len(r.Stuck), "stuck"},
		{r.Overdue, "overdue"},
		{len(r.Withheld), "withheld"},
	} {
		if n.count > 0 {
			parts = append(parts, strconv.Itoa(n.count)+" "+n.word)
		}
	}
	if r.Paused {
		parts = append(parts, "paused")
	}
	return strings.Join(parts, ", ")
}

// Stages are the keys of the directory by their stage.
type Stages struct {
	Made      int `json:"made"`
	Published int `json:"published"`
	Active    int `json:"active"`
	Retiring  int `json:"retiring"`
	Revoked   int `json:"revoked"`
	Withdrawn int `json:"withdrawn"`
	Destroyed int `json:"destroyed"`
}

// Rules are the rules files.
type Rules struct {
	Files  int `json:"files"` // for a sender domain
	Broken int `json:"broken"`
	Kept   int `json:"kept"` // as before a reload, because the file is broken
}

// DNS is the resolver.
type DNS struct {
	Servers []string `json:"servers"`
	Cached  int      `json:"cached"` // names
}

// Count is how many messages had the same front, mode and verdict, in the words of their records.
type Count struct {
	Front   string `json:"front"`
	Mode    string `json:"mode"`
	Verdict string `json:"verdict"`
	Count   uint64 `json:"count"`
}

// Log is the log stream.
type Log struct {
	Outputs []string `json:"outputs"`
	Lost    uint64   `json:"lost"` // records that could not be written
}

// Refusal is a reload that was refused.
type Refusal struct {
	At     time.Time       `json:"at"`
	Faults []fault.Finding `json:"faults"`
}
