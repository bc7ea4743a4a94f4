package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strconv"
	"strings"

	"dkimd/internal/fault"
	"dkimd/internal/safetext"
)

// The sizes of RSA keys that sign: RFC 8301 section 3.2 sets the lower bound, and
// the upper one is where verifiers may stop.
const (
	MinRSABits = 1024
	MaxRSABits = 4096
)

// maxDER is far above the largest key: 4096 bits with three primes take 3 KiB.
const maxDER = 8 << 10

const wantPrivate = "one RSA or Ed25519 private key as PEM"

// parse reads the content of a key file. The fault says what is there instead of
// a key. Nothing of the content gets into it. data is cleared.
//
// Three forms are read: PKCS #8 (RFC 5958), which Generate and openssl genpkey
// write; PKCS #1 (RFC 8017 appendix A.1.2), from opendkim-genkey, both also as base64 without BEGIN and END; and
// an Ed25519 seed as one line of base64, alone (dkimpy's dknewkey) or followed by the public key (rspamadm dkim_keygen).
func parse(path string, data []byte) (*Private, *fault.Fault) {
	defer clear(data)
	content := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if len(content) == 0 {
		return nil, otherType(path, "an empty file")
	}
	marks := bytes.Count(content, []byte("-----BEGIN "))
	if marks == 0 {
		return parseBare(path, content)
	}
	var blocks []*pem.Block
	defer func() {
		for _, b := range blocks {
			clear(b.Bytes)
		}
	}()
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks = append(blocks, block)
	}
	switch {
	case len(blocks) < marks:
		return nil, &fault.Fault{
			Path: path, Got: "damaged PEM: a BEGIN line without its END line, or no base64 between them", Want: wantPrivate,
			Hint: "copy the whole file anew, or make a new key",
		}
	case len(blocks) == 2 && blocks[0].Type == "EC PARAMETERS":
		return parseBlock(path, blocks[1])
	case len(blocks) > 1:
		return nil, &fault.Fault{Path: path, Got: several(blocks), Want: wantPrivate, Hint: "move all but the private key into another file"}
	}
	return parseBlock(path, blocks[0])
}

// several names the blocks of a file that has more than one.
func several(blocks []*pem.Block) string {
	var types []string
	for _, b := range blocks[:min(len(blocks), 4)] {
		types = append(types, strings.ToLower(b.Type))
	}
	if len(blocks) > len(types) {
		types = append(types, "...")
	}
	return strconv.Itoa(len(blocks)) + " PEM blocks (" + strings.Join(types, ", ") + ")"
}

// parseBlock reads one PEM block (RFC 7468).
func parseBlock(path string, block *pem.Block) (*Private, *fault.Fault) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		clearText := quote(path + ".new") // which never signs
		return nil, &fault.Fault{
			Path: path, Got: "an encrypted private key", Want: "a private key without passphrase",
			Hint: "openssl pkey -in " + quote(path) + " -out " + clearText + " && mv " + clearText + " " + quote(path),
		}
	}
	switch block.Type {
	case "PRIVATE KEY", "RSA PRIVATE KEY", "ED25519 PRIVATE KEY":
		return parseDER(path, block.Bytes)
	case "EC PRIVATE KEY":
		return nil, otherType(path, "an EC key")
	case "DSA PRIVATE KEY":
		return nil, otherType(path, "a DSA key")
	case "OPENSSH PRIVATE KEY":
		return nil, otherType(path, "an OpenSSH private key")
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return nil, &fault.Fault{Path: path, Got: "a public key", Want: wantPrivate, Hint: "the public key goes into DNS; its private one belongs here"}
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		return nil, otherType(path, "a certificate")
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return nil, otherType(path, "a certificate request")
	}
	return nil, otherType(path, "a PEM block of type "+safetext.Clip(block.Type, 40))
}

func otherType(path, got string) *fault.Fault {
	return &fault.Fault{Path: path, Got: got, Want: wantPrivate, Hint: notKey(path)}
}

// notKey is what to do about a file that never was a key to sign with.
func notKey(path string) string {
	return "move it away; dkimd key generate " + quote(filepath.Base(filepath.Dir(path))) + " makes a new key"
}

