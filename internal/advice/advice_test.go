package advice_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"dkimd/internal/advice"
	"dkimd/internal/dmarc"
	"dkimd/internal/eml"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/internal/spf"
	"dkimd/verifier"
)

// world is a message that meets every demand.
type world struct {
	header, body string
	report       verifier.Report
	client       advice.Reverse
}

func newWorld() *world {
	return &world{
		header: "From: a@example.org\nDate: Mon, 30 Nov 2026 12:00:00 +0000\nMessage-ID: <1@example.org>\n" +
			"List-Unsubscribe: <https://example.org/u/1>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n",
		body: "hello\n",
		report: verifier.Report{
			Results: []verifier.Result{{
				Status: verifier.Pass, Domain: "example.org", Selector: "s1", Algorithm: "rsa-sha256", KeyBits: 2048, Aligned: verifier.AlignStrict, BodyLength: -1,
				Headers: []string{"From", "From", "List-Unsubscribe", "List-Unsubscribe-Post"},
			}},
			SPF:   spf.Outcome{Result: spf.Pass, Domain: "example.org"},
			DMARC: dmarc.Verdict{Result: dmarc.Pass, Policy: dmarc.PolicyNone, Author: "example.org", At: "example.org"},
		},
		client: advice.Reverse{Client: netip.MustParseAddr("192.0.2.1"), Name: "mail.example.org"},
	}
}

func (w *world) result() *verifier.Result { return &w.report.Results[0] }

func (w *world) replace(old, text string) { w.header = strings.Replace(w.header, old, text, 1) }

func (w *world) findings() []advice.Finding {
	m := eml.Split([]byte(strings.ReplaceAll(w.header+"\n"+w.body, "\n", "\r\n")))
	h := m.Header()
	message := advice.Message{Header: h, Body: m.Body, From: message.ReadFrom(h), Report: &w.report, Client: w.client}
	return message.Findings()
}

// states are those that differ from those of a message that meets every demand: "name state".
func states(all []advice.Finding) string {
	var list []string
	for _, f := range all {
		if f.State != advice.Met {
			list = append(list, f.Name+" "+string(f.State))
		}
	}
	return strings.Join(list, ", ")
}

