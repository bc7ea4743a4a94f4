package smtpreply_test

import (
	"strings"
	"testing"

	"dkimd/internal/smtpreply"
)

const (
	transient = smtpreply.Transient
	permanent = smtpreply.Permanent
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		written string
		class   smtpreply.Class
		want    string // the reply, or the error after "error: "
	}{
		"code and text":            {"550 no way", permanent, "550 no way"},
		"enhanced code":            {"550 5.7.20 no way", permanent, "550 5.7.20 no way"},
		"longest enhanced code":    {"451 4.999.999  later ", transient, "451 4.999.999 later"},
		"a number is a text":       {"550 5", permanent, "550 5"},
		"a name with dots is text": {"550 example.com is not welcome", permanent, "550 example.com is not welcome"},
		"several lines":            {"550-no", permanent, "error: begin it with a three-digit code and a space"},
		"line end":                 {"550 no\r\n250 ok", permanent, "error: printable ASCII only, on one line"},
		"not ASCII":                {"550 grüße", permanent, "error: printable ASCII only, on one line"},
		"of another class":         {"451 later", permanent, "error: the code must begin with 5"},
		"zeros in front":           {"055 no", permanent, "error: the code must begin with 5"},
		"second digit, RFC 5321":   {"560 no", permanent, "error: there is no such code: the second digit is 0 to 5"},
		"421, RFC 5321 3.8":        {"421 later", transient, "error: 421 closes the connection: use 451"},
		"enhanced class":           {"550 4.7.1 no", permanent, "error: the enhanced code must begin with 5"},
		"enhanced, two parts":      {"550 5.7 no", permanent, "error: an enhanced code is three numbers: 5.7.1"},
		"enhanced, zero in front":  {"451 4.07.1 no", transient, "error: an enhanced code is three numbers: 4.7.1"},
		"enhanced, four digits":    {"550 5.7.1234 no", permanent, "error: an enhanced code is three numbers: 5.7.1"},
		"no text":                  {"550 5.7.1", permanent, "error: add a text that tells the sender what to do"},
		"nothing":                  {"", permanent, "error: begin it with a three-digit code and a space"},
		"longest":                  {"550 " + strings.Repeat("x", 396), permanent, "550 " + strings.Repeat("x", 396)},
		"too long":                 {"550 " + strings.Repeat("x", 397), permanent, "error: at most 400 characters"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := smtpreply.Parse(test.written, test.class)
			got := r.String()
			if err != nil {
				got += "error: " + err.Error()
			}
			if got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

// What a front door sends is always a reply of the class that it asked for.
func TestFor(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 400)
	tests := map[string]struct {
		reply smtpreply.Reply
		class smtpreply.Class
		whole bool // it is sent as it is
	}{
		"complete":             {smtpreply.Reply{Code: 550, Enhanced: "5.7.20", Text: "no 100%"}, permanent, true},
		"internal fault":       {smtpreply.InternalFault(), transient, true},
		"longest":              {smtpreply.Reply{Code: 550, Enhanced: "5.7.1", Text: long[:400]}, permanent, true},
		"too long":             {smtpreply.Reply{Code: 550, Enhanced: "5.7.1", Text: long + "x"}, permanent, false},
		"none":                 {smtpreply.Reply{}, permanent, false},
		"of success":           {smtpreply.Reply{Code: 250, Enhanced: "2.0.0", Text: "ok"}, permanent, false},
		"of the other class":   {smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "later"}, permanent, false},
		"of both classes":      {smtpreply.Reply{Code: 550, Enhanced: "4.7.5", Text: "later"}, permanent, false},
		"without an enhanced":  {smtpreply.Reply{Code: 450, Enhanced: "", Text: "later"}, transient, false},
		"enhanced with a line": {smtpreply.Reply{Code: 450, Enhanced: "4.7.1\r\n250", Text: "later"}, transient, false},
		"code of four digits":  {smtpreply.Reply{Code: 4500, Enhanced: "4.7.1", Text: "later"}, transient, false},
		"a second line":        {smtpreply.Reply{Code: 550, Enhanced: "5.7.1", Text: "a\r\n250 ok"}, permanent, false},
		"not ASCII":            {smtpreply.Reply{Code: 550, Enhanced: "5.7.1", Text: "grüße"}, permanent, false},
		"without a text":       {smtpreply.Reply{Code: 550, Enhanced: "5.7.1", Text: ""}, permanent, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := test.reply.For(test.class)
			want := map[smtpreply.Class]string{
				transient: "451 4.7.1 Message deferred, please try again later", permanent: "550 5.7.1 Message refused",
			}[test.class]
			if test.whole {
				want = test.reply.String()
			}
			if got.String() != want || (err == nil) != test.whole {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

// FuzzParse: what a rules file may write is one line of printable ASCII that a front door takes, once
// dkimd has added an enhanced code.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"550 5.7.20 text", "451 4.7.5 later", "421 x", "550 no\r\n250 ok", "550 5.7.x", "550 1.2.3.4 is bad"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, written string, refuses bool) {
		class, enhanced := transient, "4.123.123"
		if refuses {
			class, enhanced = permanent, "5.123.123"
		}
		r, err := smtpreply.Parse(written, class)
		if err != nil {
			if r != (smtpreply.Reply{}) {
				t.Errorf("%q: %v and %+v", written, err, r)
			}
			return
		}
		if again, err := smtpreply.Parse(r.String(), class); err != nil || again != r {
			t.Errorf("%q is %+v, and reads as %+v, %v", written, r, again, err)
		}
		if r.Enhanced == "" {
			r.Enhanced = enhanced
		}
		if _, err := r.For(class); err != nil {
			t.Errorf("%q: %v", written, err)
		}
		if line := r.String(); len(line) > 510 || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%q: %q", written, line)
		}
	})
}
