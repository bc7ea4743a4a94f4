package dkim

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"dkimd/internal/safetext"
)

// keySyntaxError is an ErrKeySyntax with its cause, and says once that it is a syntax error.
type keySyntaxError struct{ cause error }

func (e keySyntaxError) Error() string {
	if errors.Is(e.cause, ErrSyntax) {
		return e.cause.Error()
	}
	return ErrKeySyntax.Error() + ": " + e.cause.Error()
}

func (e keySyntaxError) Unwrap() []error { return []error{ErrKeySyntax, e.cause} }

// KeyFlaw says to the one who published txt why ParseKeyRecord refused it with err: what it is that
// stands there, and at which octet, counted from 1. It changes no verdict. The words are printable.
func KeyFlaw(txt string, err error) string {
	if len(txt) > MaxKeyRecordBytes {
		return err.Error()
	}
	r := flawed{txt: txt, parts: partsOf(txt)}
	for _, look := range []func() string{r.otherRecord, r.pasted, r.invisible, r.quoting, r.encoded, r.arrangement, r.tags, r.values, r.key} {
		if found := look(); found != "" {
			return found
		}
	}
	return err.Error()
}

// flawed is a record in which something is wrong.
type flawed struct {
	txt   string
	parts []part
}

// part is what stands between two semicolons.
type part struct {
	at          int // where its first octet that is no white space stands
	name, value string
	value0      int  // where the value begins
	tag         bool // has an equals sign
}

const space = " \t\r\n"

func partsOf(txt string) []part {
	var parts []part
	pos := 0
	for text := range strings.SplitSeq(txt, ";") {
		p := part{at: pos + len(text) - len(strings.TrimLeft(text, space))}
		name, value, found := strings.Cut(text, "=")
		p.name, p.tag = strings.Trim(name, space), found
		p.value = strings.Trim(value, space)
		p.value0 = pos + len(name) + 1 + len(value) - len(strings.TrimLeft(value, space))
		parts = append(parts, p)
		pos += len(text) + 1
	}
	return parts
}

func (r *flawed) find(name string) (part, bool) {
	for _, p := range r.parts {
		if p.tag && p.name == name {
			return p, true
		}
	}
	return part{}, false
}

// octet names a place.
func octet(i int) string { return "octet " + strconv.Itoa(i+1) }

// otherRecord is a record for something else.
func (r *flawed) otherRecord() string {
	text := strings.ToLower(strings.Trim(r.txt, space+`"`))
	for begins, what := range map[string]string{
		"v=spf1": "an SPF record, whose place is the domain itself", "v=dmarc1": "a DMARC record, whose place is _dmarc below the domain",
		"v=stsv1": "an MTA-STS record, whose place is _mta-sts below the domain", "v=tlsrptv1": "a TLSRPT record, whose place is _smtp._tls below the domain",
		"v=bimi1": "a BIMI record",
	} {
		if strings.HasPrefix(text, begins) {
			return "it is " + what
		}
	}
	_, hasKey := r.find("p")
	if text == "" {
		return "the record is empty"
	}
	if (strings.HasPrefix(text, "o=") || strings.HasPrefix(text, "t=y; o=")) && !hasKey {
		return "it is a DomainKeys policy, whose place is _domainkey itself, and no key"
	}
	return ""
}

// pasted is a piece of a file in place of the text.
func (r *flawed) pasted() string {
	at := strings.Index(r.txt, "v=DKIM1")
	for _, word := range strings.FieldsFunc(r.txt[:max(at, 0)], func(c rune) bool { return strings.ContainsRune(space+`("`, c) }) {
		if strings.EqualFold(word, "TXT") {
			return "a line of a zone file was taken for the text: it begins at v=DKIM1, " + octet(at)
		}
	}
	if strings.HasPrefix(strings.TrimLeft(r.txt, space), "(") {
		return "a parenthesis of a zone file is part of the text (" + octet(strings.IndexByte(r.txt, '(')) + ")"
	}
	if at := strings.Index(r.txt, "-----"); at >= 0 {
		return "the line of a PEM file is part of the text (" + octet(at) + "): p= takes what stands between BEGIN and END only"
	}
	return ""
}

// invisible is a character that nobody sees or that looks like another one.
func (r *flawed) invisible() string {
	names := map[rune]string{
		0xa0: "a no-break space", 0x200b: "a space of no width", 0x200c: "a joiner of no width", 0x200d: "a joiner of no width",
		0x2060: "a joiner of no width", 0xad: "a soft hyphen", 0xfeff: "a byte order mark", 0x2028: "a line separator", 0x3000: "a wide space", 0x202f: "a no-break space",
		0x201c: "a curved quotation mark", 0x201d: "a curved quotation mark", 0x201e: "a curved quotation mark", 0x2018: "a curved apostrophe", 0x2019: "a curved apostrophe",
		0xff1d: "a wide equals sign", 0xff1b: "a wide semicolon", 0x37e: "a Greek question mark", 0x2013: "a dash", 0x2014: "a dash", 0x2011: "a no-break hyphen",
	}
	for i, c := range r.txt {
		switch {
		case names[c] != "":
			return fmt.Sprintf("%s (U+%04X) is part of the text (%s): it came along from a web page or a word processor", names[c], c, octet(i))
		case c == utf8.RuneError && !strings.HasPrefix(r.txt[i:], "\uFFFD"):
			return fmt.Sprintf("the byte 0x%02X, which is no UTF-8, is part of the text (%s)", r.txt[i], octet(i))
		case c < ' ' && !strings.ContainsRune(space, c) || c == 0x7f:
			return fmt.Sprintf("the control character 0x%02X is part of the text (%s)", c, octet(i))
		}
	}
	return ""
}

