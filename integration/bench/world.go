package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/resolver/dnstest"
)

// dnsAddress is where OpenDKIM can ask: it takes addresses only, and asks port 53.
const dnsAddress = "127.0.0.77:53"

// world is everything that runs during the benchmark.
type world struct {
	dir      string
	dkimdBin string
	corpus   *corpus
	dns      *dnstest.Server
	bytes    []byte // to be hashed
	servers  map[string]map[deed]*server
	running  []*server
}

// The subjects, in the order of the tables.
const (
	subjectDkimd   = "dkimd"
	subjectFloor   = "floor"
	subjectOpen    = "OpenDKIM"
	subjectRspamd  = "rspamd"
	subjectMsgauth = "go-msgauth"
	// subjectOpenDMARC runs behind OpenDKIM, and is no subject by itself.
	subjectOpenDMARC = "OpenDMARC"
	subjectBase      = "base" // another build of dkimd
)

func subjects() []string {
	return []string{subjectDkimd, subjectFloor, subjectOpen, subjectRspamd, subjectMsgauth, subjectBase}
}

func newWorld(ctx context.Context, dir string, o options) (w *world, err error) {
	w = &world{dir: dir, bytes: make([]byte, 10<<20), servers: map[string]map[deed]*server{}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.corpus, err = newCorpus(dir); err != nil {
		return w, err
	}
	if w.dns, err = dnstest.Start(dnsAddress); err != nil {
		return w, fmt.Errorf("DNS server: %w (it needs root)", err)
	}
	for name, record := range w.corpus.zone {
		w.dns.SetTXT(name, split(record)...)
	}
	for _, sub := range []string{"run", "log", "db"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return w, err
		}
	}
	if w.dkimdBin, err = filepath.Abs(o.dkimd); err != nil {
		return w, err
	}
	all := []deed{signRSA, signEd25519, signBoth, verifyOne, verifyThree}
	policies := []deed{verifyPolicies}
	self, err := os.Executable()
	if err != nil {
		return w, err
	}
	conf, err := w.configure("dkimd.toml", dkimdConf)
	if err != nil {
		return w, err
	}
	err = errors.Join(
		w.add(ctx, subjectDkimd, "dkimd", all, w.dkimdBin, "serve", "--config", conf),
		w.addDkimd(ctx, subjectDkimd, "policies", w.dkimdBin, policies, "spf = false", "spf = true"),
		w.add(ctx, subjectFloor, "floor", append(all, policies...), self, "-floor", w.socket("floor")))
	if err == nil && o.base != "" {
		err = errors.Join(w.addDkimd(ctx, subjectBase, "base", o.base, all),
			w.addDkimd(ctx, subjectBase, "base-policies", o.base, policies, "spf = false", "spf = true"))
	}
	if err == nil && o.peers {
		err = w.startPeers(ctx)
	}
	return w, err
}

// addDkimd adds one more dkimd, of this build or of another, to see what a change brought; replaced are pairs of texts of
// its configuration.
func (w *world) addDkimd(ctx context.Context, subject, name, binary string, deeds []deed, replaced ...string) error {
	conf, err := w.configure(name+".toml", strings.NewReplacer(append(replaced, "/dkimd.sock", "/"+name+".sock", "/events", "/events-"+name,
		`, "inet:`+tcpAddress+`"`, "")...).Replace(dkimdConf))
	if err != nil {
		return err
	}
	return w.add(ctx, subject, name, deeds, binary, "serve", "--config", conf)
}

// split makes strings of at most 255 bytes of a record.
func split(record string) []string {
	var parts []string
	for len(record) > 255 {
		parts = append(parts, record[:255])
		record = record[255:]
	}
	return append(parts, record)
}

func (w *world) socket(name string) string { return filepath.Join(w.dir, "run", name+".sock") }

// configure writes a configuration file; @DIR@ is our directory.
func (w *world) configure(name, text string) (string, error) {
	path := filepath.Join(w.dir, name)
	return path, os.WriteFile(path, []byte(strings.ReplaceAll(text, "@DIR@", w.dir)), 0o600)
}

// add starts a daemon that does some deeds for a subject.
func (w *world) add(ctx context.Context, subject, name string, deeds []deed, argv ...string) error {
	if argv[0] == "" {
		fmt.Fprintf(os.Stderr, "bench: %s is not installed, and left out: see scripts/install-bench-deps\n", subject)
		return nil
	}
	s, err := start(ctx, name, w.socket(name), filepath.Join(w.dir, "log", name), argv...)
	if err != nil {
		return err
	}
	w.running = append(w.running, s)
	if w.servers[subject] == nil {
		w.servers[subject] = map[deed]*server{}
	}
	for _, d := range deeds {
		w.servers[subject][d] = s
	}
	return nil
}

func (w *world) close() {
	for _, s := range w.running {
		s.stop()
	}
	if w.dns != nil {
		w.dns.Close()
	}
	if w.corpus != nil && w.corpus.store != nil {
		w.corpus.store.Close()
	}
}

// verifyRSA verifies a signature with crypto/rsa, as every verification does.
func (w *world) verifyRSA(digest []byte) error {
	private, err := w.corpus.store.Lookup(message.Address{Domain: domain.Name(rsaDomain(0))})[0].Keys[0].Load(context.Background())
	if err != nil {
		return err
	}
	public, ok := private.Signer.Public().(*rsa.PublicKey)
	if !ok {
		return errors.New("not an RSA key")
	}
	// It costs the same whether the signature is right.
	return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest, w.bytes[: public.Size()-1 : public.Size()][:public.Size()])
}
