package keys

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
)

// maxString is the length of the longest character-string of a TXT record (RFC 1035 section 3.3).
const maxString = 255

// Record is what DNS has to publish for a key (RFC 6376 section 3.6).
type Record struct {
	Name string // of the TXT record, without a dot at its end
	Text string // its value in one piece, as web forms want it
}

// NewRecord is the record of a public key, an *rsa.PublicKey or ed25519.PublicKey.
func NewRecord(sdid domain.Name, selector string, public crypto.PublicKey) (Record, error) {
	r := Record{Name: dkim.RecordName(selector, sdid)}
	switch key := public.(type) {
	case *rsa.PublicKey:
		// RFC 6376 section 3.6.1 asks for an RSAPublicKey, its examples and everybody
		// publish a SubjectPublicKeyInfo (erratum 3017), which all verifiers read.
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return Record{}, fmt.Errorf("record of %s: %w", r.Name, err)
		}
		r.Text = "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	case ed25519.PublicKey: // RFC 8463 section 4.2: the bare key
		r.Text = "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key)
	default:
		return Record{}, fmt.Errorf("record of %s: a key of type %T does not sign mail", r.Name, public)
	}
	return r, nil
}

// Strings is the text in pieces that fit into the strings of a TXT record. Readers
// join them without anything between (RFC 6376 section 3.6.2.2).
func (r Record) Strings() []string {
	var pieces []string
	for text := r.Text; text != ""; {
		n := min(len(text), maxString)
		pieces = append(pieces, text[:n])
		text = text[n:]
	}
	return pieces
}

// String is the record as zone files have it (RFC 1035 section 5.1).
func (r Record) String() string {
	return r.Name + ". IN TXT ( \"" + strings.Join(r.Strings(), "\"\n\t\"") + "\" )"
}

// Line is the record as zone files have it, on one line.
func (r Record) Line() string {
	return r.Name + ". IN TXT \"" + strings.Join(r.Strings(), "\" \"") + "\""
}
