package policy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/message"
	"dkimd/internal/spf"
	"dkimd/policy"
	"dkimd/verifier"
)

// write makes a rules directory out of file names and contents.
func write(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// load loads a directory that has no faults.
func load(tb testing.TB, files map[string]string) *policy.Rules {
	tb.Helper()
	rules, faults := policy.Load(write(tb, files), nil)
	if len(faults) > 0 {
		tb.Fatal(faults.Err())
	}
	return rules
}

// enforced puts the mode in front of rules.
func enforced(rules string) string { return "mode = \"enforce\"\n" + rules }

// from is what one From field with these addresses says.
func from(addresses ...string) message.Originator {
	o := message.Originator{Fields: 1, Readable: len(addresses) > 0}
	for _, a := range addresses {
		local, host, _ := strings.Cut(a, "@")
		o.Addresses = append(o.Addresses, message.Address{Local: local, Domain: domain.Name(host)})
		o.Claimed = append(o.Claimed, domain.Name(host))
	}
	return o
}

// sig is a result of a 2048-bit RSA key.
func sig(domain string, status verifier.Status) verifier.Result {
	return verifier.Result{Domain: domain, Status: status, Algorithm: "rsa-sha256", KeyBits: 2048}
}

// with changes a result.
func with(r verifier.Result, change func(*verifier.Result)) verifier.Result {
	change(&r)
	return r
}

func inTest(r verifier.Result) verifier.Result {
	return with(r, func(r *verifier.Result) { r.Testing = true })
}

func doubled(r verifier.Result) verifier.Result {
	return with(r, func(r *verifier.Result) { r.Duplicates = []string{"Subject"} })
}

func bits(n int, r verifier.Result) verifier.Result {
	return with(r, func(r *verifier.Result) { r.KeyBits = n })
}

func algorithm(a string, r verifier.Result) verifier.Result {
	return with(r, func(r *verifier.Result) { r.Algorithm = a })
}

// world is one message and what the verifier found. The zero value is an
// unsigned message of alice@gmail.com from a stranger to one recipient.
type world struct {
	msg       policy.Message
	results   []verifier.Result
	published string
}

func gmail(results ...verifier.Result) world {
	return world{
		msg: policy.Message{
			From: from("alice@gmail.com"), Sender: "alice@gmail.com", Recipients: []string{"bob@mine.example"},
			Client: message.NewClient("", "203.0.113.9"),
		},
		results: results, published: "absent",
	}
}

// but changes the message.
func (w world) but(change func(*policy.Message)) world {
	change(&w.msg)
	return w
}

func (w world) publishing(p string) world {
	w.published = p
	return w
}

func (w world) judge(r *policy.Rules) policy.Verdict {
	return r.Select(w.msg).Judge(reported(w.msg, w.results, w.published))
}

// reported is what the verifier says of a message: its results, and what its author publishes. "unaskable" is that of several authors.
func reported(m policy.Message, results []verifier.Result, published string) *verifier.Report {
	r := &verifier.Report{Results: slices.Clone(results), DMARC: dmarc.Verdict{Result: dmarc.PermError}, SPF: spf.Outcome{Result: spf.None}}
	if published == "unaskable" || len(m.From.Claimed) != 1 {
		return r
	}
	r.DMARC.Author = m.From.Claimed[0]
	r.DMARC.Result = dmarc.Fail
	switch published {
	case "absent":
		r.DMARC.Result = dmarc.None
	case "temperror":
		r.DMARC.Result = dmarc.TempError
	case "none":
		r.DMARC.Policy = dmarc.PolicyNone
	case "quarantine":
		r.DMARC.Policy = dmarc.PolicyQuarantine
	case "reject":
		r.DMARC.Policy = dmarc.PolicyReject
	}
	if m.From.Fields != 1 {
		if published != "temperror" {
			r.DMARC.Result = dmarc.PermError
		}
		return r
	}
	for i := range r.Results {
		switch d := domain.Fold(r.Results[i].Domain); {
		case d == m.From.Claimed[0]:
			r.Results[i].Aligned = verifier.AlignStrict
		case d.Aligned(m.From.Claimed[0]):
			r.Results[i].Aligned = verifier.AlignRelaxed
		}
	}
	return r
}

// said is a verdict in short: action, rule, reply, tags.
func said(v policy.Verdict) string {
	s := v.Action.String()
	if v.Rule != "" {
		s += " by " + v.Rule
	}
	if reply := v.Reply.String(); reply != "" {
		s += ": " + reply
	}
	var sSb116 strings.Builder
	for _, tag := range v.Tags {
		sSb116.WriteString(" [" + tag.Name + ": " + tag.Value + "]")
	}
	s += sSb116.String()
	return s
}

// texts are faults as the operator reads them, without the directory.
func texts(dir string, faults fault.Faults) string {
	lines := make([]string, 0, len(faults))
	for _, f := range faults {
		lines = append(lines, strings.ReplaceAll(f.Error(), dir+"/", ""))
	}
	return strings.Join(lines, "\n")
}
