//go:build integration

package soak_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	insecure "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// rotations is how many keys rotating.test has, one at a time.
const rotations = 4

// world is everything around dkimd.
type world struct {
	dir     string
	binary  string
	tcp     string // address of the milter beside its socket
	seed    uint64
	began   time.Time
	keys    map[string]crypto.Signer // by word._domainkey.domain
	records map[string]string        // what DNS says, by the same with a dot at its end
	dns     *nameServer
	daemon  *daemon
	clock   *wallClock // nil: not to be had
	// seesFiles: what dkimd has open can be seen.
	seesFiles bool
	metrics   string // its unix socket; empty: this dkimd has none
	disk      string // a small file system for the log; empty: not to be had
	kinds     []kind
	corpus    corpus
	ledger    *ledger
	number    int // of the newest rules

	// What is in force.
	rules  *timeline[int]           // the number of the rules and of the key of rotating.test
	clocks *timeline[time.Duration] // how wrong the clock is
	// Whether DNS fails, and whether descriptors are short. With the one all lookups fail,
	// with the other some.
	dnsFails, short *timeline[bool]
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "soak") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{
		dir: dir, binary: harness.Binary(t), tcp: fmt.Sprintf("127.0.0.1:%d", harness.FreePort()), seed: seed, began: time.Now(), keys: map[string]crypto.Signer{}, records: map[string]string{}, kinds: kinds(), ledger: newLedger(),
		rules: startingWith(0), clocks: startingWith(time.Duration(0)), dnsFails: startingWith(false), short: startingWith(false),
	}
	for _, sub := range []string{"keys", "rules", "log"} {
		if err := os.Mkdir(w.path(sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.makeKeys(t)
	w.dns = startNameServer(t, w.records)
	w.corpus = newCorpus(t, w)
	w.mountDisk(t)
	w.write(t, "rules/quarantine.test.toml", unsignedRule+"action = \"quarantine\"\n")
	w.write(t, "rules/tag.test.toml", unsignedRule+"action = \"tag\"\ntag = \"X-Soak: unsigned\"\n")
	w.writeRules(t, 0)
	w.write(t, "dkimd.toml", w.config(0))
	w.findMetrics(t)
	w.daemon = startDaemon(t, w.binary, w.path("dkimd.toml"), w.path("m"), w.tcp, w.path("x"))
	if w.seesFiles = w.daemon.descriptors() > 0; !w.seesFiles {
		missing(t, "descriptors are not counted, nor is the log rotated: only root sees what dkimd has open")
	}
	if w.clock, err = takeClock(w.daemon.pid()); err != nil {
		missing(t, "the clock stays right: "+err.Error())
	}
	return w
}

// missing says what cannot be tested here; where everything has to be, that is a failure.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("DKIMD_REQUIRE_ALL") != "" {
		t.Fatal(what)
	}
	t.Log("left out: ", what)
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// rng is a source of chance of its own for each who asks by another number.
func (w *world) rng(who uint64) *insecure.Rand { return insecure.New(insecure.NewPCG(w.seed, who)) }

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		t.Error(err)
	}
}

const unsignedRule = "mode = \"enforce\"\n[[rule]]\nname = \"unsigned\"\nresult = \"none\"\n"

// config is a dkimd.toml. n varies what may vary.
func (w *world) config(n int) string {
	text := fmt.Sprintf(`hostname = "mx.soak.test"
[milter]
listen = ["unix:%[1]s/m", "inet:%[4]s"]
[exim]
listen = ["unix:%[1]s/x"]
[sign]
directory = "%[1]s/keys"
networks = ["192.0.2.0/24"]
[verify]
trusted = ["198.51.100.7"]
[dns]
servers = ["%[2]s"]
timeout = "3s"
cache_entries = %[3]d
[policy]
directory = "%[1]s/rules"
[log]
output = "%[1]s/log/log"
`, w.dir, w.dns.address, 2000+n%2*500, w.tcp)
	if w.metrics != "" {
		// The history of the page is full after the warm-up, as what grows later is a leak.
		text += fmt.Sprintf("[metrics]\nlisten = [%q]\nhistory = 1\n", "unix:"+w.metrics)
	}
	return text
}

