package dkim_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	oracle "github.com/emersion/go-msgauth/dkim"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

// python is Debian's: that is where python3-dkim is, whatever else is in the PATH.
const python = "/usr/bin/python3"

// run feeds a foreign program and is its output; without the program the test
// is skipped, and in CI fails.
func run(t *testing.T, input string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		if os.Getenv("DKIMD_REQUIRE_ALL") != "" {
			t.Fatalf("%s is required: %v", args[0], err)
		}
		t.Skipf("%s cannot be run: %v", args[0], err)
	}
	return string(out)
}

// randomBodies are made of what canonicalization looks at, each with a final
// line end: what a body without one means is where the oracles differ.
func randomBodies(count int, pieces ...string) [][]byte {
	random := mathrand.New(mathrand.NewPCG(7, 8))
	bodies := make([][]byte, 0, count)
	for range count {
		var body []byte
		for range random.IntN(40) {
			body = append(body, pieces[random.IntN(len(pieces))]...)
		}
		bodies = append(bodies, append(body, "\r\n"...))
	}
	return bodies
}

// TestBodyIsThatOfDkimpy, bare CR and LF and all.
func TestBodyIsThatOfDkimpy(t *testing.T) {
	t.Parallel()
	const script = `
import sys, base64, hashlib
from dkim.canonicalization import Simple, Relaxed
for line in sys.stdin:
    body = base64.b64decode(line)
    print(*[hashlib.sha256(c.canonicalize_body(body)).hexdigest() for c in (Simple, Relaxed)])
`
	bodies := randomBodies(2000, "\r", "\n", "\r\n", " ", "\t", "  ", "a", "word ", "\x00", "\xa0", "\r\r\n")
	var input strings.Builder
	for _, body := range bodies {
		input.WriteString(base64.StdEncoding.EncodeToString(body) + "\n")
	}
	lines := strings.Split(run(t, input.String(), python, "-c", script), "\n")
	for i, body := range bodies {
		simple, _ := bodyHash(dkim.Simple, -1, body)
		relaxed, _ := bodyHash(dkim.Relaxed, -1, body)
		if got := hex.EncodeToString(simple[:]) + " " + hex.EncodeToString(relaxed[:]); got != lines[i] {
			t.Errorf("%q: %s, dkimpy %s", body, got, lines[i])
		}
	}
}

// TestFieldIsThatOfDkimpy: dkimpy also strips VT, FF and CR at the ends of a
// value, so there are none here; see TestAppendField.
func TestFieldIsThatOfDkimpy(t *testing.T) {
	t.Parallel()
	const script = `
import sys, base64
from dkim.canonicalization import Relaxed
for line in sys.stdin:
    value = base64.b64decode(line)
    (name, value), = Relaxed.canonicalize_headers([(b"X-Name \t", value)])
    print(base64.b64encode(name + b":" + value).decode())
`
	bodies := randomBodies(2000, "\r\n ", "\r\n\t", " ", "\t", "a", "B ", "\u00a0", "\xff", ":", "\x01")
	var input strings.Builder
	for i, value := range bodies {
		bodies[i] = bytes.TrimSuffix(value, []byte("\r\n"))
		input.WriteString(base64.StdEncoding.EncodeToString(bodies[i]) + "\n")
	}
	lines := strings.Split(run(t, input.String(), python, "-c", script), "\n")
	for i, value := range bodies {
		got := dkim.Relaxed.AppendField(nil, message.NewField("X-Name \t", string(value)))
		if base64.StdEncoding.EncodeToString(got) != lines[i] {
			want, _ := base64.StdEncoding.DecodeString(lines[i])
			t.Errorf("%q: %q, dkimpy %q", value, got, want)
		}
	}
}

// TestBodyIsThatOfGoMsgauth on CRLF line ends: it makes CRLF of bare LF, and
// a bare CR puts it off (B10 in the notes on it).
func TestBodyIsThatOfGoMsgauth(t *testing.T) {
	t.Parallel()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range randomBodies(500, "\r\n", " ", "\t", "  ", "a", "word ", "\x00", "\xa0") {
		c := []dkim.Canonicalization{dkim.Simple, dkim.Relaxed}[i%2]
		var out bytes.Buffer
		err := oracle.Sign(&out, strings.NewReader("From: a@example.org\r\n\r\n"+string(body)), &oracle.SignOptions{
			Domain: "example.org", Selector: "s", Signer: private, BodyCanonicalization: oracle.Canonicalization(c.String()), HeaderKeys: []string{"From"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if sum, _ := bodyHash(c, -1, body); !bytes.Equal(sum[:], theirHash(t, out.Bytes())) {
			t.Errorf("%v of %q differs", c, body)
		}
	}
}

// theirHash is bh= of the signature on top of a message.
func theirHash(t *testing.T, raw []byte) []byte {
	t.Helper()
	h, _ := split(raw)
	s, err := dkim.ParseSignature(h.Fields()[0])
	if err != nil || len(s.BodyHash) != sha256.Size {
		t.Fatalf("%v in %s", err, raw)
	}
	return s.BodyHash
}
