package verifier_test

import (
	"slices"
	"strings"
	"testing"

	"dkimd/verifier"
)

// TestVerifyReportsDuplicates: RFC 6376 section 8.15. A field of which RFC 5322 section 3.6 allows one
// may be added above the signed one, and the signature still passes.
func TestVerifyReportsDuplicates(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		headers string   // h=
		header  []string // on top of From, To and Subject when it is signed
		added   []string // on top, later
		want    string
		status  verifier.Status
	}{
		"each field once":          {"from:to:subject", nil, nil, "", verifier.Pass},
		"a second Subject":         {"from:to:subject", nil, []string{"Subject"}, "Subject", verifier.Pass},
		"in another case":          {"from:to:SUBJECT", nil, []string{"sUBJECT"}, "Subject", verifier.Pass},
		"a second From":            {"from:to:subject", nil, []string{"From"}, "From", verifier.Pass},
		"two fields":               {"from:to:subject", nil, []string{"To", "Subject", "Subject"}, "To Subject", verifier.Pass},
		"both are signed":          {"from:to:subject:subject", []string{"Subject"}, nil, "", verifier.Pass},
		"a third one":              {"from:to:subject:subject", []string{"Subject"}, []string{"Subject"}, "Subject", verifier.Pass},
		"oversigned":               {"from:to:subject:subject", nil, []string{"Subject"}, "", verifier.Fail},
		"none of them is signed":   {"from:to", nil, []string{"Subject"}, "Subject", verifier.Pass},
		"one that is not signed":   {"from:to", nil, nil, "", verifier.Pass},
		"content type, RFC 2045":   {"from:content-type", []string{"Content-Type"}, []string{"Content-Type"}, "Content-Type", verifier.Pass},
		"disposition, RFC 2183":    {"from:content-disposition", []string{"Content-Disposition"}, []string{"Content-Disposition"}, "Content-Disposition", verifier.Pass},
		"one that may be repeated": {"from:comments", []string{"Comments"}, []string{"Comments", "Received"}, "", verifier.Pass},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			put := func(names []string) {
				for _, name := range names {
					w.header = slices.Insert(w.header, 0, [2]string{name, " on top"})
				}
			}
			put(test.header)
			w.first().headers = test.headers
			w.tamper = func(*world) { put(test.added) }
			r := w.verify(t).Results[0]
			if got := strings.Join(r.Duplicates, " "); got != test.want || r.Status != test.status {
				t.Errorf("got %q, %s; want %q, %s", got, r.Status, test.want, test.status)
			}
		})
	}
}

// Each signature has a word of its own: a stranger's that covers all hides nothing of another.
func TestVerifyReportsDuplicatesOfEachSignature(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.add("example.com").headers = "from:to:subject:subject:subject"
	w.tamper = func(w *world) { w.header = slices.Insert(w.header, 0, [2]string{"Subject", " on top"}) }
	for i, want := range []string{"", "Subject"} {
		if got := strings.Join(w.verify(t).Results[i].Duplicates, " "); got != want {
			t.Errorf("signature %d: got %q; want %q", i+1, got, want)
		}
	}
}
