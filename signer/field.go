package signer

import (
	"encoding/base64"
	"slices"
	"strconv"
	"sync"

	"dkimd/internal/dkim"
	"dkimd/keys"
)

// lineWidth is how long a line of our field gets if it can be folded: RFC 5322
// section 2.1.1 asks for 78 at most, and some programs that copy fields add a few.
// What cannot be folded (RFC 6376 section 3.5) is at most a domain of 253
// octets, a selector of the same, or an identity, so 998 is never reached.
const lineWidth = 76

// template is what the fields of one key have in common.
type template struct {
	key              *keys.Key
	domain, selector string
	identity         string // i=, encoded; empty: none
	canon            string // c=

	once sync.Once
	head folder // the tags up to s= or i=
}

// start is the beginning of a field. The key's type is known once it is loaded.
func (t *template) start(algorithm string) folder {
	t.once.Do(func() {
		f := folder{column: len(dkim.SignatureField + ":")}
		f.token("v=1;")
		f.token("a=" + algorithm + ";")
		f.token("c=" + t.canon + ";")
		f.token("d=" + t.domain + ";")
		f.token("s=" + t.selector + ";")
		if t.identity != "" {
			f.token("i=" + t.identity + ";")
		}
		t.head = folder{text: slices.Clip(f.text), column: f.column}
	})
	return t.head
}

// headersTag is h= on lines of its own.
func headersTag(names []string) folder {
	f := folder{}
	f.line()
	f.text = append(f.text, "h="...)
	f.column += len("h=")
	for i, name := range names {
		end := ":"
		if i == len(names)-1 {
			end = ";"
		}
		f.glue(name + end)
	}
	return f
}

// unsigned is a whole field but for the value of b=, which ends it.
func (t *template) unsigned(algorithm string, timestamp, expiration int64, headers folder, bodyHash [32]byte) folder {
	f := t.start(algorithm)
	f.token("t=" + strconv.FormatInt(timestamp, 10) + ";")
	if expiration > 0 {
		f.token("x=" + strconv.FormatInt(expiration, 10) + ";")
	}
	f.text = append(f.text, headers.text...)
	f.column = headers.column
	f.token("bh=" + base64.StdEncoding.EncodeToString(bodyHash[:]) + ";")
	f.token("b=")
	return f
}

// signed appends the value of b=, folded, and is the whole field.
func (f *folder) signed(signature []byte) string {
	value := base64.StdEncoding.EncodeToString(signature)
	for value != "" {
		if f.column >= lineWidth {
			f.line()
		}
		n := min(len(value), lineWidth-f.column)
		f.text = append(f.text, value[:n]...)
		f.column += n
		value = value[n:]
	}
	return string(f.text)
}

// folder writes a field value line by line.
type folder struct {
	text   []byte
	column int
}

// token appends text after a space or, where the line is full, a fold.
func (f *folder) token(s string) {
	if f.column+1+len(s) > lineWidth {
		f.line()
	} else {
		f.text = append(f.text, ' ')
		f.column++
	}
	f.text = append(f.text, s...)
	f.column += len(s)
}

// glue appends text without a space, and with a fold where the line is full.
func (f *folder) glue(s string) {
	if f.column+len(s) > lineWidth {
		f.line()
	}
	f.text = append(f.text, s...)
	f.column += len(s)
}

func (f *folder) line() {
	f.text = append(f.text, "\r\n "...)
	f.column = 1
}
