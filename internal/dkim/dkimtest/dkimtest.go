// Package dkimtest signs messages for tests. It reads RFC 6376 for itself, in
// the simplest way that can be right, and shares no code with internal/dkim:
// what both agree on is not one slip made twice. The signature field is written
// by the caller, letter for letter, so that anything can be signed.
package dkimtest

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Placeholders in a field for values not known yet.
const (
	BodyHash = "{bh}"
	Value    = "{b}"
)

// Options say how a message is signed. They need not agree with what the field says.
type Options struct {
	Key                    crypto.Signer // RSA or Ed25519
	RelaxHeader, RelaxBody bool
	Names                  []string // h=
	Length                 int      // l= in canonical octets; negative: none
	Wrap                   int      // b= is folded after this many characters; 0: never
}

// Sign puts the field on top of a message with CRLF line ends. The field is a
// whole DKIM-Signature field without its last CRLF, with Value once, where the
// value of b= goes, and BodyHash where that of bh= goes.
func Sign(raw []byte, field string, o Options) ([]byte, error) {
	fields, body := Split(raw)
	canonical := Body(body, o.RelaxBody)
	if o.Length >= 0 {
		canonical = canonical[:min(o.Length, len(canonical))]
	}
	bodyHash := sha256.Sum256(canonical)
	field = strings.ReplaceAll(field, BodyHash, base64.StdEncoding.EncodeToString(bodyHash[:]))

	// RFC 6376 section 3.7: the value of b= with all white space around it is
	// deleted. The white space in front of Value reaches back to the equals sign.
	before, after, ok := strings.Cut(field, Value)
	if !ok {
		return nil, errors.New("dkimtest: the field has no place for b=")
	}
	_, tail, more := strings.Cut(after, ";")
	if more {
		tail = ";" + tail
	}
	signed := strings.TrimRight(before, " \t\r\n") + tail

	var input []byte
	for _, f := range choose(fields, o.Names) {
		input = append(input, Field(f, o.RelaxHeader)...)
	}
	input = append(input, bytes.TrimSuffix(Field([]byte(signed), o.RelaxHeader), []byte("\r\n"))...)
	digest := sha256.Sum256(input)
	var options crypto.SignerOpts = crypto.SHA256
	if _, ok := o.Key.(ed25519.PrivateKey); ok {
		options = crypto.Hash(0) // RFC 8463 section 3
	}
	signature, err := o.Key.Sign(rand.Reader, digest[:], options)
	if err != nil {
		return nil, fmt.Errorf("dkimtest: %w", err)
	}
	value := base64.StdEncoding.EncodeToString(signature)
	for wrapped := ""; o.Wrap > 0; value = value[o.Wrap:] {
		if len(value) <= o.Wrap {
			value = wrapped + value
			break
		}
		wrapped += value[:o.Wrap] + "\r\n\t"
	}
	return join([]byte(strings.Replace(field, Value, value, 1)), []byte("\r\n"), raw), nil
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// Split takes a message apart: its fields, each with its last CRLF, and its body.
func Split(raw []byte) (fields [][]byte, body []byte) {
	for len(raw) > 0 {
		end := bytes.Index(raw, []byte("\r\n"))
		if end < 0 {
			return append(fields, append(bytes.Clone(raw), "\r\n"...)), nil
		}
		line := raw[:end+2]
		raw = raw[end+2:]
		switch {
		case end == 0:
			return fields, raw
		case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
			last := len(fields) - 1
			fields[last] = join(fields[last], line)
		default:
			fields = append(fields, line)
		}
	}
	return fields, nil
}

// choose is RFC 6376 section 5.4.2: each name takes the lowest field of that
// name that is left; a name too many takes nothing.
func choose(fields [][]byte, names []string) [][]byte {
	taken := make([]bool, len(fields))
	var chosen [][]byte
	for _, name := range names {
		for i := len(fields) - 1; i >= 0; i-- {
			own, _, _ := strings.Cut(string(fields[i]), ":")
			if !taken[i] && strings.EqualFold(strings.TrimRight(own, " \t"), name) {
				taken[i] = true
				chosen = append(chosen, fields[i])
				break
			}
		}
	}
	return chosen
}

var (
	space    = regexp.MustCompile(`[ \t]+`)
	lineTail = regexp.MustCompile(`[ \t]+(\r\n|$)`)
	ends     = regexp.MustCompile(`(?:\r\n)*$`)
)

// Field is a canonical field, with its CRLF (RFC 6376 sections 3.4.1 and 3.4.2).
func Field(f []byte, relax bool) []byte {
	f = bytes.TrimSuffix(f, []byte("\r\n"))
	if !relax {
		return join(f, []byte("\r\n"))
	}
	name, value, _ := bytes.Cut(f, []byte(":"))
	value = bytes.ReplaceAll(value, []byte("\r\n"), nil)
	value = space.ReplaceAll(value, []byte(" "))
	return join(bytes.ToLower(bytes.TrimRight(name, " \t")), []byte(":"), bytes.Trim(value, " "), []byte("\r\n"))
}

// Body is a canonical body (RFC 6376 sections 3.4.3 and 3.4.4).
func Body(body []byte, relax bool) []byte {
	if relax {
		body = lineTail.ReplaceAll(body, []byte("$1"))
		body = space.ReplaceAll(body, []byte(" "))
	}
	body = ends.ReplaceAll(body, nil)
	if relax && len(body) == 0 {
		return nil
	}
	return join(body, []byte("\r\n"))
}
