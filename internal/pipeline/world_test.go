package pipeline_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkimd/internal/authrestest"
	"dkimd/internal/dkim"
	"dkimd/internal/events"
	"dkimd/internal/hosts"
	"dkimd/internal/logtest"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/resolver"
	"dkimd/keys"
	"dkimd/policy"
	"dkimd/signer"
	"dkimd/verifier"
)

const (
	inside  = "192.0.2.1"
	outside = "203.0.113.9"
	relay   = "198.51.100.1"
)

// world is a pipeline of real parts for example.org, whose keys r1 and e1 are
// published. The mail of example.org that is not signed by it is rejected.
type world struct {
	t      *testing.T
	dir    string
	txt    map[string]string // DNS
	lookup func(name string) (resolver.Answer, error)
	// lookupIn is called where SPF or a list of clients looks up; nil: it is not.
	lookupIn func(done <-chan struct{})
	cached   bool // all that lookup says
	config   pipeline.Config
	sign     signer.Config
	relays   []verifier.Relay
	rules    map[string]string // files
	records  []*events.Event
	log      *logtest.Lines
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), txt: map[string]string{}, log: new(logtest.Lines), rules: map[string]string{
		"example.org.toml": `
			sender = "either"
			mode = "enforce"
			[[rule]]
			name = "must be signed"
			result = ["none", "invalid", "fail"]
			action = "reject"
			reply = "550 5.7.20 unsigned"`,
	}}
	for _, kind := range []string{keys.RSA, keys.Ed25519} {
		g, err := keys.Generate(keys.New{Directory: w.keyDir(), Domain: "example.org", Selector: kind[:1] + "1", Type: kind, Bits: map[string]int{keys.RSA: 1024}[kind]})
		must(t, err)
		_, err = keys.Activate(t.Context(), keys.Activation{Directory: w.keyDir(), Domain: "example.org", Selector: g.Selector, Force: true})
		must(t, err)
		w.txt[g.Record.Name] = g.Record.Text
	}
	w.lookup = func(name string) (resolver.Answer, error) {
		if text, ok := w.txt[name]; ok {
			return resolver.Answer{Records: []string{text}}, nil
		}
		return resolver.Answer{}, resolver.ErrNotExist
	}
	w.sign = signer.Config{
		HeaderCanon: dkim.Relaxed, BodyCanon: dkim.Relaxed,
		Headers: []string{"From", "To", "Subject"}, Oversign: []string{"From"},
	}
	w.config = pipeline.Config{
		Hostname: "mx.example.net", Authenticated: true, DaemonNames: []string{"ORIGINATING"},
		Networks: w.clients(hosts.Entry{Network: netip.MustParsePrefix(inside + "/32")}),
		Trusted:  w.clients(hosts.Entry{Network: netip.MustParsePrefix(relay + "/32")}),
		Events:   w, Logger: w.log.Logger(),
	}
	return w
}

func (w *world) keyDir() string { return filepath.Join(w.dir, "keys") }

func (w *world) Write(e *events.Event) { w.records = append(w.records, e) }

// clients is a list of clients, whose DNS is that of the world: one record a name, whatever its type.
func (w *world) clients(entries ...hosts.Entry) *hosts.List {
	return hosts.New(hosts.Config{Entries: entries, DNS: w})
}

// Lookup, LookupCached and Reverse make the world a hosts.DNS and a spf.DNS.
func (w *world) Lookup(ctx context.Context, name string, _ resolver.Type) (resolver.Answer, error) {
	if w.lookupIn != nil {
		w.lookupIn(ctx.Done())
	}
	return w.lookup(name)
}

func (w *world) LookupCached(name string, _ resolver.Type) (resolver.Answer, error, bool) { //nolint:revive // as the interface has it
	return w.Cached(name)
}

func (w *world) Reverse(_ context.Context, addr netip.Addr) (resolver.Answer, error) {
	return w.lookup(addr.String())
}

// TXT and Cached make the world a verifier.Resolver.
func (w *world) TXT(_ context.Context, name string) (resolver.Answer, error) { return w.lookup(name) }

func (w *world) Cached(name string) (a resolver.Answer, err error, ok bool) { //nolint:revive // as the interface has it
	if w.cached {
		a, err = w.lookup(name)
	}
	return a, err, w.cached
}

func (w *world) pipeline() *pipeline.Pipeline {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "rules")
	must(w.t, os.Mkdir(dir, 0o700))
	for name, text := range w.rules {
		must(w.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	rules, faults := policy.Load(dir, nil)
	must(w.t, faults.Err())
	store, faults := keys.Open(keys.Config{Directory: w.keyDir()})
	must(w.t, faults.Err())
	w.t.Cleanup(store.Close)
	c := w.config
	c.Rules = rules
	var err error
	w.sign.Keys = store.Lookup
	c.Signer, err = signer.New(w.sign)
	must(w.t, err)
	c.Verifier, err = verifier.New(verifier.Config{Resolver: w, SPF: w, SPFRelays: w.relays, Timeout: time.Second, Now: c.Now, Logger: c.Logger})
	must(w.t, err)
	p, err := pipeline.New(c)
	must(w.t, err)
	return p
}

// mail is one message with its envelope.
type mail struct {
	env  message.Envelope
	head []string
	body string
}

func from(client string) mail {
	return mail{
		env: message.Envelope{
			Front: message.Milter, QueueID: "4Q1", MTA: "mta.example.net", Helo: "helo.example",
			Client: message.NewClient("", client), Sender: "joe@example.org",
		},
		head: []string{"From: Joe <joe@example.org>", "To: ann@example.net", "Subject: hello", "Message-ID: <1@example.org>"},
		body: "Hello Ann.\r\n",
	}
}

func (m mail) with(fields ...string) mail {
	m.head = append(append([]string(nil), fields...), m.head...)
	return m
}

func begin(p *pipeline.Pipeline, m mail) *pipeline.Message {
	env := m.env
	msg := p.Begin(&env)
	env.AddRecipient("ann@example.net")
	for _, f := range m.head {
		name, value, _ := strings.Cut(f, ":")
		msg.Header(name, value)
	}
	return msg
}

// run takes a message through a pipeline and returns the answer and the record.
func (w *world) run(p *pipeline.Pipeline, m mail) (pipeline.Outcome, *events.Event) {
	w.t.Helper()
	before := len(w.records)
	msg := begin(p, m)
	msg.EndOfHeader(w.t.Context())
	msg.Body([]byte(m.body))
	out := msg.Finish(w.t.Context())
	for _, add := range out.Add {
		if _, err := authrestest.Parse(add.Value); err != nil && add.Name == "Authentication-Results" {
			w.t.Error(err)
		}
	}
	if len(w.records) != before+1 {
		w.t.Fatalf("%d records of one message", len(w.records)-before)
	}
	return out, w.records[before]
}

// signed is the message as it leaves after signing, now from outside.
func (w *world) signed(p *pipeline.Pipeline) mail {
	w.t.Helper()
	m := from(inside)
	out, e := w.run(p, m)
	if len(out.Add) != 2 {
		w.t.Fatalf("signed %d times: %s", len(out.Add), e.Reason)
	}
	for _, a := range out.Add {
		m = m.with(a.Name + ":" + a.Value)
	}
	m.env.Client = message.NewClient("", outside)
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func text(e *events.Event) string {
	b, err := json.Marshal(e)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
