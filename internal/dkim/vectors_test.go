package dkim_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

var (
	errBodyHash  = errors.New("body hash differs")
	errSignature = errors.New("signature does not match")
)

// split reads a message with CRLF line ends.
func split(raw []byte) (*message.Header, []byte) {
	h := &message.Header{}
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	var name, value string
	for line := range strings.SplitSeq(string(head), "\r\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			value += "\r\n" + line
			continue
		}
		if name != "" {
			h.Add(name, value)
		}
		name, value, _ = strings.Cut(line, ":")
	}
	if name != "" {
		h.Add(name, value)
	}
	return h, body
}

func headerOf(fields ...string) *message.Header {
	h := &message.Header{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		h.Add(name, value)
	}
	return h
}

// check verifies one signature with the pieces of this package, as the verifier does.
func check(h *message.Header, body []byte, f message.Field, record string) error {
	s, err := dkim.ParseSignature(f)
	if err != nil {
		return err
	}
	k, err := dkim.ParseKeyRecord(record)
	if err != nil {
		return err
	}
	b := dkim.NewBodyHash(s.BodyCanon, s.BodyLength)
	_, _ = b.Write(body)
	if sum := b.Sum(); !bytes.Equal(sum[:], s.BodyHash) {
		return errBodyHash
	}
	sum := s.HeaderHash(h)
	switch key := k.PublicKey.(type) {
	case *rsa.PublicKey:
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], s.Value) != nil {
			return errSignature
		}
	case ed25519.PublicKey:
		if !ed25519.Verify(key, sum[:], s.Value) {
			return errSignature
		}
	}
	return nil
}

// TestVectors verifies the messages of RFC 6376 appendix A and RFC 8463
// appendix A, and finds every changed byte of what they sign.
func TestVectors(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(names) == 0 {
		t.Fatal("no messages in testdata", err)
	}
	records, _ := filepath.Glob("testdata/*.dns")
	if len(records) != len(names) {
		t.Fatalf("%d messages and %d zones in testdata", len(names), len(records))
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			raw = bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
			zone := readZone(t, strings.TrimSuffix(name, ".eml")+".dns")
			h, body := split(raw)
			fields := h.All(dkim.SignatureField)
			if len(fields) == 0 {
				t.Fatal("no signature")
			}
			for _, f := range fields {
				s, _ := dkim.ParseSignature(f)
				record := zone[s.Selector+"._domainkey."+string(s.Domain)]
				if err := check(h, body, f, record); err != nil {
					t.Errorf("%s: %v", s.Algorithm, err)
				}
				changed := bytes.Clone(body)
				changed[0] ^= 1
				if err := check(h, changed, f, record); !errors.Is(err, errBodyHash) {
					t.Errorf("%s: changed body: %v", s.Algorithm, err)
				}
				from := h.All("From")[0].Raw()
				from[len(from)-1] ^= 1
				if err := check(h, body, f, record); !errors.Is(err, errSignature) {
					t.Errorf("%s: changed From: %v", s.Algorithm, err)
				}
				from[len(from)-1] ^= 1
			}
		})
	}
}

func readZone(t *testing.T, name string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	zone := map[string]string{}
	for line := range strings.Lines(string(data)) {
		owner, record, _ := strings.Cut(strings.TrimSpace(line), " ")
		zone[owner] = record
	}
	return zone
}

func TestHeaderHasherIsHeaderHash(t *testing.T) {
	t.Parallel()
	h := headerOf("From: a@example.org", "Subject: one", "subject:  two\r\n three", "X: "+strings.Repeat("long ", 2000))
	names := []string{"from", "Subject", "X", "subject", "subject", "To"}
	for _, c := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
		shared := dkim.NewHeaderHasher(h, names, c)
		for i := range 3 {
			f := message.NewField(dkim.SignatureField, fmt.Sprintf(" v=1; s=%d; b=", i))
			if shared.Sum(f) != dkim.HeaderHash(h, names, c, f) {
				t.Errorf("%v: sum %d differs", c, i)
			}
		}
	}
}
