package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkimd/internal/fault"

	"golang.org/x/sys/unix"
)

const seedPEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n"

// What the parser takes signs, what it refuses has a reason, and neither holds a
// byte of the file longer than needed or puts one into a fault.
func FuzzParse(f *testing.F) {
	f.Add([]byte(seedPEM))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	f.Add([]byte("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nMAYCAQACAQE=\n-----END RSA PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END PRIVATE KEY-----"))
	f.Add([]byte{0x30, 0x82, 0, 0})
	f.Add([]byte("-----BEGIN "))
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		p, fault := parse("/k/s1.pem", data)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("takes %v", took)
		}
		if (p == nil) == (fault == nil) {
			t.Fatalf("%v and %v", p, fault)
		}
		if len(bytes.Trim(data, "\x00")) != 0 {
			t.Error("the content of the file is left in memory")
		}
		if fault != nil {
			if text := fault.Error(); fault.Path != "/k/s1.pem" || fault.Got == "" || fault.Want == "" || len(text) > 500 || strings.ContainsAny(text, "\n\x1b") {
				t.Errorf("fault %q", text)
			}
			return
		}
		digest := sha256.Sum256(nil)
		switch public := p.Signer.Public().(type) {
		case ed25519.PublicKey:
			if signature, err := p.Signer.Sign(nil, digest[:], crypto.Hash(0)); err != nil || !ed25519.Verify(public, digest[:], signature) {
				t.Errorf("does not sign: %v", err)
			}
		case *rsa.PublicKey:
			signature, err := p.Signer.Sign(nil, digest[:], crypto.SHA256)
			if err != nil || rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) != nil || p.Bits < MinRSABits || p.Bits > MaxRSABits {
				t.Errorf("does not sign: %v", err)
			}
		}
	})
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	dir := filepath.Join(above, "example.org")
	if err := errors.Join(os.Chmod(filepath.Dir(above), 0o755), os.Mkdir(dir, 0o755), os.WriteFile(dir+"/s1.pem", []byte(seedPEM), 0o000)); err != nil {
		t.Fatal(err)
	}
	us := fault.User(os.Geteuid()) + ":" + fault.Group(os.Getegid())
	group := fault.Group(os.Getegid())
	r := newPermissions(fingerprint{}, Config{})
	var found *fault.Fault
	asNobody(t, func() { _, _, found = r.read(dir+"/s1.pem", r.checkKey) })
	want := fmt.Sprintf("%s/s1.pem: got permission denied (mode 0000, owner %s); want read permission for the user dkimd runs as (%s) (hint: chgrp %s %s/s1.pem && chmod 0640 %s/s1.pem)", dir, us, us, group, dir, dir)
	if found == nil || found.Error() != want {
		t.Errorf("a file:\n%v\nwant\n%s", found, want)
	}
	if err := os.Chmod(dir, 0o000); err != nil {
		t.Fatal(err)
	}
	d := newDomain("example.org", dir)
	asNobody(t, func() {
		d.load(newReader(Config{}, fingerprint{}))
		_, _, found = r.read(dir+"/s1.pem", r.checkKey)
	})
	want = fmt.Sprintf("%s: got permission denied (mode 0000, owner %s); want read permission for the user dkimd runs as (%s) (hint: chgrp %s %s && chmod 0750 %s)", dir, us, us, group, dir, dir)
	if !d.signs || d.Usable() || len(d.faults) != 1 || d.faults[0].Error() != want {
		t.Errorf("a directory:\n%v\nwant\n%s", d.Faults().Err(), want)
	}
	want = fmt.Sprintf("%s/s1.pem: got permission denied in %s (mode 0000, owner %s); want read permission for the user dkimd runs as (%s) (hint: chgrp %s %s && chmod g+x %s)", dir, dir, us, us, group, dir, dir)
	if found == nil || found.Error() != want {
		t.Errorf("a file in it:\n%v\nwant\n%s", found, want)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// A directory that goes after it was listed signs no more and is no fault; a link
// that leads nowhere is one, since somebody means that domain to sign.
func TestDirectoryGoneSinceItWasListed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gone := newDomain("gone.example", dir+"/gone.example").load(newReader(Config{}, fingerprint{}))
	if gone.signs || len(gone.Faults()) != 0 {
		t.Errorf("signs: %v, faults: %v", gone.signs, gone.Faults().Err())
	}
	path := dir + "/link.example"
	if err := os.Symlink("nowhere", path); err != nil {
		t.Fatal(err)
	}
	link := newDomain("link.example", path).load(newReader(Config{}, fingerprint{}))
	if faults := link.Faults(); !link.signs || len(faults) != 1 || faults[0].Error() != path+": got a link that leads nowhere; want a file (hint: rm "+path+")" {
		t.Errorf("signs: %v, faults: %v", link.signs, faults.Err())
	}
}

