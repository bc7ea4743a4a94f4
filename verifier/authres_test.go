package verifier_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"

	"dkimd/internal/authrestest"
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
			"\tdkim=pass header.a=rsa-sha256 header.b=\"Ab/dEfG+\" header.d=example.org\r\n" +
			"\theader.i=@example.org header.s=s1"},
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
			if got := oneField(t, authserv, test.report); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// oneField is the field of a report that has few results.
func oneField(t *testing.T, id string, report *verifier.Report) string {
	t.Helper()
	fields := verifier.AuthenticationResults(id, report)
	if len(fields) != 1 {
		t.Fatalf("got %d fields; want 1: %q", len(fields), fields)
	}
	return fields[0]
}

// wellFormed fails unless a field value may go into a header as it is, and strict readers take it.
func wellFormed(t *testing.T, value string) {
	t.Helper()
	if _, err := authrestest.Parse(value); err != nil {
		t.Error(err)
	}
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
			got := oneField(t, authserv, report)
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
			if !verifier.ClaimsAuthserv([]byte(got), authserv, "dkim") {
				t.Errorf("%s %.40q: our own field does not claim to be ours", place, value)
			}
		}
	}
}

func TestAuthenticationResultsOfAHostileID(t *testing.T) {
	t.Parallel()
	for _, id := range evil {
		got := oneField(t, id, result(nil))
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
	fields := verifier.AuthenticationResults(authserv, report)
	total := 0
	for _, got := range fields {
		wellFormed(t, got)
		total += len(got)
	}
	if total > 33<<10 || total < 30<<10 {
		t.Errorf("got %d octets; want 32 KiB", total)
	}
	if !strings.HasPrefix(fields[0], authserv+";\r\n\tdkim=pass") {
		t.Errorf("the one that passed does not come first: %q", fields[0])
	}
}

func TestAuthenticationResultsOfAHundredSignatures(t *testing.T) {
	t.Parallel()
	report := &verifier.Report{}
	for i := range 100 {
		r := result(func(r *verifier.Result) { r.Domain = fmt.Sprintf("d%d.example", i) }).Results[0]
		report.Results = append(report.Results, r)
	}
	fields := verifier.AuthenticationResults(authserv, report)
	if len(fields) != 20 {
		t.Errorf("got %d fields; want 5 results in each", len(fields))
	}
	next := 0
	for _, got := range fields {
		wellFormed(t, got)
		f, _ := authrestest.Parse(got)
		for _, r := range f.Results {
			if want := fmt.Sprintf("d%d.example", next); r.Property("header.d") != want || f.ID != authserv {
				t.Errorf("got %s by %s; want %s: the order of the message", r.Property("header.d"), f.ID, want)
			}
			next++
		}
		for line := range strings.SplitSeq(got, "\r\n") {
			if len(line) > 78 {
				t.Errorf("line of %d octets", len(line))
			}
		}
	}
	if next != 100 {
		t.Errorf("got %d results; want 100", next)
	}
}

// TestAuthenticationResultsBestFirst: a reader that looks at one field, or one result, finds the best.
func TestAuthenticationResultsBestFirst(t *testing.T) {
	t.Parallel()
	report := &verifier.Report{}
	for i, r := range []verifier.Result{
		{Status: verifier.Fail, Aligned: verifier.AlignStrict},
		{Status: verifier.Pass},
		{Status: verifier.Pass, Aligned: verifier.AlignRelaxed},
		{Status: verifier.TempError},
		{Status: verifier.Pass, Aligned: verifier.AlignStrict},
		{Status: verifier.Pass},
		{Status: verifier.PermError},
	} {
		r.Domain = fmt.Sprintf("d%d.example", i)
		report.Results = append(report.Results, r)
	}
	var got []string
	for _, value := range verifier.AuthenticationResults(authserv, report) {
		f, err := authrestest.Parse(value)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range f.Results {
			got = append(got, strings.TrimSuffix(r.Property("header.d"), ".example"))
		}
		got = append(got, "|")
	}
	if want := "d4 d2 d1 d5 d0 | d3 d6 |"; strings.Join(got, " ") != want {
		t.Errorf("got %s; want %s", strings.Join(got, " "), want)
	}
	if report.Results[0].Domain != "d0.example" {
		t.Error("the report was put into another order")
	}
}

// TestAuthenticationResultsFitOpenDMARC: what OpenDMARC 1.4 makes of a field, words and separators
// with a NUL behind each, has to fit into 1026 octets.
func TestAuthenticationResultsFitOpenDMARC(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*verifier.Result){
		"plain": func(*verifier.Result) {},
		"many labels": func(r *verifier.Result) {
			r.Domain = "a.b.c.d.e.f.g.h.i.j.k.l.m.example.org"
			r.Identity = "@" + r.Domain
		},
		"long names":   func(r *verifier.Result) { r.Domain = strings.Repeat("label.", 20) + "org"; r.Identity = "@" + r.Domain },
		"long local":   func(r *verifier.Result) { r.Identity = strings.Repeat("a.b+", 30) + "@example.org" },
		"reasons":      func(r *verifier.Result) { r.Status, r.Err = verifier.Fail, errors.New(strings.Repeat("reason ", 25)) },
		"one too much": func(r *verifier.Result) { r.Selector = strings.Repeat("s.", 30) },
	} {
		report := &verifier.Report{}
		for range 10 {
			report.Results = append(report.Results, result(change).Results...)
		}
		results := 0
		for _, value := range verifier.AuthenticationResults(authserv, report) {
			wellFormed(t, value)
			f, _ := authrestest.Parse(value)
			if n := len(f.Results); n == 0 || n > 5 {
				t.Errorf("%s: %d results in a field", name, n)
			}
			results += len(f.Results)
			size, quoted, inside := 0, false, false
			for _, c := range []byte(unfold(value)) {
				switch {
				case c == '"':
					quoted = !quoted
				case quoted || !strings.ContainsRune(" \t;=.", rune(c)):
					size++
					inside = true
				default:
					if inside {
						size++
					}
					if inside = false; c != ' ' && c != '\t' {
						size += 2
					}
				}
			}
			if size > 1024 {
				t.Errorf("%s: %d octets", name, size)
			}
		}
		if results != 10 {
			t.Errorf("%s: %d results; want 10", name, results)
		}
	}
}