// quoting is what keeps text together in zone files and shells. In a note it means nothing.
func (r *flawed) quoting() string {
	for _, p := range r.parts {
		if p.tag && p.name == "n" {
			continue
		}
		// A part ends where the next semicolon is.
		end := len(r.txt)
		if n := strings.IndexByte(r.txt[min(p.at, len(r.txt)):], ';'); n >= 0 {
			end = p.at + n
		}
		i := strings.IndexAny(r.txt[p.at:end], `"\'`)
		if i < 0 {
			continue
		}
		switch at := p.at + i; r.txt[at] {
		case '\\':
			return "a backslash is part of the text (" + octet(at) + "): zone files want it there, this panel does not"
		case '\'':
			return "an apostrophe is part of the text (" + octet(at) + ")"
		default:
			return "a quotation mark is part of the text (" + octet(at) + "): enter it without, the panel adds its own"
		}
	}
	return ""
}

var (
	entity    = regexp.MustCompile(`&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,31});`)
	element   = regexp.MustCompile(`</?[a-zA-Z][^<>]*>`)
	printable = regexp.MustCompile(`(?:^|[; ])[a-z] ?=3[dD]`)
	percent   = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
)

// encoded is text in a coding that was not undone.
func (r *flawed) encoded() string {
	if at := entity.FindStringIndex(r.txt); at != nil {
		return "the HTML entity " + r.txt[at[0]:at[1]] + " is part of the text (" + octet(at[0]) + ")"
	}
	if at := element.FindStringIndex(r.txt); at != nil {
		return "the HTML element " + safetext.ASCII(safetext.Clip(r.txt[at[0]:at[1]], 20)) + " is part of the text (" + octet(at[0]) + ")"
	}
	if at := printable.FindStringIndex(r.txt); at != nil {
		return "it is in quoted-printable: =3D stands in place of = (" + octet(at[1]-3) + ")"
	}
	if at := percent.FindStringIndex(r.txt); at != nil {
		return "it is encoded for URLs: " + r.txt[at[0]:at[1]] + " is part of the text (" + octet(at[0]) + ")"
	}
	return ""
}

// arrangement is right text in the wrong place.
func (r *flawed) arrangement() string {
	const version = "v=DKIM1"
	first := strings.Index(r.txt, version)
	if first < 0 {
		return ""
	}
	if again := strings.Index(r.txt[first+len(version):], version); again >= 0 {
		return "the record stands in it twice: it begins again at " + octet(first+len(version)+again)
	}
	if head := strings.Trim(r.txt[:first], space); len(head) > 20 && badBase64(head) < 0 {
		return "its strings are in the wrong order: the end of the key comes first, and v=DKIM1 at " + octet(first)
	}
	return ""
}

var nextTag = regexp.MustCompile(`(?:^|[\s,:|])([a-z])\s*=[^=]`)

// tags is a tag list that is none (RFC 6376 section 3.2).
func (r *flawed) tags() string {
	if len(r.txt) > 40 && badBase64(r.txt) < 0 {
		return "it is bare base64: v=DKIM1; p= must stand in front of the key"
	}
	seen := map[string]bool{}
	for i, p := range r.parts {
		last := i == len(r.parts)-1
		switch {
		case p.name == "" && !p.tag && last && i > 0:
		case p.name == "" && !p.tag:
			return "nothing stands before the semicolon at " + octet(min(p.at, len(r.txt))) + ": it is one too many"
		case !p.tag:
			return safetext.Quote(p.name) + " (" + octet(p.at) + ") is no tag: it has no equals sign"
		case !isTagName(p.name):
			return safetext.Quote(p.name) + " (" + octet(p.at) + ") is no name of a tag"
		case seen[p.name]:
			return p.name + "= stands in it twice, again at " + octet(p.at)
		}
		seen[p.name] = true
		if at := nextTag.FindStringSubmatchIndex(p.value); at != nil && p.tag && p.name != "n" {
			return "a semicolon is missing: " + p.value[at[2]:at[3]] + "= stands inside " + p.name + "= (" + octet(p.value0+at[2]) + ")"
		}
	}
	for _, p := range r.parts {
		lower := strings.ToLower(p.name)
		if p.tag && lower != p.name && strings.Contains("v k p h s t", lower) && !seen[lower] {
			return "the tag " + p.name + "= is in upper case (" + octet(p.at) + "): it must be " + lower + "="
		}
	}
	return ""
}

