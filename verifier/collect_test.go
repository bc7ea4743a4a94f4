package verifier_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/domain"
	"dkimd/verifier"
)

// sign adds a signature of a domain that has a key, on top of the others.
func (w *world) add(domain string) *signing {
	s := newSigning()
	s.domain = domain
	w.sign = append(w.sign, s)
	w.dns.records["s1._domainkey."+domain] = []string{w.key()}
	return s
}

// statuses of a report, top first.
func statuses(r *verifier.Report) []string {
	var found []string
	for _, result := range r.Results {
		found = append(found, result.Domain+" "+result.Status.String())
	}
	return found
}

func TestVerifyReportsInMessageOrder(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.add("example.com")
	w.add("example.net").auid = "@elsewhere.example"
	want := []string{"example.net permerror", "example.com pass", "example.org pass"}
	if got := statuses(w.verify(t)); !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
}

func TestVerifyOrderUnderTheLimit(t *testing.T) {
	t.Parallel()
	// Top first: z9 ... z0, then example.org at the bottom.
	w := newWorld()
	for i := range 10 {
		w.add(fmt.Sprintf("z%d.example", i))
	}
	w.config.MaxSignatures = 3
	w.request.Prefer = []domain.Name{"z4.example", "absent.example"}
	report := w.verify(t)
	want := []string{
		"z9.example pass", "z8.example neutral", "z7.example neutral", "z6.example neutral", "z5.example neutral",
		"z4.example pass", "z3.example neutral", "z2.example neutral", "z1.example neutral", "z0.example neutral",
		"example.org pass",
	}
	if got := statuses(report); !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
	if r := report.Results[1]; !errors.Is(r.Err, verifier.ErrLimit) || r.Reason() != "not verified: more than 3 signatures" {
		t.Errorf("got %v", r.Err)
	}
	if asked := w.dns.names(); len(asked) != 3 {
		t.Errorf("asked for %v; want the keys of three signatures", asked)
	}
}

func TestVerifyDoesNotCountWhatNeedsNoKey(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for range 5 {
		w.add("example.net").headers = "to"
	}
	w.config.MaxSignatures = 1
	report := w.verify(t)
	if got := report.Results[5].Status; got != verifier.Pass {
		t.Errorf("got %s; want pass: the others are permerror without verifying", got)
	}
}

func TestVerifyIdenticalSignaturesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.add("example.com")
	w.tamper = func(w *world) {
		w.header = slices.Insert(w.header, 0, w.header[1], w.header[1], w.header[1])
	}
	w.config.MaxSignatures = 2
	w.dns.slow = true
	report := w.verify(t)
	want := []string{"example.org pass", "example.org pass", "example.org pass", "example.com pass", "example.org pass"}
	if got := statuses(report); !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
	if report.Results[0].KeyBits != 2048 || report.Results[0].Lookup != report.Results[4].Lookup {
		t.Errorf("identical signatures differ: %+v, %+v", report.Results[0], report.Results[4])
	}
	if asked := w.dns.names(); len(asked) != 2 {
		t.Errorf("asked for %v; want each name once", asked)
	}
}

func TestVerifyAsksOnceForAKeyOfSeveralSignatures(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.add("example.org").headers = "from:to"
	w.add("example.org").headers = "from"
	want := []string{"example.org pass", "example.org pass", "example.org pass"}
	if got := statuses(w.verify(t)); !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
	if asked := w.dns.names(); len(asked) != 1 {
		t.Errorf("asked for %v; want the name once", asked)
	}
}

