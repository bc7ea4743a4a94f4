package keys_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"dkimd/keys"
)

// pkcs8 wraps key bytes with an algorithm's object identifier.
func pkcs8(oid asn1.ObjectIdentifier, key []byte) []byte {
	return must(asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: oid}, key}))
}

const (
	keyWant  = "want one RSA or Ed25519 private key as PEM"
	moveAway = " (hint: move it away; dkimd key generate example.org makes a new key)"
)

// Each case breaks one thing in a directory whose example.org has two keys, s1 and s2.
func TestFaults(t *testing.T) {
	t.Parallel()
	root := func(w *world) {
		if os.Geteuid() != 0 {
			w.t.Skip("only root can give files away")
		}
	}
	s1 := func(content string) func(*world) {
		return func(w *world) { w.write("example.org/s1.pem", content) }
	}
	mode := func(name string, mode uint32) func(*world) {
		return func(w *world) { w.check(syscall.Chmod(w.path(name), mode)) }
	}
	toml := func(content string) func(*world) {
		return func(w *world) { w.write("example.org/domain.toml", content) }
	}
	publicDER := must(x509.MarshalPKIXPublicKey(&rsaKey().PublicKey))
	pkcs1 := x509.MarshalPKCS1PrivateKey(rsaKey())
	check := " (hint: openssl pkey -noout -check -in DIR/example.org/s1.pem)"
	broken := func() []byte { // one of the primes is off by two
		k := *rsaKey()
		k.Primes = []*big.Int{new(big.Int).Add(k.Primes[0], big.NewInt(2)), k.Primes[1]}
		return must(asn1.Marshal(struct {
			Version               int
			N                     *big.Int
			E                     int
			D, P, Q, DP, DQ, QInv *big.Int
		}{0, k.N, k.E, k.D, k.Primes[0], k.Primes[1], k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv}))
	}
	const (
		usable = "s1 s2" // of example.org
		one    = "s2"
		none   = ""
	)
	tests := map[string]struct {
		spoil func(*world)
		want  string // all faults
		signs string // selectors that sign
	}{
		"nothing broken": {func(*world) {}, "", usable},

		// Permissions.
		"mode 0600": {mode("example.org/s1.pem", 0o600), "", usable},
		"mode 0400": {mode("example.org/s1.pem", 0o400), "", usable},
		"mode 0440": {mode("example.org/s1.pem", 0o440), "", usable},
		"mode 0750": {mode("example.org/s1.pem", 0o750), "", usable},
		"others read": {
			mode("example.org/s1.pem", 0o644),
			"example.org/s1.pem: got mode 0644, with which everybody can read the key; want a key file that others cannot read and only its owner can write (hint: chmod 0640 DIR/example.org/s1.pem)", one,
		},
		"others write": {
			mode("example.org/s1.pem", 0o602),
			"example.org/s1.pem: got mode 0602, with which everybody can write the key; want a key file that others cannot read and only its owner can write (hint: chmod 0640 DIR/example.org/s1.pem)", one,
		},
		"group writes": {
			mode("example.org/s1.pem", 0o660),
			"example.org/s1.pem: got mode 0660, with which the group can write the key; want a key file that others cannot read and only its owner can write (hint: chmod 0640 DIR/example.org/s1.pem)", one,
		},
		"a link to a directory": {
			func(w *world) {
				w.check(os.Rename(w.path("example.org"), w.path("example.com")))
				w.check(os.Mkdir(w.path(".elsewhere"), 0o750))
				w.check(os.Rename(w.path("example.com"), w.path(".elsewhere/example.com")))
				w.check(os.Symlink(w.path(".elsewhere/example.com"), w.path("example.org")))
				w.check(os.Chmod(w.path(".elsewhere/example.com"), 0o777))
			},
			"example.org: got mode 0777, with which everybody can exchange the keys in it; want a directory only its owner can write (hint: chmod go-w DIR/example.org)", usable,
		},
		"the group writes in the directory": {
			mode("example.org", 0o770),
			"example.org: got mode 0770, with which the group can exchange the keys in it; want a directory only its owner can write (hint: chmod go-w DIR/example.org)", usable,
		},
		"everybody writes in the directory of all": {
			mode(".", 0o777),
			"DIR: got mode 0777, with which everybody can exchange the keys in it; want a directory only its owner can write (hint: chmod go-w DIR)", usable,
		},
		"a sticky directory, as Kubernetes mounts them": {mode("example.org", 0o1777), "", usable},
		"another user's key": {
			func(w *world) {
				root(w)
				w.check(os.Chown(w.path("example.org/s1.pem"), 4711, 4711))
			},
			"example.org/s1.pem: got owner 4711; want root as the owner (hint: chown root:root DIR/example.org/s1.pem && chmod 0640 DIR/example.org/s1.pem)", one,
		},
		"another user's key that everybody reads": {
			func(w *world) {
				root(w)
				w.check(os.Chown(w.path("example.org/s1.pem"), 4711, 4711))
				w.check(os.Chmod(w.path("example.org/s1.pem"), 0o644))
			},
			"example.org/s1.pem: got mode 0644, with which everybody can read the key; want a key file that others cannot read and only its owner can write (hint: chown root:root DIR/example.org/s1.pem && chmod 0640 DIR/example.org/s1.pem)", one,
		},
		"another user's directory": {
			func(w *world) {
				root(w)
				w.check(os.Chown(w.path("example.org"), 4711, 4711))
			},
			"example.org: got owner 4711; want root as the owner (hint: chown root:root DIR/example.org)", none,
		},
		"all in the hands of the daemon's user": {
			func(w *world) {
				root(w)
				for _, name := range []string{".", "example.org", "example.org/s1.pem", "example.org/s2.pem"} {
					w.check(os.Chown(w.path(name), 4711, 4711))
				}
			}, "", usable,
		},

		// Files that are none.
		"a link to a good key": {
			func(w *world) {
				w.check(os.Rename(w.path("example.org/s1.pem"), w.path("elsewhere")))
				w.check(os.Symlink("../elsewhere", w.path("example.org/s1.pem")))
			}, "", usable,
		},
		"a link to a bad file": {
			func(w *world) {
				w.check(os.Rename(w.path("example.org/s1.pem"), w.path("elsewhere")))
				w.check(os.Symlink("../elsewhere", w.path("example.org/s1.pem")))
				w.check(os.Chmod(w.path("elsewhere"), 0o666))
			},
			"example.org/s1.pem: got mode 0666, with which everybody can write the key; want a key file that others cannot read and only its owner can write (hint: chmod 0640 DIR/example.org/s1.pem)", one,
		},
		"a link to nowhere": {
			func(w *world) {
				w.check(os.Remove(w.path("example.org/s1.pem")))
				w.check(os.Symlink("nowhere", w.path("example.org/s1.pem")))
			},
			"example.org/s1.pem: got a link that leads nowhere; want a file (hint: rm DIR/example.org/s1.pem)", one,
		},
		"a link to itself": {
			func(w *world) {
				w.check(os.Remove(w.path("example.org/s1.pem")))
				w.check(os.Symlink("s1.pem", w.path("example.org/s1.pem")))
			},
			"example.org/s1.pem: got a link that leads in a circle; want a file (hint: rm DIR/example.org/s1.pem)", one,
		},
		"a pipe": {
			func(w *world) {
				w.check(os.Remove(w.path("example.org/s1.pem")))
				w.check(syscall.Mkfifo(w.path("example.org/s1.pem"), 0o600))
			},
			"example.org/s1.pem: got a named pipe; want a key file (hint: move it away; dkimd key generate example.org makes a new key)", one,
		},
		"a directory": {
			func(w *world) {
				w.check(os.Remove(w.path("example.org/s1.pem")))
				w.check(os.Mkdir(w.path("example.org/s1.pem"), 0o700))
			},
			"example.org/s1.pem: got a directory; want a key file (hint: move it away; dkimd key generate example.org makes a new key)", one,
		},
		"a device": {
			func(w *world) {
				w.check(os.Remove(w.path("example.org/s1.pem")))
				w.check(os.Symlink("/dev/zero", w.path("example.org/s1.pem")))
			},
			"example.org/s1.pem: got a device; want a key file (hint: move it away; dkimd key generate example.org makes a new key)", one,
		},

		// Content.
		"empty":      {s1(""), "example.org/s1.pem: got an empty file; " + keyWant + moveAway, one},
		"only blank": {s1("\n \n"), "example.org/s1.pem: got an empty file; " + keyWant + moveAway, one},
		"too large":  {s1(rsaPEM() + strings.Repeat("#", 64<<10)), "example.org/s1.pem: got more than 64 KiB; want a file of at most 64 KiB (hint: is this the file you mean?)", one},
		"no PEM":     {s1("hello"), "example.org/s1.pem: got no PEM block; " + keyWant + moveAway, one},
		"DER": {
			s1(string(pkcs1)),
			"example.org/s1.pem: got something binary, perhaps DER; " + keyWant + " (hint: openssl pkey -inform DER -in DIR/example.org/s1.pem -out DIR/example.org/s1.pem.new && mv DIR/example.org/s1.pem.new DIR/example.org/s1.pem)", one,
		},
		"no END line":       {s1(rsaPEM()[:800]), "example.org/s1.pem: got damaged PEM: a BEGIN line without its END line, or no base64 between them; " + keyWant + " (hint: copy the whole file anew, or make a new key)", one},
		"no base64":         {s1("-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n"), "example.org/s1.pem: got damaged PEM: a BEGIN line without its END line, or no base64 between them; " + keyWant + " (hint: copy the whole file anew, or make a new key)", one},
		"two keys":          {s1(rsaPEM() + rfc8463PEM), "example.org/s1.pem: got 2 PEM blocks (private key, private key); " + keyWant + " (hint: move all but the private key into another file)", one},
		"a certificate too": {s1(rsaPEM() + pemOf("CERTIFICATE", pkcs1)), "example.org/s1.pem: got 2 PEM blocks (private key, certificate); " + keyWant + " (hint: move all but the private key into another file)", one},
		"five blocks":       {s1(strings.Repeat(rfc8463PEM, 5)), "example.org/s1.pem: got 5 PEM blocks (private key, private key, private key, private key, ...); " + keyWant + " (hint: move all but the private key into another file)", one},
		"a public key":      {s1(pemOf("PUBLIC KEY", publicDER)), "example.org/s1.pem: got a public key; " + keyWant + " (hint: the public key goes into DNS; its private one belongs here)", one},
		"an RSA public key": {s1(pemOf("RSA PUBLIC KEY", publicDER)), "example.org/s1.pem: got a public key; " + keyWant + " (hint: the public key goes into DNS; its private one belongs here)", one},
		"a certificate":     {s1(pemOf("CERTIFICATE", publicDER)), "example.org/s1.pem: got a certificate; " + keyWant + moveAway, one},
		"a request":         {s1(pemOf("CERTIFICATE REQUEST", publicDER)), "example.org/s1.pem: got a certificate request; " + keyWant + moveAway, one},
		"an OpenSSH key":    {s1(pemOf("OPENSSH PRIVATE KEY", publicDER)), "example.org/s1.pem: got an OpenSSH private key; " + keyWant + moveAway, one},
		"something else":    {s1(pemOf("PGP MESSAGE", publicDER)), "example.org/s1.pem: got a PEM block of type PGP MESSAGE; " + keyWant + moveAway, one},
		"encrypted PKCS 8": {
			s1(pemOf("ENCRYPTED PRIVATE KEY", pkcs1)),
			"example.org/s1.pem: got an encrypted private key; want a private key without passphrase (hint: openssl pkey -in DIR/example.org/s1.pem -out DIR/example.org/s1.pem.new && mv DIR/example.org/s1.pem.new DIR/example.org/s1.pem)", one,
		},
		"encrypted PKCS 1": {
			s1("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"),
			"example.org/s1.pem: got an encrypted private key; want a private key without passphrase (hint: openssl pkey -in DIR/example.org/s1.pem -out DIR/example.org/s1.pem.new && mv DIR/example.org/s1.pem.new DIR/example.org/s1.pem)", one,
		},
		"an EC key": {s1(pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey())))), "example.org/s1.pem: got an EC key; " + keyWant + moveAway, one},
		"an EC key as openssl ecparam writes it": {
			s1(pemOf("EC PARAMETERS", []byte{6, 0}) + pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey())))),
			"example.org/s1.pem: got an EC key; " + keyWant + moveAway, one,
		},
		"an EC key as PKCS 8": {s1(pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ecKey())))), "example.org/s1.pem: got an EC key; " + keyWant + moveAway, one},
		"a DSA key":           {s1(pemOf("DSA PRIVATE KEY", pkcs1)), "example.org/s1.pem: got a DSA key; " + keyWant + moveAway, one},
		"a DSA key as PKCS 8": {s1(pemOf("PRIVATE KEY", pkcs8(asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}, nil))), "example.org/s1.pem: got a DSA key; " + keyWant + moveAway, one},
		"an RSA-PSS key": {
			s1(pemOf("PRIVATE KEY", pkcs8(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, pkcs1))),
			"example.org/s1.pem: got an RSA key for PSS signatures only, which DKIM does not use (RFC 6376 section 3.3); " + keyWant + moveAway, one,
		},
		"an X25519 key":   {s1(pemOf("PRIVATE KEY", pkcs8(asn1.ObjectIdentifier{1, 3, 101, 110}, nil))), "example.org/s1.pem: got a key for key agreement (X25519 or X448); " + keyWant + moveAway, one},
		"an Ed448 key":    {s1(pemOf("PRIVATE KEY", pkcs8(asn1.ObjectIdentifier{1, 3, 101, 113}, nil))), "example.org/s1.pem: got an Ed448 key; " + keyWant + moveAway, one},
		"an unknown key":  {s1(pemOf("PRIVATE KEY", pkcs8(asn1.ObjectIdentifier{1, 2, 3}, nil))), "example.org/s1.pem: got a key of the unknown type 1.2.3; " + keyWant + moveAway, one},
		"a short Ed25519": {s1(pemOf("PRIVATE KEY", pkcs8(asn1.ObjectIdentifier{1, 3, 101, 112}, []byte{4, 1, 0}))), "example.org/s1.pem: got a damaged Ed25519 key; " + keyWant + check, one},
		"wrong halves": {
			s1(base64.StdEncoding.EncodeToString(append(make([]byte, 32), seedKey()[32:]...))),
			"example.org/s1.pem: got an Ed25519 key whose two halves do not belong together; " + keyWant + moveAway, one,
		},
		"RSA of 512 bits":                  {s1(pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(fakeRSA(512)))), "example.org/s1.pem: got an RSA key of 512 bits; want 1024 to 4096 bits (RFC 8301 section 3.2) (hint: move it away; dkimd key generate example.org makes a new key)", one},
		"RSA of 1023 bits":                 {s1(pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(fakeRSA(1023)))), "example.org/s1.pem: got an RSA key of 1023 bits; want 1024 to 4096 bits (RFC 8301 section 3.2) (hint: move it away; dkimd key generate example.org makes a new key)", one},
		"RSA of 8192 bits":                 {s1(pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(fakeRSA(8192)))), "example.org/s1.pem: got an RSA key of 8192 bits; want 1024 to 4096 bits (RFC 8301 section 3.2) (hint: move it away; dkimd key generate example.org makes a new key)", one},
		"RSA with numbers that do not fit": {s1(pemOf("RSA PRIVATE KEY", broken())), "example.org/s1.pem: got a damaged RSA key; " + keyWant + check, one},
		"RSA cut off":                      {s1(pemOf("RSA PRIVATE KEY", pkcs1[:600])), "example.org/s1.pem: got a damaged private key; " + keyWant + check, one},
		"RSA with bytes after it":          {s1(pemOf("RSA PRIVATE KEY", append(slices.Clip(pkcs1), 0))), "example.org/s1.pem: got a damaged private key; " + keyWant + check, one},
		"a very long key":                  {s1(pemOf("PRIVATE KEY", make([]byte, 10000))), "example.org/s1.pem: got a private key of 10000 bytes; " + keyWant + moveAway, one},

		// Names.
		"two files for a selector": {
			func(w *world) { w.write("example.org/S1.pem", rsaPEM()) },
			"example.org/S1.pem: got a second key for selector s1; want one file a selector (hint: mv DIR/example.org/S1.pem DIR/example.org/S1.pem.old)", usable,
		},
		"no selector": {
			func(w *world) { w.write("example.org/a b.pem", rsaPEM()) },
			"example.org/a b.pem: got a file whose name is not a selector: it has a character that no domain has; want SELECTOR.pem, with letters, digits, hyphens and dots in SELECTOR (hint: rename it to the selector that its record in DNS has)", usable,
		},
		"a selector too long for DNS": {
			func(w *world) { w.write("example.org/"+strings.Repeat("a123456.", 29)+"b.pem", rsaPEM()) },
			"example.org/" + strings.Repeat("a123456.", 29) + "b.pem: got a file whose name is not a selector: with the domain it is too long for a DNS name; want SELECTOR.pem, with letters, digits, hyphens and dots in SELECTOR (hint: rename it to the selector that its record in DNS has)", usable,
		},
		"a domain of one label": {
			func(w *world) { w.write("localhost/s1.pem", rsaPEM()) },
			"localhost: got a directory whose name cannot sign: it has one label only, and verifiers reject signatures of such a domain (RFC 6376 section 3.5); want a directory named after the domain (hint: rename or remove it)", usable,
		},
		"a public suffix": {
			func(w *world) { w.write("co.uk/s1.pem", rsaPEM()) },
			"co.uk: got a directory whose name cannot sign: it is a public suffix, and verifiers reject signatures of such a domain; want a directory named after the domain (hint: rename or remove it)", usable,
		},
		"no domain": {
			func(w *world) { w.write("example..com/s1.pem", rsaPEM()) },
			"example..com: got a directory whose name cannot sign: it has an empty label; want a directory named after the domain (hint: rename or remove it)", usable,
		},
		"forged lines in a name": {
			func(w *world) { w.write("a\nb\x1b[2J/s1.pem", rsaPEM()) },
			`a\nb\x1b[2J: got a directory whose name cannot sign: it has a character that no domain has; want a directory named after the domain (hint: rename or remove it)`, usable,
		},
		"two directories": {
			func(w *world) { w.write("Example.ORG/s9.pem", rsaPEM()) },
			"Example.ORG: got a second directory for example.org; want one directory a domain (hint: mv -n DIR/Example.ORG/* DIR/example.org/ && rmdir DIR/Example.ORG)", usable,
		},
		"a key outside": {
			func(w *world) { w.write("s1.pem", rsaPEM()) },
			"s1.pem: got a key that belongs to no domain; want it in a directory named after the domain (hint: mkdir -m 0750 DIR/DOMAIN && mv DIR/s1.pem DIR/DOMAIN/s1.pem)", usable,
		},
		"a key of opendkim-genkey": {
			func(w *world) { w.write("example.com/mail.private", rsaPEM()) },
			"example.com/mail.private: got a file that does not sign because of its name; want SELECTOR.pem (hint: mv -n DIR/example.com/mail.private DIR/example.com/mail.pem)", usable,
		},
		"what nobody means as keys": {
			func(w *world) {
				for _, name := range []string{
					"README", ".git/s1.pem", "..data/s1.pem", "example.com~/s1.pem", "lost+found/x",
					"example.org/.s3.pem", "example.org/s3.pem~", "example.org/s3.pem.bak", "example.org/s3.pem.old", "example.org/s3.txt", "example.org/s3.pem.new",
				} {
					w.write(name, "nothing")
				}
			}, "", usable,
		},

		// domain.toml.
		"a good domain.toml": {
			toml("subdomains = true\nidentity = \"news@lists.example.org\"\nexpiry = \"7d\"\nheaders = [\"From\", \"List-*\"]\nselectors = [\"s1\", \"S2\"]\nusers = [\"alice@example.net\"]\n"),
			"", usable,
		},
		"an empty domain.toml": {toml(""), "", usable},
		"selected":             {toml(`selectors = "s2"`), "", one},
		"selected is absent":   {toml("\nselectors = [\"s2\", \"s3\"]"), `example.org/domain.toml:2: selectors[2]: got "s3"; want the selector of a key in this directory (hint: dkimd key generate example.org --selector s3)`, one},
		"only absent ones":     {toml("selectors = [\"s3\"]"), `example.org/domain.toml:1: selectors[1]: got "s3"; want the selector of a key in this directory (hint: dkimd key generate example.org --selector s3)`, none},
		"expiry in parts":      {toml(`expiry = "100ms"`), `example.org/domain.toml:1: expiry: got "100ms"; want whole seconds (hint: x= counts no less (RFC 6376 section 3.5))`, none},
		"a field twice":        {toml("headers = [\"From\",\n\"from\"]"), `example.org/domain.toml:2: headers[2]: got "from"; want each field once (hint: remove one of the two)`, none},
		"a field of the way":   {toml(`headers = ["From", "Return-*"]`), `example.org/domain.toml:1: headers[2]: got "Return-*"; want fields that reach the recipient as they were signed (hint: Return-Path is replaced at delivery; remove "Return-*")`, none},
		"selected is not active": {func(w *world) {
			w.write("example.org/s3.pem.new", rsaPEM())
			w.write("example.org/domain.toml", "selectors = [\"s2\", \"s3\"]")
		}, `example.org/domain.toml:1: selectors[2]: got "s3"; want the selector of a key in this directory (hint: dkimd key activate example.org s3)`, one},
		"no selectors":            {toml("selectors = []"), "example.org/domain.toml:1: selectors: got []; want at least one selector (hint: leave selectors out and every key signs)", none},
		"a selector that is none": {toml("selectors = [\"s 1\"]"), `example.org/domain.toml:1: selectors[1]: got "s 1"; want a selector (hint: it has a character that no domain has)`, none},
		"an identity elsewhere":   {toml("identity = \"@example.com\""), `example.org/domain.toml:1: identity: got "@example.com"; want "@example.org", or an address or domain below it (hint: i= has to lie within d= (RFC 6376 section 3.5))`, none},
		"an identity without @":   {toml("identity = \"example.org\""), `example.org/domain.toml:1: identity: got "example.org"; want "@example.org", or an address or domain below it (hint: write "@example.org")`, none},
		"an odd local part":       {toml("identity = \"a b@example.org\""), `example.org/domain.toml:1: identity: got "a b@example.org"; want "@example.org", or an address or domain below it (hint: a local part of printable ASCII without spaces)`, none},
		"a long local part": {
			toml("identity = \"" + strings.Repeat("x", 65) + "@example.org\""),
			`example.org/domain.toml:1: identity: got "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." (77 bytes); want at most 64 octets before the @ (hint: no mail address has more (RFC 5321 section 4.5.3.1.1))`, none,
		},
		"a long field name": {
			toml("headers = [\"From\", \"" + strings.Repeat("x", 101) + "\"]"),
			`example.org/domain.toml:1: headers[2]: got "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." (101 bytes); want the name of a header field, or the beginning of names and * (hint: such as "Subject" or "List-*")`, none,
		},
		"the longest field name": {toml("headers = [\"From\", \"" + strings.Repeat("x", 100) + "\"]"), "", usable},
		"the longest local part": {toml("identity = \"" + strings.Repeat("x", 64) + "@example.org\""), "", usable},
		"no From in headers":     {toml("headers = [\"Subject\"]"), `example.org/domain.toml:1: headers: got ["Subject"]; want a list with From in it (hint: From must be signed (RFC 6376 section 5.4))`, none},
		"no field name": {toml("headers = [\"From\", \"a b\", \"*\"]"), `example.org/domain.toml:1: headers[2]: got "a b"; want the name of a header field, or the beginning of names and * (hint: such as "Subject" or "List-*")` + "\n" +
			`example.org/domain.toml:1: headers[3]: got "*"; want the name of a header field, or the beginning of names and * (hint: such as "Subject" or "List-*")`, none},
		"an empty login":    {toml("users = [\"\"]"), `example.org/domain.toml:1: users[1]: got ""; want a login`, none},
		"a wrong expiry":    {toml("expiry = \"soon\""), `example.org/domain.toml:1: expiry: got "soon"; want a duration from 0 to 3650d (hint: write a number with its unit: "30s", "5m", "12h", "7d")`, none},
		"an unknown option": {toml("subdomain = true"), "example.org/domain.toml:1: subdomain: got an unknown key; want a known one (hint: did you mean subdomains?)", none},
		"domain.toml is open": {func(w *world) {
			toml("")(w)
			mode("example.org/domain.toml", 0o664)(w)
		}, "example.org/domain.toml: got mode 0664, with which others than its owner can write it; want a file only its owner can write (hint: chmod go-w DIR/example.org/domain.toml)", none},
		"domain.toml may be read": {func(w *world) {
			toml("")(w)
			mode("example.org/domain.toml", 0o644)(w)
		}, "", usable},
		"domain.toml is another user's": {func(w *world) {
			root(w)
			toml("")(w)
			w.check(os.Chown(w.path("example.org/domain.toml"), 4711, 4711))
		}, "example.org/domain.toml: got owner 4711; want root as the owner (hint: chown root:root DIR/example.org/domain.toml && chmod 0640 DIR/example.org/domain.toml)", none},
		"domain.toml is a pipe": {func(w *world) {
			w.check(syscall.Mkfifo(w.path("example.org/domain.toml"), 0o600))
		}, "example.org/domain.toml: got a named pipe; want a TOML file (hint: move it away)", none},
		"domain.toml is large": {toml(strings.Repeat("#", 70<<10)), "example.org/domain.toml: got more than 64 KiB; want a file of at most 64 KiB (hint: is this the file you mean?)", none},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("example.org/s1.pem", rsaPEM())
			w.write("example.org/s2.pem", rfc8463PEM)
			test.spoil(w)
			s, faults := w.open()
			want := strings.ReplaceAll(test.want, "DIR/", "")
			if got := w.texts(faults); got != want {
				t.Errorf("faults:\n%s\nwant:\n%s", got, want)
			}
			d := lookup(s, "example.org")
			if d == nil {
				t.Fatal("example.org is not found: a faulty domain's mail is still ours to sign")
			}
			if got := signing(t, d); got != test.signs {
				t.Errorf("signing: %q, want %q", got, test.signs)
			}
			if d.Usable() != (test.signs != "") {
				t.Errorf("Usable: %v", d.Usable())
			}
		})
	}
}

// signing is the selectors whose keys load.
func signing(t *testing.T, d *keys.Domain) string {
	t.Helper()
	var good []string
	for _, k := range d.Keys {
		if _, err := k.Load(within(t)); err == nil {
			good = append(good, k.Selector)
		}
	}
	return strings.Join(good, " ")
}

func TestFaultsAboveTheDomains(t *testing.T) {
	t.Parallel()
	file := newWorld(t).write("file", "")
	if s, faults := keys.Open(keys.Config{Directory: file}); len(faults) != 1 || faults[0].Error() != file+": got a file; want the directory of the keys (hint: move it away)" {
		t.Errorf("a file as the directory: %v", faults)
	} else if d := lookup(s, "example.org"); d == nil || d.Usable() || len(s.Domains()) != 0 {
		t.Errorf("%v signs; want nobody, and no mail to go out unsigned", d)
	}
	for name, directory := range map[string]string{"no directory": "", "an absent directory": file + "-absent"} {
		if s, faults := keys.Open(keys.Config{Directory: directory}); len(faults) != 0 || len(s.Domains()) != 0 {
			t.Errorf("%s: %v", name, faults)
		}
	}
}
