package dkim_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/message"
)

const (
	sampleHash  = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	sampleValue = "AQIDBAUGBwgJ"
)

// tags is a valid signature; each case changes one thing.
type tags map[string]string

func (m tags) field() message.Field {
	var value strings.Builder
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			value.WriteString(";")
		}
		fmt.Fprintf(&value, "\r\n\t%s=%s", name, m[name])
	}
	return message.NewField(dkim.SignatureField, value.String())
}

func validTags() tags {
	return tags{"v": "1", "a": "rsa-sha256", "d": "example.org", "s": "s1", "h": "From:To", "bh": sampleHash, "b": sampleValue}
}

func TestParseSignature(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(tags)
		want   error
	}{
		"nothing changed":                        {func(tags) {}, nil},
		"v= is absent":                           {func(m tags) { delete(m, "v") }, dkim.ErrMissingTag},
		"a= is absent":                           {func(m tags) { delete(m, "a") }, dkim.ErrMissingTag},
		"b= is absent":                           {func(m tags) { delete(m, "b") }, dkim.ErrMissingTag},
		"bh= is absent":                          {func(m tags) { delete(m, "bh") }, dkim.ErrMissingTag},
		"d= is absent":                           {func(m tags) { delete(m, "d") }, dkim.ErrMissingTag},
		"h= is absent":                           {func(m tags) { delete(m, "h") }, dkim.ErrMissingTag},
		"s= is absent":                           {func(m tags) { delete(m, "s") }, dkim.ErrMissingTag},
		"another version":                        {func(m tags) { m["v"] = "2" }, dkim.ErrVersion},
		"version 1.0":                            {func(m tags) { m["v"] = "1.0" }, dkim.ErrVersion},
		"version 01":                             {func(m tags) { m["v"] = "01" }, dkim.ErrVersion},
		"ed25519, RFC 8463":                      {func(m tags) { m["a"] = "ed25519-sha256" }, nil},
		"algorithm in upper case":                {func(m tags) { m["a"] = "RSA-SHA256" }, nil},
		"rsa-sha1, RFC 8301":                     {func(m tags) { m["a"] = "rsa-sha1" }, dkim.ErrAlgorithm},
		"an unknown algorithm":                   {func(m tags) { m["a"] = "rsa-sha512" }, dkim.ErrAlgorithm},
		"an empty algorithm":                     {func(m tags) { m["a"] = "" }, dkim.ErrAlgorithm},
		"From in another case":                   {func(m tags) { m["h"] = "to:fROM" }, nil},
		"h= with folds":                          {func(m tags) { m["h"] = "To \r\n\t : \t From :\r\n Subject" }, nil},
		"From not signed, 5.4":                   {func(m tags) { m["h"] = "To:Subject:XFrom" }, dkim.ErrFromUnsigned},
		"h= empty":                               {func(m tags) { m["h"] = "" }, dkim.ErrSyntax},
		"h= ends in a colon":                     {func(m tags) { m["h"] = "From:" }, dkim.ErrSyntax},
		"h= with two colons":                     {func(m tags) { m["h"] = "From::To" }, dkim.ErrSyntax},
		"h= with a space in a name":              {func(m tags) { m["h"] = "From:Sub ject" }, dkim.ErrSyntax},
		"h= with a no-break space":               {func(m tags) { m["h"] = "From:Sub\u00a0ject" }, dkim.ErrSyntax},
		"h= with 1000 names":                     {func(m tags) { m["h"] = strings.Repeat("a:", 999) + "From" }, nil},
		"h= with 1001 names":                     {func(m tags) { m["h"] = strings.Repeat("a:", 1000) + "From" }, dkim.ErrTooManyNames},
		"d= in upper case":                       {func(m tags) { m["d"] = "Example.ORG" }, nil},
		"d= with underscore":                     {func(m tags) { m["d"] = "_x.example.org" }, nil},
		"d= one label":                           {func(m tags) { m["d"] = "localhost" }, dkim.ErrSyntax},
		"d= U-label and capital letters":         {func(m tags) { m["d"] = "_A.b\u00fccher.Example" }, nil},
		"d= U-label, RFC 8616":                   {func(m tags) { m["d"] = "b\u00fccher.example" }, nil},
		"d= with final dot":                      {func(m tags) { m["d"] = "example.org." }, dkim.ErrSyntax},
		"d= with first dot":                      {func(m tags) { m["d"] = ".example.org" }, dkim.ErrSyntax},
		"d= with two dots":                       {func(m tags) { m["d"] = "example..org" }, dkim.ErrSyntax},
		"d= empty":                               {func(m tags) { m["d"] = "" }, dkim.ErrSyntax},
		"d= with a space":                        {func(m tags) { m["d"] = "exam ple.org" }, dkim.ErrSyntax},
		"d= with a fold":                         {func(m tags) { m["d"] = "exam\r\n ple.org" }, dkim.ErrSyntax},
		"d= with a no-break space":               {func(m tags) { m["d"] = "exam\u00a0ple.org" }, dkim.ErrSyntax},
		"d= with a no-break space behind":        {func(m tags) { m["d"] = "example.org\u00a0" }, dkim.ErrSyntax},
		"d= with a soft hyphen":                  {func(m tags) { m["d"] = "exam\u00adple.org" }, dkim.ErrSyntax},
		"d= with a Kelvin sign":                  {func(m tags) { m["d"] = "example.\u212aom" }, dkim.ErrSyntax},
		"d= with a fullwidth dot":                {func(m tags) { m["d"] = "example\uff0eorg" }, dkim.ErrSyntax},
		"d= with a control character":            {func(m tags) { m["d"] = "exam\x01ple.org" }, dkim.ErrSyntax},
		"d= with an @":                           {func(m tags) { m["d"] = "@example.org" }, dkim.ErrSyntax},
		"d= with a long label":                   {func(m tags) { m["d"] = strings.Repeat("a", 64) + ".org" }, dkim.ErrSyntax},
		"d= too long":                            {func(m tags) { m["d"] = strings.Repeat("a.", 126) + "org" }, dkim.ErrSyntax},
		"s= with dots":                           {func(m tags) { m["s"] = "2026.a_b-c.mail" }, nil},
		"s= with a colon":                        {func(m tags) { m["s"] = "a:b" }, dkim.ErrSyntax},
		"s= empty":                               {func(m tags) { m["s"] = "" }, dkim.ErrSyntax},
		"s= and d= too long for DNS":             {func(m tags) { m["s"], m["d"] = strings.Repeat("a.", 60)+"a", strings.Repeat("a.", 60)+"org" }, dkim.ErrSyntax},
		"i= the domain":                          {func(m tags) { m["i"] = "@example.org" }, nil},
		"i= a subdomain, another case":           {func(m tags) { m["i"] = "joe@Mail.EXAMPLE.org" }, nil},
		"i= decoded, 2.11":                       {func(m tags) { m["i"] = "a=40b=20=3D\r\n c@example.org" }, nil},
		"i= outside":                             {func(m tags) { m["i"] = "joe@example.com" }, dkim.ErrDomainMismatch},
		"i= a longer label":                      {func(m tags) { m["i"] = "joe@badexample.org" }, dkim.ErrDomainMismatch},
		"i= the parent":                          {func(m tags) { m["i"] = "joe@org" }, dkim.ErrDomainMismatch},
		"i= the last @ counts":                   {func(m tags) { m["i"] = "joe@example.org@example.com" }, dkim.ErrDomainMismatch},
		"i= without @":                           {func(m tags) { m["i"] = "a.example.org" }, dkim.ErrSyntax},
		"i= with an encoded @ only":              {func(m tags) { m["i"] = "a=40example.org" }, dkim.ErrSyntax},
		"i= without domain":                      {func(m tags) { m["i"] = "joe@" }, dkim.ErrSyntax},
		"i= with final dot":                      {func(m tags) { m["i"] = "joe@example.org." }, dkim.ErrSyntax},
		"i= with bad encoding":                   {func(m tags) { m["i"] = "a=4@example.org" }, dkim.ErrSyntax},
		"c= unknown":                             {func(m tags) { m["c"] = "nofws" }, dkim.ErrSyntax},
		"q= dns/txt":                             {func(m tags) { m["q"] = "dns/txt" }, nil},
		"q= dns/txt among others":                {func(m tags) { m["q"] = "http/x : DNS/TXT" }, nil},
		"q= others only":                         {func(m tags) { m["q"] = "dns" }, dkim.ErrQuery},
		"q= with a method without a name":        {func(m tags) { m["q"] = "dns/txt: " }, dkim.ErrSyntax},
		"q= empty":                               {func(m tags) { m["q"] = "" }, dkim.ErrSyntax},
		"bh= with folds":                         {func(m tags) { m["bh"] = sampleHash[:7] + " \r\n\t" + sampleHash[7:] }, nil},
		"bh= empty":                              {func(m tags) { m["bh"] = "" }, dkim.ErrSyntax},
		"bh= without padding":                    {func(m tags) { m["bh"] = strings.TrimRight(sampleHash, "=") }, dkim.ErrSyntax},
		"b= with stray bits":                     {func(m tags) { m["b"] = "AQJ=" }, dkim.ErrSyntax},
		"b= URL alphabet":                        {func(m tags) { m["b"] = "AQ-_" }, dkim.ErrSyntax},
		"b= with more behind the padding":        {func(m tags) { m["b"] = "AQ==AQ==" }, dkim.ErrSyntax},
		"b= empty":                               {func(m tags) { m["b"] = "" }, dkim.ErrSyntax},
		"t= before x=":                           {func(m tags) { m["t"], m["x"] = "1000", "1001" }, nil},
		"t= equal to x=, 3.5":                    {func(m tags) { m["t"], m["x"] = "1000", "1000" }, dkim.ErrExpiration},
		"t= negative":                            {func(m tags) { m["t"] = "-5" }, dkim.ErrSyntax},
		"t= empty":                               {func(m tags) { m["t"] = "" }, dkim.ErrSyntax},
		"t= a fraction":                          {func(m tags) { m["t"] = "1.5" }, dkim.ErrSyntax},
		"t= in other digits":                     {func(m tags) { m["t"] = "\u0661" }, dkim.ErrSyntax},
		"x= signed":                              {func(m tags) { m["x"] = "+5" }, dkim.ErrSyntax},
		"t= and x= infinite":                     {func(m tags) { m["t"], m["x"] = "1234567890123", "99999999999999999999999" }, dkim.ErrExpiration},
		"l= with 76 digits":                      {func(m tags) { m["l"] = strings.Repeat("9", 76) }, nil},
		"l= with 77 digits":                      {func(m tags) { m["l"] = strings.Repeat("0", 77) }, dkim.ErrSyntax},
		"a duplicate tag, 3.2":                   {func(m tags) { m["x1"] = "1; v=1" }, dkim.ErrDuplicateTag},
		"a tag without =":                        {func(m tags) { m["x1"] = "1; foo" }, dkim.ErrSyntax},
		"unknown tags are ignored":               {func(m tags) { m["x1"], m["zz"] = "b=x", "" }, nil},
		"64 KiB, as much as is read":             {func(m tags) { m["z"] = strings.Repeat("x", 64<<10-300) }, nil},
		"more than 64 KiB":                       {func(m tags) { m["z"] = strings.Repeat("x", 64<<10) }, dkim.ErrTooLong},
		"the last characters have to be a value": {func(m tags) { m["zz"] = "\r\n" }, dkim.ErrSyntax},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := validTags()
			test.change(m)
			f := m.field()
			s, err := dkim.ParseSignature(f)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if s == nil {
				t.Fatal("no signature")
			}
			if s.Field.Is(dkim.SignatureField) == false {
				t.Error("the field is not there")
			}
		})
	}
}

