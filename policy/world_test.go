package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/message"
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
	published verifier.Published
}

func gmail(results ...verifier.Result) world {
	return world{
		msg: policy.Message{
			From: from("alice@gmail.com"), Sender: "alice@gmail.com", Recipients: []string{"bob@mine.example"},
			Client: message.NewClient("", "203.0.113.9"),
		},
		results: results, published: verifier.PublishedAbsent,
	}
}

// but changes the message.
func (w world) but(change func(*policy.Message)) world {
	change(&w.msg)
	return w
}

func (w world) publishing(p verifier.Published) world {
	w.published = p
	return w
}

func (w world) judge(r *policy.Rules) policy.Verdict {
	return r.Select(w.msg).Judge(&verifier.Report{Results: w.results, Published: w.published})
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