// values is a tag with a value that is not to be (RFC 6376 section 3.6.1).
func (r *flawed) values() string {
	v, hasVersion := r.find("v")
	switch {
	case hasVersion && v.value == "DKIM1" && r.parts[0] != v:
		return "v=DKIM1 must come first, and stands at " + octet(v.at)
	case hasVersion && v.value != "DKIM1":
		return "its version is " + safetext.Quote(v.value) + " (" + octet(v.value0) + "); want DKIM1"
	}
	if p, ok := r.find("p"); !ok {
		return "p= is missing: there is no key in it"
	} else if p.value == "" {
		return ""
	}
	if k, ok := r.find("k"); ok && !strings.EqualFold(k.value, TypeRSA) && !strings.EqualFold(k.value, TypeEd25519) {
		return "k=" + safetext.ASCII(safetext.Clip(k.value, 40)) + " (" + octet(k.at) + ") is no type of key; want rsa or ed25519"
	}
	if h, ok := r.find("h"); ok && !contains(splitList(h.value), "sha256") {
		return "h=" + safetext.ASCII(safetext.Clip(h.value, 40)) + " (" + octet(h.at) + ") does not allow sha256: leave h= out"
	}
	if s, ok := r.find("s"); ok && !contains(splitList(s.value), "*") && !contains(splitList(s.value), "email") {
		return "s=" + safetext.ASCII(safetext.Clip(s.value, 40)) + " (" + octet(s.at) + ") is not for email; it is no selector: leave s= out"
	}
	return ""
}

// key is a p= that holds no key.
func (r *flawed) key() string {
	p, ok := r.find("p")
	if !ok || p.value == "" {
		return ""
	}
	if text, stop := strings.CutSuffix(p.value, "."); stop && badBase64(text) < 0 {
		return "p= ends in a full stop (" + octet(p.value0+len(text)) + "): names in zone files end in one, texts do not"
	}
	if bad := badBase64(p.value); bad >= 0 {
		at := octet(p.value0 + bad)
		switch c := p.value[bad]; c {
		case '-', '_':
			return "p= is in the base64 of URLs: it holds " + string(c) + " (" + at + "); want + for - and / for _"
		case '=':
			return "p= goes on behind the = that ends base64 (" + at + ")"
		default:
			return "p= holds " + strconv.QuoteToASCII(string(c)) + " (" + at + "), which is not base64"
		}
	}
	return r.octets(strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "", "=", "").Replace(p.value))
}

// octets is base64 that is not the key it should be.
func (r *flawed) octets(text string) string {
	data, _ := base64.RawStdEncoding.DecodeString(text[:len(text)/4*4])
	if whole, err := base64.RawStdEncoding.DecodeString(text); err == nil {
		data = whole
	}
	k, _ := r.find("k")
	ed25519 := strings.EqualFold(k.value, TypeEd25519)
	size, isDER := sizeOfDER(data)
	_, noPKCS1 := x509.ParsePKCS1PrivateKey(data)
	_, noPKCS8 := x509.ParsePKCS8PrivateKey(data)
	switch {
	case noPKCS1 == nil || noPKCS8 == nil:
		return "p= holds a private key, which everybody can read now: never use it again, generate another"
	case isDER && size > len(data) && len(r.txt) >= 250 && len(r.txt) <= 256:
		return fmt.Sprintf("it is cut at %d octets: a string in DNS has 255 at most, and only the first one was kept; p= holds %d octets of a key of %d", len(r.txt), len(data), size)
	case isDER && size > len(data):
		return fmt.Sprintf("it is cut: p= holds %d octets of a key of %d", len(data), size)
	case isDER && size < len(data):
		return fmt.Sprintf("p= holds %d octets more than the key of %d in it", len(data)-size, size)
	case isDER && ed25519 && size > 100:
		return "k= says ed25519, and p= holds an RSA key"
	case !ed25519 && len(data) == 32:
		return "p= holds 32 octets, as an Ed25519 key has: k=ed25519 is missing"
	case ed25519 && !isDER:
		return fmt.Sprintf("p= holds %d octets; an Ed25519 key has 32", len(data))
	case !ed25519 && !isDER:
		return "p= does not begin as an RSA key does: its beginning is missing, or it was damaged"
	}
	return ""
}

// badBase64 is where the first octet stands that base64 with white space in it does not have, or -1.
func badBase64(s string) int {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '+', c == '/', strings.IndexByte(space, c) >= 0:
		case c == '=' && strings.Trim(s[i:], "="+space) == "":
		default:
			return i
		}
	}
	return -1
}

// sizeOfDER is how long a SEQUENCE says it is, its head included.
func sizeOfDER(data []byte) (size int, ok bool) {
	if len(data) < 4 || data[0] != 0x30 {
		return 0, false
	}
	switch n := int(data[1]); {
	case n < 0x80:
		return 2 + n, true
	case n == 0x81:
		return 3 + int(data[2]), true
	case n == 0x82:
		return 4 + int(data[2])<<8 + int(data[3]), true
	}
	return 0, false
}