func TestParseSignatureValues(t *testing.T) {
	t.Parallel()
	m := validTags()
	m["a"], m["d"], m["s"], m["c"], m["i"] = "Ed25519-SHA256", "B\u00dcCHER.Example.ORG", "S1.X", "relaxed/simple", "a=3bb =0d@b\u00fccher.Example.org"
	m["d"] = "b\u00fccher.Example.org"
	m["h"], m["b"], m["z"] = " FROM : to\r\n :X-b", "AQID\r\n\tBAUG Bwg=", "From:x@y|To:b=20c"
	m["t"], m["x"], m["l"] = "0000000000000001700000000", "9999999999999", "00123"
	s, err := dkim.ParseSignature(m.field())
	if err != nil {
		t.Fatal(err)
	}
	if s.Algorithm != dkim.Ed25519SHA256 || s.Domain != "xn--bcher-kva.example.org" || s.Selector != "s1.x" {
		t.Errorf("a=%s d=%s s=%s", s.Algorithm, s.Domain, s.Selector)
	}
	if s.HeaderCanon != dkim.Relaxed || s.BodyCanon != dkim.Simple || s.Identity != "a;b\r@b\u00fccher.Example.org" {
		t.Errorf("c=%v/%v i=%q", s.HeaderCanon, s.BodyCanon, s.Identity)
	}
	if !slices.Equal(s.Headers, []string{"FROM", "to", "X-b"}) || s.B != "AQIDBAUGBwg=" || string(s.Value) != "\x01\x02\x03\x04\x05\x06\x07\x08" || len(s.BodyHash) != 32 {
		t.Errorf("h=%q b=%q %q", s.Headers, s.B, s.Value)
	}
	if s.Timestamp != 1700000000 || s.Expiration != math.MaxInt64 || s.BodyLength != 123 || s.Copied != "From:x@y|To:b=20c" {
		t.Errorf("t=%d x=%d l=%d z=%q", s.Timestamp, s.Expiration, s.BodyLength, s.Copied)
	}

	s, err = dkim.ParseSignature(validTags().field())
	if err != nil || s.HeaderCanon != dkim.Simple || s.BodyCanon != dkim.Simple || s.Identity != "@example.org" ||
		s.Timestamp != -1 || s.Expiration != -1 || s.BodyLength != -1 {
		t.Errorf("defaults: %+v, %v", s, err)
	}
}

