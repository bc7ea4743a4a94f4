package keys

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
)

// defaultRSABits is what RFC 8301 section 3.2 asks signers for.
const defaultRSABits = 2048

// New describes a key to be made.
type New struct {
	Directory string           // the directory of all keys; made if it is absent
	Domain    string           // as A-labels or U-labels
	Selector  string           // empty: s and the date, such as s20261123, and -ed25519 for such a key
	Type      string           // RSA or Ed25519; empty: RSA
	Bits      int              // of an RSA key, 1024 to 4096; 0: 2048
	Now       func() time.Time // nil: time.Now
}

// Generated is a key that was made. It does not sign before it is activated.
type Generated struct {
	Domain   domain.Name
	Selector string // as DNS has it
	Path     string // of the file
	Type     string
	Bits     int
	Record   Record // to be published
}

// String tells what was made, in one line.
func (g Generated) String() string {
	return fmt.Sprintf("%s: %s key of %d bits for %s, selector %s", g.Path, g.Type, g.Bits, g.Domain, g.Selector)
}

// Generate makes a key and writes it as PKCS #8 to SELECTOR.pem.new. Nothing is ever
// overwritten. Directories that are made get mode 0750. When root makes a key, file and directories
// get owner and group of the directory they are in, so that the daemon can read them:
// with the directory of root and a group the key's mode is 0640, else 0600.
func Generate(n New) (Generated, error) {
	g, err := n.check()
	if err != nil {
		return Generated{}, err
	}
	dir, err := locate(n.Directory, g.Domain)
	if err != nil {
		return Generated{}, fmt.Errorf("generate key %s/%s: %w", g.Domain, g.Selector, err)
	}
	g.Path = filepath.Join(dir, g.Selector+pendingSuffix)
	for _, path := range []string{filepath.Join(dir, g.Selector+".pem"), g.Path} {
		if _, err := os.Lstat(path); err == nil {
			return Generated{}, fmt.Errorf("generate key %s/%s: %s: %w; a key is never overwritten, choose another selector", g.Domain, g.Selector, path, fs.ErrExist)
		}
	}
	if err := g.make(dir); err != nil {
		return Generated{}, fmt.Errorf("generate key %s/%s: %w", g.Domain, g.Selector, err)
	}
	return g, nil
}

// check says all that is wrong with the description.
func (n New) check() (Generated, error) {
	g := Generated{Type: n.Type, Bits: n.Bits}
	var faults []error
	fail := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if n.Directory == "" {
		fail("directory: got none; want the directory of the keys")
	}
	sdid, err := dkim.ParseSDID(n.Domain)
	if err != nil {
		fail("domain: got %q; want a domain: %w", n.Domain, err)
	}
	switch n.Type {
	case "", RSA:
		g.Type = RSA
		if g.Bits == 0 {
			g.Bits = defaultRSABits
		}
		if g.Bits < MinRSABits || g.Bits > MaxRSABits || g.Bits%8 != 0 {
			fail("bits: got %d; want a multiple of 8 from %d to %d (RFC 8301 section 3.2)", n.Bits, MinRSABits, MaxRSABits)
		}
	case Ed25519:
		g.Bits = 256
		if n.Bits != 0 && n.Bits != g.Bits {
			fail("bits: got %d; want none: every %s key has %d", n.Bits, Ed25519, g.Bits)
		}
	default:
		fail("type: got %q; want %s or %s", n.Type, RSA, Ed25519)
	}
	selector := n.Selector
	if selector == "" {
		selector = n.defaultSelector()
	}
	if sdid != "" {
		if g.Selector, err = dkim.ParseSelector(selector, sdid, dkim.AsSpecified); err != nil {
			fail("selector: got %q; want letters, digits, hyphens and dots (RFC 6376 section 3.1): %w", selector, err)
		}
	}
	g.Domain = sdid
	return g, errors.Join(faults...)
}

func (n New) defaultSelector() string {
	now := time.Now
	if n.Now != nil {
		now = n.Now
	}
	selector := "s" + now().Format("20060102")
	if n.Type == Ed25519 {
		selector += "-" + Ed25519
	}
	return selector
}

// make makes the key, its file and the directories above it.
func (g *Generated) make(dir string) error {
	var private crypto.Signer
	var err error
	if g.Type == Ed25519 {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	} else {
		private, err = rsa.GenerateKey(rand.Reader, g.Bits)
	}
	if err != nil {
		return err
	}
	if g.Record, err = NewRecord(g.Domain, g.Selector, private.Public()); err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	defer clear(der)
	content := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	defer clear(content)
	if err := makeDirectory(dir); err != nil {
		return err
	}
	return writeFile(g.Path, content, keyMode)
}

// makeDirectory makes a directory and those above it that are absent, as durable as the key will be.
func makeDirectory(path string) error {
	if p, err := stat(path); err == nil {
		if !p.directory() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: errors.New("is " + p.kind() + ", not a directory")}
		}
		return nil
	}
	parent := filepath.Dir(path)
	if parent == path {
		return &fs.PathError{Op: "mkdir", Path: path, Err: fs.ErrNotExist}
	}
	if err := makeDirectory(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o750); err != nil {
		return err
	}
	d, err := os.Open(path) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // nothing is written
	if _, err := inherit(d, parent); err != nil {
		return err
	}
	if err := d.Chmod(0o750); err != nil { // whatever the umask
		return err
	}
	return syncDirectory(parent)
}

// inherit gives what root has made the owner and group of the directory it is in,
// and returns the owner and group it has then.
func inherit(f *os.File, directory string) (fingerprint, error) {
	p, err := stat(directory)
	if err != nil || os.Geteuid() != 0 {
		return p, err
	}
	return p, f.Chown(int(p.uid), int(p.gid))
}

// keyMode is that of a private key, of which the daemon's group may read it, too: see writeFile.
const keyMode fs.FileMode = 0o600

// writeFile writes a new file and makes sure that it is on disk.
func writeFile(path string, content []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path)) // half a key would only be in the way
		}
	}()
	if _, err := f.Write(content); err != nil {
		return err
	}
	directory := filepath.Dir(path)
	p, err := inherit(f, directory)
	if err != nil {
		return err
	}
	if mode == keyMode && os.Geteuid() == 0 && p.uid == 0 && p.gid != 0 {
		mode = 0o640 // The daemon reads by its group. Only now: until here it was root's group.
	}
	if err := f.Chmod(mode); err != nil { // whatever the umask
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDirectory(directory)
}

// bitsOf is a number of bits in words.
func bitsOf(bits int) string { return strconv.Itoa(bits) + " bits" }