// reply is that of the rule for gmail.com.
func reply(n int) string { return "550 5.7.20 Come on, what's going on? Rules " + strconv.Itoa(n) }

// writeRules writes the rules of number n, and gives rotating.test its key of that number.
func (w *world) writeRules(t *testing.T, n int) {
	t.Helper()
	w.write(t, "rules/gmail.com.toml", `sender = "either"
mode = "enforce"
[[rule]]
name = "gmail signs its mail"
result = ["none", "invalid", "fail"]
signers = ["gmail.com"]
action = "reject"
reply = "`+reply(n)+"\"\n")
	old, _ := filepath.Glob(w.path("keys/rotating.test/*"))
	for _, path := range old {
		_ = os.Remove(path)
	}
	w.install(t, rotation(n), "rotating.test")
}

// rotation is the selector that signs for rotating.test under rules of number n.
func rotation(n int) string { return "k" + strconv.Itoa(n%rotations) }

// makeKeys makes keys, tells DNS, and installs those that dkimd signs with.
func (w *world) makeKeys(t *testing.T) {
	t.Helper()
	type key struct{ word, domain, kind string }
	list := []key{
		{"r1", "rsa.test", "rsa"},
		{"e1", "ed.test", "ed25519"},
		{"r1", "both.test", "rsa"},
		{"e1", "both.test", "ed25519"},
		{"hot", "gmail.com", "rsa"},
		{"cold", "gmail.com", "ed25519"},
		{"hot", "stable.test", "ed25519"},
	}
	for n := range rotations {
		list = append(list, key{rotation(n), "rotating.test", "ed25519"})
	}
	for _, k := range list {
		name := k.word + "._domainkey." + k.domain
		record := "v=DKIM1; k=" + k.kind + "; p="
		if k.kind == "rsa" {
			private, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			spki, err := x509.MarshalPKIXPublicKey(private.Public())
			if err != nil {
				t.Fatal(err)
			}
			w.keys[name], record = private, record+base64.StdEncoding.EncodeToString(spki)
		} else {
			public, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			w.keys[name], record = private, record+base64.StdEncoding.EncodeToString(public)
		}
		w.records[name+"."] = record
		if k.domain != "gmail.com" && k.domain != "stable.test" && k.domain != "rotating.test" {
			w.install(t, k.word, k.domain)
		}
	}
}

// install lets dkimd sign with a key.
func (w *world) install(t *testing.T, word, domain string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(w.keys[word+"._domainkey."+domain])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(w.path("keys/"+domain), 0o700); err != nil {
		t.Error(err)
	}
	w.write(t, "keys/"+domain+"/"+word+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// mountDisk gives the log a disk of its own that can be filled.
func (w *world) mountDisk(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", w.path("log")).CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("the disk of the log does not fill up: mount: %v: %s", err, out))
		return
	}
	w.disk = w.path("log")
	t.Cleanup(func() {
		if out, err := exec.Command("umount", w.path("log")).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

// findMetrics has dkimd serve metrics if this dkimd can.
func (w *world) findMetrics(t *testing.T) {
	t.Helper()
	w.metrics = w.path("p")
	w.write(t, "dkimd.toml", w.config(0))
	if err := exec.Command(w.binary, "check", "--user", strconv.Itoa(os.Geteuid()), "--config", w.path("dkimd.toml")).Run(); err != nil {
		w.metrics = ""
		w.write(t, "dkimd.toml", w.config(0))
		t.Log("left out: goroutines are not counted: this dkimd has no [metrics]")
	}
}

var goGoroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)

// goroutines is what the metrics at a unix socket say, -1 without metrics.
func goroutines(socket string) (int, error) {
	if socket == "" {
		return -1, nil
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
		return 0, err
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return 0, err
	}
	m := goGoroutines.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("no go_goroutines in %.200q", text)
	}
	return strconv.Atoi(string(m[1]))
}