// TestAuthenticationResultsObeyTheGrammar: whatever stands in a tag, a strict reader takes the field,
// finds the value where nothing in it is dangerous, and no domain that is not there.
func TestAuthenticationResultsObeyTheGrammar(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*verifier.Result)
		want   string // in the field, unfolded
	}{
		"underscore in d=":        {func(r *verifier.Result) { r.Domain, r.Identity = "my_shop.example", "@my_shop.example" }, `header.d=my_shop.example header.i="@my_shop.example"`},
		"underscore below d=":     {func(r *verifier.Result) { r.Identity = "@_x.example.org" }, `header.i="@_x.example.org"`},
		"two @":                   {func(r *verifier.Result) { r.Identity = "a@b@example.org" }, `header.i="a@b@example.org"`},
		"@ alone":                 {func(r *verifier.Result) { r.Identity = "@" }, `header.i="@"`},
		"nothing behind @":        {func(r *verifier.Result) { r.Identity = "ann@" }, `header.i="ann@"`},
		"no @":                    {func(r *verifier.Result) { r.Identity = "ann" }, `header.i=ann`},
		"one label":               {func(r *verifier.Result) { r.Domain, r.Identity = "localhost", "@localhost" }, `header.d=localhost header.i="@localhost"`},
		"hyphen first":            {func(r *verifier.Result) { r.Identity = "@-a.example.org" }, `header.i="@-a.example.org"`},
		"hyphen last":             {func(r *verifier.Result) { r.Identity = "@a-.example.org" }, `header.i="@a-.example.org"`},
		"hyphen at the end":       {func(r *verifier.Result) { r.Identity = "@example.org-" }, `header.i="@example.org-"`},
		"hyphens within":          {func(r *verifier.Result) { r.Identity = "@a--b.example.org" }, `header.i=@a--b.example.org`},
		"empty label":             {func(r *verifier.Result) { r.Identity = "@a..example.org" }, `header.i="@a..example.org"`},
		"final dot":               {func(r *verifier.Result) { r.Identity = "@example.org." }, `header.i="@example.org."`},
		"dot first":               {func(r *verifier.Result) { r.Identity = ".ann@example.org" }, `header.i=".ann@example.org"`},
		"dot last":                {func(r *verifier.Result) { r.Identity = "ann.@example.org" }, `header.i="ann.@example.org"`},
		"two dots":                {func(r *verifier.Result) { r.Identity = "a..b@example.org" }, `header.i="a..b@example.org"`},
		"quotes in a local part":  {func(r *verifier.Result) { r.Identity = `"a b"@example.org` }, `header.i=?a?b?@example.org`},
		"all of atext":            {func(r *verifier.Result) { r.Identity = "!#$%&'*+-/?^_`{|}~@example.org" }, "header.i=!#$%&'*+-/?^_`{|}~@example.org"},
		"A-labels":                {func(r *verifier.Result) { r.Identity = "@xn--exmple-cua.example.org" }, `header.i=@xn--exmple-cua.example.org`},
		"UTF-8 local part":        {func(r *verifier.Result) { r.Identity = "é@example.org" }, `header.i=??@example.org`},
		"question mark in s=":     {func(r *verifier.Result) { r.Selector = "a?b" }, `header.s="a?b"`},
		"slash in a=":             {func(r *verifier.Result) { r.Algorithm = "rsa/md5" }, `header.a="rsa/md5"`},
		"b= with padding":         {func(r *verifier.Result) { r.B = "abc=" }, `header.b="abc="`},
		"@ in s=":                 {func(r *verifier.Result) { r.Selector = "a@b" }, `header.s="a@b"`},
		"space in d=":             {func(r *verifier.Result) { r.Domain = "a b.example" }, `header.d="a?b.example"`},
		"no d=":                   {func(r *verifier.Result) { r.Domain = "" }, "dkim=pass header.a=rsa-sha256 header.b=AbCdEfGh header.s=s1"},
		"no d= and i= of another": {func(r *verifier.Result) { r.Domain, r.Identity = "", "@gmail.com" }, "dkim=pass header.a=rsa-sha256 header.b=AbCdEfGh header.s=s1"},
	}
	for name, test := range tests {
		got := oneField(t, authserv, result(test.change))
		wellFormed(t, got)
		got = strings.ReplaceAll(unfold(got), "\t", " ")
		if !strings.Contains(got+" ", " "+test.want+" ") {
			t.Errorf("%s: got %s; want %s", name, got, test.want)
		}
	}
}