// A panic in the reader is a fault of that domain, whose mail stays ours to sign.
func TestPanicInADomainIsAFault(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	dir := t.TempDir()
	d := newDomain("example.org", dir).load(&reader{log: slog.New(slog.NewTextHandler(&log, nil))}) // without rules
	if !d.signs || d.Usable() || len(d.Faults()) != 1 || d.Faults()[0].Error() != dir+": got a directory that makes dkimd fail; want the keys of a domain (hint: report it with the stack in the log)" {
		t.Errorf("signs: %v, faults: %v", d.signs, d.Faults().Err())
	}
	if text := log.String(); !strings.Contains(text, "panic in reading a domain") || !strings.Contains(text, "stack=") {
		t.Errorf("log: %s", text)
	}
}

// A panic in the parser is a fault of that key and an alarm, not the end of dkimd.
func TestPanicIsAFault(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "s1.pem")
	if err := os.WriteFile(path, []byte(seedPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	k := newKey("example.org", "s1", path, fingerprint{}, &reader{log: slog.New(slog.NewTextHandler(&log, nil))})
	_, err := k.Load(t.Context()) // without rules
	if err == nil || err.Error() != path+": got a key that makes the parser fail; want one RSA or Ed25519 private key as PEM (hint: report it with the stack in the log)" {
		t.Errorf("%v", err)
	}
	if text := log.String(); !strings.Contains(text, "panic in parsing a key") || !strings.Contains(text, "stack=") || !strings.Contains(text, "key cannot be used") {
		t.Errorf("log: %s", text)
	}
}

func TestOnlyTheKeyIsOpened(t *testing.T) {
	t.Parallel()
	// What the index took for a file is a pipe by the time it is read.
	path := filepath.Join(t.TempDir(), "s1.pem")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newPermissions(fingerprint{}, Config{})
	calls := 0
	_, _, fault := r.read(path, func(path string, p fingerprint) *fault.Fault {
		if calls++; calls == 1 {
			return nil
		}
		return r.checkKey(path, p)
	})
	if fault == nil || fault.Got != "a named pipe" || calls != 2 {
		t.Errorf("%v after %d checks", fault, calls)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/etc/dkimd/keys/example.org/s1.pem": "/etc/dkimd/keys/example.org/s1.pem",
		"/bücher/s1.pem":                     "/bücher/s1.pem",
		"/a b":                               "'/a b'",
		"/it's":                              `'/it'\''s'`,
		"/$(rm)":                             "'/$(rm)'",
		"":                                   "''",
	} {
		if got := quote(path); got != want {
			t.Errorf("quote(%q): %s, want %s", path, got, want)
		}
	}
}

// The owners the configuration names are trusted, and only they.
func TestOwners(t *testing.T) {
	t.Parallel()
	r := newPermissions(fingerprint{uid: 11, gid: 12}, Config{Owners: []int{13}})
	for uid, want := range map[uint32]bool{0: true, uint32(os.Geteuid()): true, 11: true, 13: true, 12: false, 14: false} {
		if r.owns(uid) != want {
			t.Errorf("user %d: %v", uid, !want)
		}
	}
}

// While a slow disk keeps a key, a message does not wait longer than it may.
func TestLoadWaitsOnlyAsLongAsItsContext(t *testing.T) {
	t.Parallel()
	k := newKey("example.org", "s1", "/k/s1.pem", fingerprint{}, nil)
	k.flight = &flight{done: make(chan struct{})} // of somebody who does not get on
	cause := errors.New("the MTA left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := k.Load(ctx); !errors.Is(err, cause) || err.Error() != "wait for key example.org/s1: the MTA left" {
		t.Errorf("%v", err)
	}
	if p, err, known := k.Ready(); p != nil || err != nil || known {
		t.Errorf("Ready: %v %v %v", p, err, known)
	}
}

// Two that generate the same key at once: the second finds the file when it writes.
func TestKeysAreWrittenOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s1.pem.new")
	if err := writeFile(path, []byte("first"), keyMode); err != nil {
		t.Fatal(err)
	}
	err := writeFile(path, []byte("second"), keyMode)
	content, readErr := os.ReadFile(path)
	if !errors.Is(err, fs.ErrExist) || readErr != nil || string(content) != "first" {
		t.Errorf("%v: %s %v", err, content, readErr)
	}
}
