package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	insecure "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/milter/client"
	"dkimd/keys"
	"dkimd/signer"
)

const (
	rsaDomains    = 4
	edDomain      = "e0.example.com"
	bothDomain    = "b0.example.com"
	selector      = "s1"
	otherSelector = "s2"
	ownHost       = "mx.example.net"
)

// slowDomains are those whose DNS answers late.
const slowDomains = 5

func slowDomain(i int) string { return fmt.Sprintf("f%d.example.com", i) }

func rsaDomain(i int) string { return fmt.Sprintf("d%d.example.com", i%rsaDomains) }

// corpus holds the keys and makes the messages.
type corpus struct {
	store *keys.Store
	zone  map[string]string // TXT records by name
	mails map[string][]client.Mail
}

// newCorpus makes keys: below keys/ as dkimd wants them, and flat/DOMAIN.pem for the peers.
func newCorpus(dir string) (*corpus, error) {
	c := &corpus{zone: map[string]string{}, mails: map[string][]client.Mail{}}
	flat := filepath.Join(dir, "flat")
	if err := os.Mkdir(flat, 0o700); err != nil {
		return nil, err
	}
	tree := filepath.Join(dir, "keys")
	if err := os.Mkdir(tree, 0o700); err != nil {
		return nil, err
	}
	add := func(domain, selector string, key crypto.Signer) error {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if err := os.MkdirAll(filepath.Join(tree, domain), 0o700); err != nil {
			return err
		}
		name, record := selector+"._domainkey."+domain, "v=DKIM1; "
		switch public := key.Public().(type) {
		case ed25519.PublicKey:
			record += "k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
		default:
			spki, err := x509.MarshalPKIXPublicKey(public)
			if err != nil {
				return err
			}
			record += "k=rsa; p=" + base64.StdEncoding.EncodeToString(spki)
		}
		c.zone[name] = record
		return errors.Join(
			os.WriteFile(filepath.Join(flat, domain+".pem"), text, 0o600),
			os.WriteFile(filepath.Join(tree, domain, selector+".pem"), text, 0o600))
	}
	var faults []error
	c.zone["_spf.example.net"] = "v=spf1" + strings.Repeat(" ip4:198.51.100.0/24", 10) + " ~all"
	for i := range rsaDomains {
		c.zone[rsaDomain(i)] = "v=spf1 include:_spf.example.net ip4:192.0.2.0/24 ~all"
		c.zone["_dmarc."+rsaDomain(i)] = "v=DMARC1; p=reject; rua=mailto:dmarc@" + rsaDomain(i)
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		faults = append(faults, add(rsaDomain(i), selector, key))
		if i > 0 {
			continue
		}
		faults = append(faults, add(bothDomain, selector, key))
		for i := range slowDomains {
			faults = append(faults, add(slowDomain(i), selector, key))
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	faults = append(faults, err, add(edDomain, selector, key), add(bothDomain, otherSelector, key))
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	var problems error
	c.store, problems = open(tree)
	return c, problems
}

func open(tree string) (*keys.Store, error) {
	store, faults := keys.Open(keys.Config{Directory: tree})
	return store, faults.Err()
}

// messages are the messages of a row, made once.
func (c *corpus) messages(ctx context.Context, r row) ([]client.Mail, error) {
	name := fmt.Sprintf("%s/%d", r.Deed, r.Size)
	if mails := c.mails[name]; mails != nil {
		return mails, nil
	}
	n := 16
	if r.Size >= 1<<20 {
		n = 4
	}
	for i := range n {
		domain, peer := rsaDomain(i), client.Peer{Name: "localhost", Addr: netip.MustParseAddr("127.0.0.1"), Port: 4321}
		switch r.Deed {
		case signEd25519:
			domain = edDomain
		case signBoth:
			domain = bothDomain
		case signRSA:
		case verifyOne, verifyThree, verifyPolicies:
			peer = stranger()
		}
		raw := text(domain, i, r.Size)
		if !r.Deed.signs() {
			var err error
			if raw, err = c.sign(ctx, raw, r.Deed); err != nil {
				return nil, err
			}
		}
		c.mails[name] = append(c.mails[name], client.Mail{
			Peer: peer,
			Helo: "client.example.net", Sender: "sender@" + domain, Recipients: []string{"someone@example.net"},
			QueueID: fmt.Sprintf("4Q%04X", i), Raw: raw,
		})
	}
	return c.mails[name], nil
}

// stranger is a client in no daemon's list of its own networks.
func stranger() client.Peer {
	return client.Peer{Name: "client.example.net", Addr: netip.MustParseAddr("192.0.2.1"), Port: 4321}
}

// text is a message as people and their programs write it: text with now and
// then a double space, and base64 where it is large.
func text(domain string, seed, size int) []byte {
	random := insecure.New(insecure.NewPCG(uint64(seed), uint64(size))) //nolint:gosec // text, and the same each time
	var b bytes.Buffer
	for i := range 2 {
		fmt.Fprintf(&b, "Received: from relay%d.example.net (relay%d.example.net [192.0.2.%d])\r\n\tby %s (Postfix) with ESMTPS id 4Q%04X\r\n\tfor <someone@example.net>; Mon, 23 Nov 2026 10:00:0%d +0000 (UTC)\r\n", i, i, i+10, ownHost, seed, i)
	}
	fmt.Fprintf(&b, "Message-ID: <%d.%d@%s>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nUser-Agent: bench\r\nSubject: A message of some %d bytes\r\n"+
		"From: A Sender <sender@%s>\r\nTo: Some One <someone@example.net>\r\nReply-To: sender@%s\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nX-Mailer: bench\r\n\r\n", seed, size, domain, size, domain, domain)
	words := strings.Fields("the message body of a mail that people write to each other, every day. It says nothing, at some length; and then it ends.")
	column := 0
	for b.Len() < min(size, 64<<10) {
		word := words[random.IntN(len(words))]
		b.WriteString(word)
		column += len(word) + 1
		switch {
		case column > 66:
			b.WriteString("\r\n")
			column = 0
		case random.IntN(40) == 0:
			b.WriteString("  ")
		default:
			b.WriteByte(' ')
		}
	}
	b.WriteString(".\r\n")
	line := make([]byte, 57)
	for b.Len() < size {
		for i := range line {
			line[i] = byte(random.IntN(256)) //nolint:gosec // a byte
		}
		b.WriteString(base64.StdEncoding.EncodeToString(line) + "\r\n")
	}
	return b.Bytes()
}

// sign puts one or three signatures on a message.
func (c *corpus) sign(ctx context.Context, raw []byte, d deed) ([]byte, error) {
	config := signer.Config{Keys: c.store.Lookup, HeaderCanon: dkim.Relaxed, BodyCanon: dkim.Relaxed}
	if d == verifyThree {
		for i := range 3 {
			config.AlsoDomains = append(config.AlsoDomains, domain.Name(rsaDomain(i)))
		}
	}
	s, err := signer.New(config)
	if err != nil {
		return nil, err
	}
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	var header message.Header
	for field := range strings.SplitSeq(strings.ReplaceAll(string(head), "\r\n\t", "\n\t"), "\r\n") {
		name, value, _ := strings.Cut(field, ":")
		header.Add(name, value)
	}
	signing, reason := s.Begin(ctx, &message.Envelope{}, &header, message.ReadFrom(&header))
	if signing == nil {
		return nil, errors.New(reason.Text)
	}
	_, _ = signing.Write(body)
	signed, err := signing.Finish(ctx)
	if err != nil {
		return nil, err
	}
	if d == verifyThree && len(signed.Fields) < 3 {
		return nil, fmt.Errorf("%d signatures for three", len(signed.Fields))
	}
	var b bytes.Buffer
	for _, field := range signed.Fields[:min(len(signed.Fields), 3)] {
		b.WriteString("DKIM-Signature:" + field + "\r\n")
	}
	b.Write(raw)
	return b.Bytes(), nil
}