// TestParseSignatureTellsWhatItCouldRead: a report names the signer also of a broken signature.
func TestParseSignatureTellsWhatItCouldRead(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"v=2; d=example.org; s=s1; a=rsa-sha1; b=AQID; h=To; t=-1",
		"d=example.org; s=s1; a=rsa-sha1; b=AQID; bad",
		"d=example.org; s=s1; a=rsa-sha1; b=AQID; d=example.com",
	} {
		s, err := dkim.ParseSignature(message.NewField(dkim.SignatureField, value))
		if err == nil || s.Domain != "example.org" || s.Selector != "s1" || s.Algorithm != "rsa-sha1" || s.B != "AQID" {
			t.Errorf("%s: %+v, %v", value, s, err)
		}
	}
	_, err := dkim.ParseSignature(message.NewField(dkim.SignatureField, "v=1; d=example.org; s=s1; a=rsa-sha1; b=AQID; bh=AQID; h=From"))
	if err == nil || !strings.Contains(err.Error(), "RFC 8301") {
		t.Errorf("rsa-sha1 without the reason: %v", err)
	}
}

func TestEncodeQuotedPrintable(t *testing.T) {
	t.Parallel()
	if got := dkim.EncodeQuotedPrintable("a.b+c;=\r\n \x7f\u00e4@"); got != "a.b+c=3B=3D=0D=0A=20=7F=C3=A4@" {
		t.Error(got)
	}
}