func TestVerifyLooksAtAHundredFields(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.tamper = func(w *world) {
		for range 150 {
			w.header = slices.Insert(w.header, 0, [2]string{"DKIM-Signature", " v=1; d=junk.example"})
		}
	}
	report := w.verify(t)
	if len(report.Results) != 151 {
		t.Fatalf("got %d results; want one for each field", len(report.Results))
	}
	for i, r := range report.Results {
		want := verifier.PermError
		if i >= 100 {
			want = verifier.Neutral
		}
		if r.Status != want {
			t.Fatalf("field %d: got %s; want %s", i, r.Status, want)
		}
		if i >= 100 && (r.Reason() != "not looked at: more than 100 signatures" || r.Timestamp != -1 || r.BodyLength != -1) {
			t.Fatalf("field %d: got %+v", i, r)
		}
	}
}

func TestVerifyMessageOverALimit(t *testing.T) {
	t.Parallel()
	// design.md 6 rule 4: past a message limit every signature is permerror.
	tests := map[string]func(*world){
		"told by the pipeline": func(w *world) { w.request.Exceeded = "header fields" },
		"seen in the header": func(w *world) {
			w.tamper = func(w *world) {
				for range 2000 {
					w.header = append(w.header, [2]string{"X", " y"})
				}
			}
		},
	}
	for name, exceed := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.dns.slow = true
			exceed(w)
			r := w.one(t)
			if r.Status != verifier.PermError || !errors.Is(r.Err, verifier.ErrLimit) || r.Domain != "example.org" {
				t.Errorf("got %+v", r)
			}
			if want := "message is over a limit: header fields"; r.Reason() != want {
				t.Errorf("got reason %q; want %q", r.Reason(), want)
			}
			if asked := w.dns.names(); len(asked) != 0 {
				t.Errorf("asked for %v; want no lookups", asked)
			}
		})
	}
}

func TestVerifyOverALimitStillAsksForThePublishedPolicy(t *testing.T) {
	t.Parallel()
	// Else a forger would only have to write a long header to be rid of a rule
	// on the published policy.
	w := newWorld()
	w.request.Exceeded = "header fields"
	w.request.DMARC = true
	w.dns.records["_dmarc.example.org"] = []string{"v=DMARC1; p=reject"}
	if report := w.verify(t); policyIn(report) != "reject" {
		t.Errorf("got %s; want reject", policyIn(report))
	}
}

func TestVerifyTellsSignaturesApart(t *testing.T) {
	t.Parallel()
	// RFC 6008 section 4.
	b := map[string]string{ // b= and the prefix it gets
		"AAAABBBBCCCC":                 "AAAABBBBCC",
		"AAAABBBBCDDD":                 "AAAABBBBCD",
		"AAAABBBBEEEE":                 "AAAABBBBE",
		"FFFFGGGGHHHH":                 "FFFFGGGG",
		strings.Repeat("I", 400):       strings.Repeat("I", 64),
		strings.Repeat("I", 399) + "J": strings.Repeat("I", 64),
		"KKKK":                         "KKKK",
	}
	w := newWorld()
	w.sign = nil
	var order []string
	for value := range b {
		order = append(order, value)
		w.header = slices.Insert(w.header, len(order)-1, [2]string{"DKIM-Signature", " v=1; d=example.org; b=" + value})
	}
	for i, r := range w.verify(t).Results {
		if r.B != b[order[i]] {
			t.Errorf("b=%.20s: got %q; want %q", order[i], r.B, b[order[i]])
		}
	}
}

func TestVerifySharesBodyHashes(t *testing.T) {
	t.Parallel()
	// Different l= and canonicalizations in one message, all right.
	w := newWorld()
	w.body = "a  b \t\r\nc d\r\n" // not the same in relaxed and simple
	w.first().length = 5
	for i, canon := range []string{"relaxed/relaxed", "relaxed/simple", "relaxed/relaxed", "simple/simple"} {
		s := w.add(fmt.Sprintf("z%d.example", i))
		s.canon = canon
		if i == 2 {
			s.length = 7
		}
	}
	want := []string{"z3.example pass", "z2.example policy", "z1.example pass", "z0.example pass", "example.org policy"}
	if got := statuses(w.verify(t)); !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
}
