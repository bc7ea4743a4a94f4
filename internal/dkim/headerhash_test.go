package dkim_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

// TestHeaderHashSelection: RFC 6376 sections 3.7 and 5.4.2. want is the whole hash input.
func TestHeaderHashSelection(t *testing.T) {
	t.Parallel()
	fields := []string{"DKIM-Signature: other; b=xx", "From: top", "Received: 1", "Received: 2", "FROM : low", "Subject: s"}
	tests := map[string]struct {
		names string
		want  string
	}{
		"in the order of h=":                      {"subject:from", "subject:s\r\nfrom:low\r\n"},
		"from the bottom up":                      {"Received:Received", "received:2\r\nreceived:1\r\n"},
		"more often than it occurs":               {"Received:Received:Received:From", "received:2\r\nreceived:1\r\nfrom:low\r\n"},
		"absent names add nothing":                {"To:From:Cc", "from:low\r\n"},
		"case does not matter, nor space":         {"fRoM:From:FROM", "from:low\r\nfrom:top\r\n"},
		"names are served in turn":                {"From:Received:From", "from:low\r\nreceived:2\r\nfrom:top\r\n"},
		"another signature, never this one":       {"DKIM-Signature:DKIM-Signature:DKIM-Signature", "dkim-signature:other; b=xx\r\n"},
		"a name that is the beginning of another": {"Rec:Fro:From", "from:low\r\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			value := "  v=1;\r\n h=" + test.names + "; b=abc\r\n def ; x=1"
			h := headerOf(append([]string{"DKIM-Signature:" + value}, fields...)...)
			want := sha256.Sum256([]byte(test.want + "dkim-signature:v=1; h=" + test.names + "; b=; x=1"))
			if got := dkim.HeaderHash(h, strings.Split(test.names, ":"), dkim.Relaxed, h.Fields()[0]); got != want {
				t.Error("another hash input than ", test.want)
			}
			// When signing the field is not in the header yet.
			h = headerOf(fields...)
			if got := dkim.HeaderHash(h, strings.Split(test.names, ":"), dkim.Relaxed, message.NewField("DKIM-Signature", value)); got != want {
				t.Error("signing hashes something else")
			}
		})
	}
}

// TestHeaderHashEmptiesB: RFC 6376 section 3.7, "with the value of the b= tag
// (including all surrounding whitespace) deleted". All else stays to the byte.
func TestHeaderHashEmptiesB(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ value, want string }{
		"at the end":                 {" v=1; b=abc", " v=1; b="},
		"in the middle":              {" v=1; b=abc; d=x", " v=1; b=; d=x"},
		"first":                      {"b=abc; d=x", "b=; d=x"},
		"with white space and folds": {" v=1;\tb\r\n = \r\n\ta b\r\n c \t; d = x ", " v=1;\tb\r\n =; d = x "},
		"a semicolon ends the list":  {" b=abc ;", " b=;"},
		"empty":                      {" b=; d=x", " b=; d=x"},
		"white space only":           {" b= ; d=x", " b=; d=x"},
		"bh= is another tag":         {" bh=abc; b=def", " bh=abc; b="},
		"z= with b= in it":           {" z=X:b=20c|b=abc; b=def; h=b=g", " z=X:b=20c|b=abc; b=; h=b=g"},
		"i= with b= in it":           {" i=rob=2Bx@b=c; b=def", " i=rob=2Bx@b=c; b="},
		"x-b= and B= are others":     {" x-b=abc; xb=c; B=d; b_=e; b=def", " x-b=abc; xb=c; B=d; b_=e; b="},
		"none":                       {" v=1; d=x", " v=1; d=x"},
		"base64 with equals signs":   {" b=ab=c==; c=d", " b=; c=d"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := sha256.Sum256([]byte("dkim-Signature :" + test.want))
			if dkim.HeaderHash(&message.Header{}, nil, dkim.Simple, message.NewField("dkim-Signature ", test.value)) != want {
				t.Errorf("%q is not emptied to %q", test.value, test.want)
			}
		})
	}
}

// TestHeaderHashIsLinear: a header of 2000 fields against 1000 names, all alike or all different.
func TestHeaderHashIsLinear(t *testing.T) {
	measure := func(scale int, same bool) time.Duration {
		h := &message.Header{}
		var names []string
		for i := range 200 * scale {
			name := "X"
			if !same {
				name = fmt.Sprint("X-", i)
			}
			h.Add(name, " value")
			if i%2 == 0 {
				names = append(names, name)
			}
		}
		f := message.NewField(dkim.SignatureField, " b=")
		return cputime.Least(7, func() { dkim.HeaderHash(h, names, dkim.Relaxed, f) })
	}
	for _, same := range []bool{true, false} {
		small, large := measure(1, same), measure(10, same)
		if large > 40*small+10*time.Millisecond {
			t.Errorf("same=%v: 200 fields take %v, 2000 fields %v", same, small, large)
		}
	}
}