// TestAuthenticationResultsOfStrangeSignatures: signatures that cannot be read, beside one that is
// good, leave the field one that strict readers take.
func TestAuthenticationResultsOfStrangeSignatures(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"", " ", " v=1", " =?UTF-8?Q?v=3D1;_a=3Drsa-sha256;_d=3Desp.example;_h?=\r\n =?UTF-8?Q?=3Dfrom;_s=3Dr1;_bh=3DMJ63;_b=3DQodZ?=",
		" v=1; d=", " v=1; d=; i=@example.org", " v=1; i=@gmail.com; b=x", " v=1; d=a b; i=@a b", " v=1; d=\"a\"; s=\"b\"; i=\"c\"@\"d\"",
		" v=1; d=a,b.example; s=x;y; i=@", " v=1; d=.; s=.; i=@.", " v=1; d=-.example; s=-; i=a@b@-.example", " v=1; d=[192.0.2.1]; i=@[192.0.2.1]",
		" v=1; d=é.example; s=é; i=é@é.example; a=é; b=é", " v=1; d=example.org; s=s1; i==; a==; b==", " v=1; d=localhost; i=@localhost; s=s1", " v=1 (c); d=a.example (c); s=(c)",
	} {
		w := newWorld()
		w.tamper = func(w *world) { w.header = append([][2]string{{"DKIM-Signature", value}}, w.header...) }
		got := oneField(t, authserv, w.verify(t))
		wellFormed(t, got)
		f, err := authrestest.Parse(got)
		if err != nil || len(f.Results) != 2 || f.Results[0].Value != "pass" || f.Results[1].Value != "permerror" {
			t.Errorf("%q: %q: %v", value, got, err)
			continue
		}
		if r := f.Results[1]; r.Property("header.d") == "" && r.Property("header.i") != "" {
			t.Errorf("%q: i= without d=: %q", value, got)
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