func TestDemandsOnMessages(t *testing.T) {
	t.Parallel()
	weaken := func(change func(r *verifier.Result)) func(w *world) {
		return func(w *world) { change(w.result()) }
	}
	tests := map[string]struct {
		change func(w *world)
		want   string
	}{
		"nothing":       {func(*world) {}, ""},
		"two From":      {func(w *world) { w.replace("Date:", "From: b@example.com\nDate:") }, "from unmet, oversigned unmet"},
		"no From":       {func(w *world) { w.replace("From: a@example.org\n", "") }, "from unmet"},
		"two authors":   {func(w *world) { w.replace("a@example.org", "a@example.org, b@example.org") }, "from unmet"},
		"not an author": {func(w *world) { w.replace("a@example.org", "undisclosed") }, "from unmet"},
		"unsigned": {
			func(w *world) { w.report.Results = nil },
			"dkim unmet, dkim_aligned inapplicable, unsubscribe unmet, key_bits inapplicable, key_testing inapplicable, body_length inapplicable, oversigned inapplicable",
		},
		"broken": {
			weaken(func(r *verifier.Result) { r.Status, r.Err = verifier.Fail, verifier.ErrBodyHash }),
			"dkim unmet, dkim_aligned inapplicable, unsubscribe unmet, key_bits inapplicable, key_testing inapplicable, body_length inapplicable, oversigned inapplicable",
		},
		"key not known": {
			weaken(func(r *verifier.Result) { r.Status, r.Err = verifier.TempError, verifier.ErrKeyUnavailable }),
			"dkim unknown, dkim_aligned inapplicable, unsubscribe unmet, key_bits inapplicable, key_testing inapplicable, body_length inapplicable, oversigned inapplicable",
		},
		"of another domain, by SPF": {weaken(func(r *verifier.Result) { r.Aligned = verifier.AlignNone }), "dkim_aligned unmet"},
		"of another domain": {func(w *world) {
			w.result().Aligned, w.report.SPF.Domain = verifier.AlignNone, "example.com"
			w.report.DMARC.Result = dmarc.Fail
		}, "aligned unmet, dkim_aligned unmet"},
		"alignment open": {func(w *world) {
			w.result().Aligned, w.result().AlignmentOpen, w.report.SPF.Domain = verifier.AlignNone, true, "example.com"
			w.report.DMARC = dmarc.Verdict{Result: dmarc.TempError, Reason: "x"}
		}, "aligned unknown, dmarc unknown, dkim_aligned unknown"},
		"DKIM without SPF, no alignment": {func(w *world) {
			w.result().Aligned, w.report.SPF = verifier.AlignNone, spf.Outcome{}
			w.report.DMARC.Result = dmarc.Unknown
		}, "aligned unknown, spf unknown, dkim_aligned unmet"},
		"SPF of HELO is not of MAIL FROM": {func(w *world) {
			w.result().Aligned, w.report.SPF.HELO = verifier.AlignNone, true
			w.report.DMARC = dmarc.Verdict{Result: dmarc.None, Author: "example.org"}
		}, "aligned unmet, dmarc unmet, dkim_aligned unmet"},
		"SPF says no":            {func(w *world) { w.report.SPF.Result = spf.SoftFail }, "spf unmet"},
		"no SPF record":          {func(w *world) { w.report.SPF.Result = spf.None }, "spf unmet"},
		"SPF error":              {func(w *world) { w.report.SPF.Result = spf.PermError }, "spf unmet"},
		"SPF open":               {func(w *world) { w.report.SPF.Result = spf.TempError }, "spf unknown"},
		"SPF unasked":            {func(w *world) { w.report.SPF.Result = spf.Unasked }, "spf unknown"},
		"no DMARC record":        {func(w *world) { w.report.DMARC = dmarc.Verdict{Result: dmarc.None, Author: "example.org"} }, "dmarc unmet"},
		"DMARC record of no use": {func(w *world) { w.report.DMARC = dmarc.Verdict{Result: dmarc.PermError, At: "example.org"} }, "dmarc unmet"},
		"no name":                {func(w *world) { w.client.Name = "" }, "reverse unmet"},
		"another's name":         {func(w *world) { w.client.Name, w.client.Names = "", []string{"x.example"} }, "reverse unmet"},
		"names open":             {func(w *world) { w.client.Name, w.client.Err = "", errors.New("x") }, "reverse unknown"},
		"no client":              {func(w *world) { w.client = advice.Reverse{} }, "reverse unknown"},
		"no list": {func(w *world) {
			w.replace("List-Unsubscribe: <https://example.org/u/1>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n", "")
		}, "unsubscribe inapplicable"},
		"bulk": {func(w *world) {
			w.replace("List-Unsubscribe: <https://example.org/u/1>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click", "Precedence: Bulk")
		}, "unsubscribe unmet"},
		"mailto alone":          {func(w *world) { w.replace("https://example.org/u/1", "mailto:u@example.org") }, "unsubscribe unmet"},
		"no POST":               {func(w *world) { w.replace("List-Unsubscribe-Post: List-Unsubscribe=One-Click\n", "") }, "unsubscribe unmet"},
		"another POST":          {func(w *world) { w.replace("=One-Click", "=Two-Clicks") }, "unsubscribe unmet"},
		"unsubscribe unsigned":  {weaken(func(r *verifier.Result) { r.Headers = r.Headers[:3] }), "unsubscribe unmet"},
		"no Date":               {func(w *world) { w.replace("Date: Mon, 30 Nov 2026 12:00:00 +0000\n", "") }, "format unmet"},
		"two Message-ID":        {func(w *world) { w.replace("Date:", "Message-ID: <2@example.org>\nDate:") }, "format unmet"},
		"998 octets":            {func(w *world) { w.body = strings.Repeat("a", 998) + "\nb\n" }, ""},
		"999 octets":            {func(w *world) { w.body = strings.Repeat("a", 999) + "\nb\n" }, "format unmet"},
		"999 octets of a field": {func(w *world) { w.replace("Date:", "X: "+strings.Repeat("a", 996)+"\nDate:") }, "format unmet"},
		"2047 bits":             {weaken(func(r *verifier.Result) { r.KeyBits = 2047 }), "key_bits unmet"},
		"Ed25519 alone":         {weaken(func(r *verifier.Result) { r.Algorithm, r.KeyBits = "ed25519-sha256", 256 }), "key_bits unmet"},
		"test mode":             {weaken(func(r *verifier.Result) { r.Testing = true }), "key_testing unmet"},
		"l=":                    {weaken(func(r *verifier.Result) { r.BodyLength = 0 }), "body_length unmet"},
		"From once":             {weaken(func(r *verifier.Result) { r.Headers = r.Headers[1:] }), "oversigned unmet"},
		"8-bit body":            {func(w *world) { w.body = "hellö\n" }, "seven_bit unmet"},
		"8-bit field":           {func(w *world) { w.replace("Date:", "Subject: ö\nDate:") }, "seven_bit unmet"},
		"a weak one of a stranger": {func(w *world) {
			other := *w.result()
			other.Domain, other.Aligned, other.KeyBits = "esp.example", verifier.AlignNone, 1024
			w.report.Results = append([]verifier.Result{other}, w.report.Results...)
		}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			test.change(w)
			all := w.findings()
			if got := states(all); got != test.want {
				t.Errorf("got %s; want %s", got, test.want)
			}
			for _, f := range all {
				if (f.Do != "") != (f.State == advice.Unmet) || f.Ask == "" || f.Source == "" {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// docs/report.md has the table of demands, in its order.
func TestDocumentHasTheDemands(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, f := range append(newWorld().findings(), new(advice.Domain).Findings()...) {
		required := " required"
		if !f.Required {
			required = ""
		}
		row := strings.ReplaceAll("| `"+f.Name+"` | "+f.Ask+" | "+strings.Join(f.By, ", ")+" | "+f.Source+" |"+required+" |\n", "|  |", "| |")
		if rows[row] = true; !strings.Contains(string(document), row) {
			t.Errorf("docs/report.md has not %s", row)
		}
	}
	if n := strings.Count(string(document), "\n| `"); n != len(rows) {
		t.Errorf("docs/report.md has %d demands, and there are %d", n, len(rows))
	}
}

// What is required stands before what is advised, and only that fails.
func TestTodoIsWorstFirst(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.result().KeyBits, w.body = 1024, strings.Repeat("a", 999)+"\n"
	w.result().Aligned = verifier.AlignNone // advice, which stands above "format" in the table
	todo := advice.Todo(w.findings())
	if states(todo) != "format unmet, dkim_aligned unmet, key_bits unmet" {
		t.Errorf("got %s", states(todo))
	}
	if !advice.Fails(w.findings()) {
		t.Error("a demand that is required is not met, and nothing fails")
	}
	w.body = ""
	if advice.Fails(w.findings()) {
		t.Error("advice fails")
	}
}

type names map[string][]string

func (n names) Lookup(_ context.Context, name string, rrtype resolver.Type) (resolver.Answer, error) {
	if records, ok := n[name]; ok && (rrtype == resolver.A) == !strings.Contains(records[0], ":") {
		return resolver.Answer{Records: records}, nil
	}
	if name == "broken.example" {
		return resolver.Answer{}, resolver.ErrTemporary
	}
	return resolver.Answer{}, resolver.ErrNotExist
}

func (n names) Reverse(ctx context.Context, addr netip.Addr) (resolver.Answer, error) {
	if records, ok := n[addr.String()]; ok {
		return resolver.Answer{Records: records}, nil
	}
	return n.Lookup(ctx, "none", resolver.PTR)
}

func TestLookReverse(t *testing.T) {
	t.Parallel()
	dns := names{
		"192.0.2.1": {"other.example", "mail.example"}, "mail.example": {"192.0.2.9", "192.0.2.1"}, "other.example": {"192.0.2.2"},
		"192.0.2.2": {"mail.example"}, "192.0.2.3": {"broken.example"}, "2001:db8::1": {"six.example"}, "six.example": {"2001:db8::1"},
	}
	for client, want := range map[string]string{
		"192.0.2.1": "met: 192.0.2.1 is mail.example", "192.0.2.2": "unmet: 192.0.2.2 is called mail.example, which does not have that address",
		"192.0.2.3": "unknown: DNS could not tell: temporary DNS failure", "192.0.2.4": "unmet: 192.0.2.4 has no name", "2001:db8::1": "met: 2001:db8::1 is six.example",
	} {
		d := advice.Domain{Clients: []advice.Reverse{advice.LookReverse(t.Context(), dns, netip.MustParseAddr(client))}}
		for _, f := range d.Findings() {
			if got := string(f.State) + ": " + f.Found; f.Name == "reverse" && got != want {
				t.Errorf("%s: got %s; want %s", client, got, want)
			}
		}
	}
}

func TestDemandsOnDomains(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(d *advice.Domain)
		want   string
	}{
		"nothing":           {func(*advice.Domain) {}, ""},
		"one unsigned":      {func(d *advice.Domain) { d.Log.Mail = 11; d.Log.Reasons = map[string]int{"key_missing": 1} }, "dkim unmet"},
		"no record":         {func(d *advice.Domain) { d.Log = advice.Log{Missing: "x"} }, "dkim unknown, dkim_aligned unknown"},
		"no mail":           {func(d *advice.Domain) { d.Log = advice.Log{} }, "dkim unknown, dkim_aligned unknown"},
		"signed by another": {func(d *advice.Domain) { d.Log.Aligned = 9 }, "dkim_aligned unmet"},
		"key absent":        {func(d *advice.Domain) { d.Keys[0].Problem = "x" }, "key unmet"},
		"key open":          {func(d *advice.Domain) { d.Keys[0].Problem, d.Keys[0].Open = "x", true }, "key unknown"},
		"no key":            {func(d *advice.Domain) { d.Keys = nil }, "key unknown, key_bits unknown, key_testing unknown"},
		"short key":         {func(d *advice.Domain) { d.Keys[0].Bits = 1024 }, "key_bits unmet"},
		"Ed25519 alone":     {func(d *advice.Domain) { d.Keys = d.Keys[1:] }, "key_bits unmet"},
		"key in test mode":  {func(d *advice.Domain) { d.Keys[1].Testing = true }, "key_testing unmet"},
		"no SPF":            {func(d *advice.Domain) { d.SPF = spf.Inspection{} }, "spf unmet"},
		"SPF flaw":          {func(d *advice.Domain) { d.SPF = spf.Inspection{Flaw: "x"} }, "spf unmet"},
		"10 lookups":        {func(d *advice.Domain) { d.SPF.Lookups = 10 }, ""},
		"11 lookups":        {func(d *advice.Domain) { d.SPF.Lookups = 11 }, "spf unmet"},
		"+all":              {func(d *advice.Domain) { d.SPF.All = "+" }, "spf unmet"},
		"SPF open":          {func(d *advice.Domain) { d.SPFErr = errors.New("x") }, "spf unknown"},
		"no DMARC":          {func(d *advice.Domain) { d.DMARC = dmarc.Verdict{Result: dmarc.None, Author: "example.org"} }, "dmarc unmet"},
		"no MX":             {func(d *advice.Domain) { d.MX = nil }, "mx unmet"},
		"null MX":           {func(d *advice.Domain) { d.MX = []string{"0 "} }, "mx unmet"},
		"MX open":           {func(d *advice.Domain) { d.MXErr = errors.New("x") }, "mx unknown"},
		"no client":         {func(d *advice.Domain) { d.Clients = nil }, "reverse unknown"},
		"one without a name": {func(d *advice.Domain) {
			d.Clients = append(d.Clients, advice.Reverse{Client: netip.MustParseAddr("192.0.2.2")})
		}, "reverse unmet"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &advice.Domain{
				Name: "example.org", SPF: spf.Inspection{Record: "v=spf1 mx -all", Lookups: 1, All: "-"},
				DMARC: dmarc.Verdict{Policy: dmarc.PolicyReject, Author: "example.org", At: "example.org"},
				Keys:  []advice.Key{{Selector: "s1", Type: "rsa", Bits: 2048}, {Selector: "s2", Type: "ed25519", Bits: 256}},
				MX:    []string{"10 mail.example.org"}, Log: advice.Log{Mail: 10, Signed: 10, Aligned: 10},
				Clients: []advice.Reverse{{Client: netip.MustParseAddr("192.0.2.1"), Name: "mail.example.org"}},
			}
			test.change(d)
			if got := states(d.Findings()); got != test.want {
				t.Errorf("got %s; want %s", got, test.want)
			}
		})
	}
}

func TestSelectorDate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for selector, want := range map[string]string{
		"s20261130": "2026-11-30", "2026-11": "2026-11-01", "202611": "2026-11-01", "k-2025_01_31a": "2025-01-31", "20230601": "2023-06-01",
		"s20261201": "", "s1": "", "20251331": "", "202513": "", "20260231": "", "120260101": "", "2026010112": "", "google": "",
	} {
		day, ok := advice.SelectorDate(selector, now)
		if got := day.Format(time.DateOnly); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %s, %t; want %q", selector, got, ok, want)
		}
	}
}