// parseDER tells the forms apart by what they contain, not by the label: some
// tools write PKCS #8 under the label of PKCS #1.
func parseDER(path string, der []byte) (*Private, *fault.Fault) {
	if len(der) > maxDER {
		return nil, &fault.Fault{Path: path, Got: "a private key of " + strconv.Itoa(len(der)) + " bytes", Want: wantPrivate, Hint: notKey(path)}
	}
	if len(der) == ed25519.SeedSize {
		return privateEd25519(ed25519.NewKeyFromSeed(der)), nil
	}
	// RFC 5958 section 2; attributes and a public key may follow.
	var outer struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return parseRSA(path, der)
	}
	defer clear(outer.Key)
	switch oid := outer.Algorithm.Algorithm.String(); oid {
	case "1.2.840.113549.1.1.1":
		return parseRSA(path, outer.Key)
	case "1.3.101.112": // RFC 8410 section 3
		var seed []byte
		rest, err := asn1.Unmarshal(outer.Key, &seed)
		defer clear(seed)
		if err != nil || len(rest) > 0 || len(seed) != ed25519.SeedSize {
			return nil, damaged(path, "Ed25519")
		}
		return privateEd25519(ed25519.NewKeyFromSeed(seed)), nil
	case "1.2.840.113549.1.1.10":
		return nil, otherType(path, "an RSA key for PSS signatures only, which DKIM does not use (RFC 6376 section 3.3)")
	case "1.2.840.10045.2.1":
		return nil, otherType(path, "an EC key")
	case "1.2.840.10040.4.1":
		return nil, otherType(path, "a DSA key")
	case "1.3.101.110", "1.3.101.111":
		return nil, otherType(path, "a key for key agreement (X25519 or X448)")
	case "1.3.101.113":
		return nil, otherType(path, "an Ed448 key")
	default:
		return nil, otherType(path, "a key of the unknown type "+safetext.Clip(oid, 40))
	}
}

// parseRSA reads an RSAPrivateKey (RFC 8017 appendix A.1.2). Its numbers are
// measured before anything is computed with them.
func parseRSA(path string, der []byte) (*Private, *fault.Fault) {
	var size struct {
		Version       int
		N, E, D, P, Q *big.Int
	}
	if rest, err := asn1.Unmarshal(der, &size); err != nil || len(rest) > 0 {
		return nil, damaged(path, "private")
	}
	bits := size.N.BitLen()
	if size.N.Sign() <= 0 || max(size.E.BitLen(), size.D.BitLen(), size.P.BitLen(), size.Q.BitLen()) > bits {
		return nil, damaged(path, "RSA")
	}
	if bits < MinRSABits || bits > MaxRSABits {
		return nil, &fault.Fault{
			Path: path, Got: "an RSA key of " + strconv.Itoa(bits) + " bits",
			Want: "1024 to 4096 bits (RFC 8301 section 3.2)", Hint: notKey(path),
		}
	}
	// Parsing validates the numbers and computes what makes signing fast.
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		return nil, damaged(path, "RSA")
	}
	return privateRSA(key), nil
}

func damaged(path, what string) *fault.Fault {
	return &fault.Fault{Path: path, Got: "a damaged " + what + " key", Want: wantPrivate, Hint: "openssl pkey -noout -check -in " + quote(path)}
}

// parseBare reads what has no BEGIN line.
func parseBare(path string, content []byte) (*Private, *fault.Fault) {
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(content)))
	defer clear(raw)
	if n, err := base64.StdEncoding.Decode(raw, content); err == nil {
		switch n {
		case ed25519.SeedSize:
			return privateEd25519(ed25519.NewKeyFromSeed(raw[:n])), nil
		case ed25519.PrivateKeySize:
			key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
			if !bytes.Equal(key, raw[:n]) {
				return nil, &fault.Fault{Path: path, Got: "an Ed25519 key whose two halves do not belong together", Want: wantPrivate, Hint: notKey(path)}
			}
			return privateEd25519(key), nil
		}
		if n > 0 && raw[0] == 0x30 { // a SEQUENCE
			return parseDER(path, raw[:n])
		}
	}
	if content[0] == 0x30 && len(content) > 1 && content[1] >= 0x80 || content[0] == 0x30 && bytes.IndexByte(content, 0) >= 0 {
		pemFile := quote(path + ".new")
		return nil, &fault.Fault{
			Path: path, Got: "something binary, perhaps DER", Want: wantPrivate,
			Hint: "openssl pkey -inform DER -in " + quote(path) + " -out " + pemFile + " && mv " + pemFile + " " + quote(path),
		}
	}
	if bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff")) {
		return nil, &fault.Fault{Path: path, Got: "UTF-16 text", Want: wantPrivate, Hint: "convert the file: iconv -f utf-16 -t utf-8"}
	}
	return nil, otherType(path, "no PEM block")
}
