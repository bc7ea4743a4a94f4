// Package importer turns the configuration of another signer into one of dkimd: a Plan, which says of each setting
// how well it is carried over, and which Write puts on disk. It reads what it is given and changes none of it. Each
// source has a file: opendkim.go, rspamd.go, exim.go, amavis.go.
package importer

import (
	"cmp"
	"slices"
	"strings"

	"dkimd/internal/safetext"
	"dkimd/keys"
)

// Verdict is how well a setting is carried over.
type Verdict string

// The verdicts, in the order of a report.
const (
	NotCarried Verdict = "not carried" // the text says what to do
	Close      Verdict = "close"       // the text says what differs
	Same       Verdict = "same"
)

// Place is a line of a file.
type Place struct {
	Path string `json:"path"`
	Line int    `json:"line,omitempty"` // counted from 1; 0: no particular line
}

// Note is what became of one setting.
type Note struct {
	Verdict Verdict `json:"verdict"`
	Place
	Setting string `json:"setting"`         // its name, as the program it is of spells it
	Value   string `json:"value,omitempty"` // as written
	Text    string `json:"text"`            // what dkimd does instead, what differs, or what to do
}

// Host is an entry in a list of clients that means something else to dkimd than it did.
type Host struct {
	Place
	Entry string `json:"entry"`
	Text  string `json:"text"`
}

// Sender is a pattern of addresses whose mail the old configuration signs; with Subdomains also every domain below.
type Sender struct {
	Local      string // empty: any
	Domain     string
	Subdomains bool
	Below      bool // only the domains below Domain
}

// Plan is what an import comes to.
type Plan struct {
	Source  string   // the program
	Notes   []Note   // sorted by verdict, then as they stand in the files
	Gained  []Host   // whose mail is signed and was not
	Lost    []Host   // the other way round
	From    string   // the configuration
	Senders []Sender // whose mail was signed, for a proof
	Clients []string // entries of lists of clients, for a proof
	Daemons []string // ports of the mail server whose mail was signed, for a proof
	NotTo   []string // recipients whose mail was not signed, for a proof
	// Fields are those of the header that the sender was looked for in, for a proof; nil: From.
	Fields []string
	// AnyClient: mail of every client was signed, which Lost tells of. A proof asks for those that are ours.
	AnyClient bool
	// OldConfig writes a copy of the old configuration to a directory, for a proof: the signer serves a unix socket, or
	// Exim delivers to an address, and touches nothing else. It returns the arguments of the program. Nil: no proof is known.
	OldConfig func(dir, socket string) (args []string, err error)
	// Records are the records of all keys; the names are for keys that sign for every domain.
	Records func(names []string) ([]keys.Record, error)

	config      toml
	files       []file
	tables      []func(dir string) []file // that name paths in the directory
	keys        []keyCopy
	directories []string
}

func (p *Plan) note(v Verdict, at Place, setting, value, text string) {
	if strings.HasPrefix(value, "dsn:") || strings.HasSuffix(setting, "Password") || strings.Contains(value, "PRIVATE KEY") {
		value = "(not shown)"
	}
	p.Notes = append(p.Notes, Note{v, at, setting, safetext.Printable(safetext.Clip(value, maxValue)), safetext.Printable(text)})
}

// maxValue is how much of a value a report repeats.
const maxValue = 80

// Complete reports whether everything was carried over, closely at least.
func (p *Plan) Complete() bool {
	return !slices.ContainsFunc(p.Notes, func(n Note) bool { return n.Verdict == NotCarried })
}

// sort brings the notes into the order of the report.
func (p *Plan) sort() {
	order := []Verdict{NotCarried, Close, Same}
	slices.SortStableFunc(p.Notes, func(a, b Note) int {
		return cmp.Compare(slices.Index(order, a.Verdict), slices.Index(order, b.Verdict))
	})
}

// setting is one line of a configuration that says NAME VALUE.
type setting struct {
	Place
	name  string // as the manual spells it
	value string
}

func (s setting) fields() []string {
	return strings.FieldsFunc(s.value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}
