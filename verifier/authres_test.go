package verifier_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"

	"dkimd/verifier"
)

const authserv = "mx.example.org"

// unfold undoes folding (RFC 5322 section 2.2.3).
func unfold(value string) string { return strings.ReplaceAll(value, "\r\n", "") }

func result(change func(*verifier.Result)) *verifier.Report {
	r := verifier.Result{
		Status: verifier.Pass, Domain: "example.org", Selector: "s1", Algorithm: "rsa-sha256",
		Identity: "@example.org", B: "AbCdEfGh",
	}
	if change != nil {
		change(&r)
	}
	return &verifier.Report{Results: []verifier.Result{r}}
}

func TestAuthenticationResults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		report *verifier.Report
		want   string
	}{
		"nothing signed": {&verifier.Report{}, "mx.example.org; dkim=none"},
		"pass": {result(nil), "mx.example.org;\r\n" +
			"\tdkim=pass header.a=rsa-sha256 header.b=AbCdEfGh header.d=example.org\r\n" +
			"\theader.i=@example.org header.s=s1"},
		"fail": {result(func(r *verifier.Result) { r.Status, r.Err = verifier.Fail, verifier.ErrBodyHash }), "mx.example.org;\r\n" +
			"\tdkim=fail reason=\"body hash did not verify\" header.a=rsa-sha256\r\n" +
			"\theader.b=AbCdEfGh header.d=example.org header.i=@example.org header.s=s1"},
		"b= with a slash is quoted, RFC 8601 2.2": {result(func(r *verifier.Result) { r.B = "Ab/dEfG+" }), "mx.example.org;\r\n" +
			"\tdkim=pass header.a=rsa-sha256 header.d=example.org header.i=@example.org\r\n" +
			"\theader.s=s1 header.b=\"Ab/dEfG+\""},
		"i= with a local part stands bare, RFC 8601 2.2": {result(func(r *verifier.Result) { r.Identity = "ann+x/y@mail.example.org" }), "mx.example.org;\r\n" +
			"\tdkim=pass header.a=rsa-sha256 header.b=AbCdEfGh header.d=example.org\r\n" +
			"\theader.i=ann+x/y@mail.example.org header.s=s1"},
		"i= that some readers would split is quoted": {result(func(r *verifier.Result) { r.Identity = "bounce=ann@example.org" }), "mx.example.org;\r\n" +
			"\tdkim=pass header.a=rsa-sha256 header.b=AbCdEfGh header.d=example.org\r\n" +
			"\theader.i=\"bounce=ann@example.org\" header.s=s1"},
		"nothing readable": {&verifier.Report{Results: []verifier.Result{{Status: verifier.PermError, Err: verifier.ErrSyntax}}}, "mx.example.org;\r\n" +
			"\tdkim=permerror reason=\"signature field cannot be read\""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := verifier.AuthenticationResults(authserv, test.report); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// wellFormed fails unless a field value may go into a header as it is.
func wellFormed(t *testing.T, value string) {
	t.Helper()
	for i, line := range strings.Split(value, "\r\n") {
		length := len(line)
		if i == 0 {
			length += len("Authentication-Results: ")
		}
		if length > 998 {
			t.Errorf("line of %d octets (RFC 5322 section 2.1.1)", length)
		}
		if i > 0 && (line == "" || (line[0] != '\t' && line[0] != ' ') || strings.TrimSpace(line) == "") {
			t.Errorf("line %d does not continue the field: %q", i, line)
		}
		for _, c := range []byte(strings.TrimPrefix(line, "\t")) {
			if c < ' ' || c > '~' {
				t.Errorf("octet %#x in line %q", c, line)
			}
		}
	}
	if strings.HasSuffix(value, " ") {
		t.Error("white space at the end")
	}
	if strings.Count(value, `"`)%2 != 0 || strings.Contains(value, `\`) {
		t.Errorf("unbalanced quotes or a backslash in %q", value)
	}
}

// evil are values that a signature, its key or a DNS server can put into a Result.
var evil = []string{
	"x\r\nSubject: forged", "x\nBcc: a", "x\r y", "x\x00y", "x; dkim=pass header.d=gmail.com", `x"; dkim=pass header.d=gmail.com; y="`,
	`x\"; dkim=pass`, `x\`, "(", ")", "((((", "x(;)", "a b header.d=gmail.com", "=", "==", "\u2028", "\xff\xfe", "é@exämple", "",
	" ", "\t", strings.Repeat("a", 10<<10), strings.Repeat("a ", 5<<10), strings.Repeat(`"`, 10<<10), "%s%n", "<script>", "a,b,[c]",
}

func TestAuthenticationResultsInjection(t *testing.T) {
	t.Parallel()
	places := map[string]func(*verifier.Result, string){
		"d=":     func(r *verifier.Result, v string) { r.Domain = v },
		"i=":     func(r *verifier.Result, v string) { r.Identity = v },
		"s=":     func(r *verifier.Result, v string) { r.Selector = v },
		"a=":     func(r *verifier.Result, v string) { r.Algorithm = v },
		"b=":     func(r *verifier.Result, v string) { r.B = v },
		"reason": func(r *verifier.Result, v string) { r.Err = errors.New(v) },
	}
	for place, put := range places {
		for _, value := range evil {
			report := result(func(r *verifier.Result) {
				r.Status = verifier.Fail
				put(r, value)
			})
			got := verifier.AuthenticationResults(authserv, report)
			wellFormed(t, got)
			if n := strings.Count(got, ";"); n != 1 {
				t.Errorf("%s %.40q: got %d results in %q", place, value, n, got)
			}
			// The library's parser knows neither quotes nor comments: a naive reader.
			id, results, err := authres.Parse(unfold(got))
			if err != nil || id != authserv || len(results) != 1 {
				t.Errorf("%s %.40q: parsed as %q, %d results, %v", place, value, id, len(results), err)
				continue
			}
			d, ok := results[0].(*authres.DKIMResult)
			if !ok || d.Value != authres.ResultFail || d.Domain == "gmail.com" {
				t.Errorf("%s %.40q: parsed as %+v", place, value, results[0])
			}
			if !verifier.ClaimsAuthserv([]byte(got), authserv, true) {
				t.Errorf("%s %.40q: our own field does not claim to be ours", place, value)
			}
		}
	}
}

func TestAuthenticationResultsOfAHostileID(t *testing.T) {
	t.Parallel()
	for _, id := range evil {
		got := verifier.AuthenticationResults(id, result(nil))
		wellFormed(t, got)
		if n := strings.Count(got, ";"); n != 1 {
			t.Errorf("id %.40q: got %q", id, got)
		}
	}
}

func TestAuthenticationResultsStaysInBounds(t *testing.T) {
	t.Parallel()
	report := &verifier.Report{}
	for i := range 2000 {
		r := verifier.Result{
			Status: verifier.Fail, Err: errors.New(strings.Repeat("reason ", 50)), Domain: strings.Repeat("d", 300),
			Selector: strings.Repeat("s", 300), Identity: strings.Repeat("i", 300), Algorithm: "rsa-sha256", B: strings.Repeat("b", 64),
		}
		if i == 1999 {
			r = result(nil).Results[0]
		}
		report.Results = append(report.Results, r)
	}
	got := verifier.AuthenticationResults(authserv, report)
	wellFormed(t, got)
	if len(got) > 33<<10 {
		t.Errorf("got %d octets; want 32 KiB", len(got))
	}
	if !strings.Contains(got, "dkim=pass") {
		t.Error("the one that passed is lost among those that did not")
	}
}

func TestAuthenticationResultsOfAHundredSignatures(t *testing.T) {
	t.Parallel()
	report := &verifier.Report{}
	for i := range 100 {
		r := result(func(r *verifier.Result) { r.Domain = fmt.Sprintf("d%d.example", i) }).Results[0]
		report.Results = append(report.Results, r)
	}
	got := verifier.AuthenticationResults(authserv, report)
	wellFormed(t, got)
	if n := strings.Count(got, "dkim=pass"); n != 100 {
		t.Errorf("got %d results; want 100", n)
	}
	for line := range strings.SplitSeq(got, "\r\n") {
		if len(line) > 78 {
			t.Errorf("line of %d octets", len(line))
		}
	}
}

func TestReasonIsHarmless(t *testing.T) {
	t.Parallel()
	for _, value := range evil {
		reason := verifier.Result{Err: errors.New(value)}.Reason()
		if len(reason) > 200 {
			t.Errorf("%.40q: reason of %d octets", value, len(reason))
		}
		for _, c := range []byte(reason) {
			if c < ' ' || c > '~' {
				t.Errorf("%.40q: octet %#x in the reason", value, c)
			}
		}
	}
}