func FuzzParseSignature(f *testing.F) {
	for _, m := range []tags{validTags(), {"v": "1", "d": "x", "i": "=40@x", "t": "9", "x": "8", "l": "1", "c": "relaxed", "q": "dns/txt", "h": "From", "b": "AQ=="}} {
		f.Add(string(m.field().Value()))
	}
	f.Add(" v=1; a=rsa-sha256; d=b\u00fccher.example; s=s;\r\n h=From:From; bh=AQID; b = AQ ID ;")
	f.Fuzz(func(t *testing.T, value string) {
		field := message.NewField(dkim.SignatureField, value)
		s, err := dkim.ParseSignature(field)
		if s == nil {
			t.Fatal("no signature")
		}
		s.HeaderHash(headerOf("From: a", "To: b"))
		for _, name := range []string{string(s.Domain), s.Selector} {
			if again, err := domain.ParseExact(name); name != "" && (err != nil || string(again) != name) {
				t.Errorf("name %q from %q is none: %q, %v", name, value, again, err)
			}
		}
		if err != nil {
			return
		}
		_, host, found := strings.Cut(s.Identity[strings.LastIndexByte(s.Identity, '@'):], "@")
		if name, err := domain.ParseExact(host); !found || err != nil || !name.Within(s.Domain) {
			t.Errorf("i= %q passes for d= %q", s.Identity, s.Domain)
		}
		if len(s.Headers) > dkim.MaxNames || len(s.Value) == 0 || !slices.ContainsFunc(s.Headers, func(n string) bool { return strings.EqualFold(n, "from") }) {
			t.Errorf("accepted %q", value)
		}
	})
}
