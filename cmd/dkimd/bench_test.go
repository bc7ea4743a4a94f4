package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/daemon"
	"dkimd/internal/milter/client"
	"dkimd/internal/resolver/dnstest"
)

var benchMessage = []byte("Received: from relay.example.net (relay.example.net [192.0.2.1])\r\n" +
	"\tby mx.example.net (Postfix) with ESMTPS id 4Q1\r\n\tfor <ann@example.net>; Mon, 23 Nov 2026 10:00:00 +0000 (UTC)\r\n" +
	"Message-ID: <1@example.org>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nSubject: our prices\r\n" +
	"From: Joe <joe@example.org>\r\nTo: Ann <ann@example.net>\r\nReply-To: joe@example.org\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nX-Mailer: bench\r\n\r\n" +
	strings.Repeat("Words that people write to each other, every day.  They go on\r\nfor some lines, and then they end.\r\n", 35))

// BenchmarkDaemon is the whole way of a message of 4 KiB with an RSA and an
// Ed25519 signature: socket, log and the MTA's side included. For profiles; what a daemon costs by
// itself `make bench` measures.
func BenchmarkDaemon(b *testing.B) {
	socket := benchDaemon(b)
	outgoing := benchMail("127.0.0.1", benchMessage)
	signed := sendAll(b, socket, outgoing, 1)
	if len(signed.Edits) != 2 {
		b.Fatalf("the message was not signed twice: %+v", signed)
	}
	incoming := benchMail("203.0.113.9", client.Apply(client.Postfix, benchMessage, signed.Edits))
	if r := sendAll(b, socket, incoming, 1); len(r.Edits) != 1 || strings.Count(r.Edits[0].Value, "dkim=pass") != 2 {
		b.Fatalf("the message did not verify: %+v", r)
	}
	for what, mail := range map[string]client.Mail{"sign": outgoing, "verify": incoming} {
		for _, n := range []int{1, 20} {
			b.Run(fmt.Sprintf("%s/%d", what, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; i < b.N; i += n {
					sendAll(b, socket, mail, min(n, b.N-i))
				}
			})
		}
	}
}

// benchDaemon runs the demo's daemon, and says where it listens.
func benchDaemon(b *testing.B) (socket string) {
	b.Helper()
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Close)
	dir, err := os.MkdirTemp("", "dk") // a socket's path is short
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	st := &stage{std: stdio{out: io.Discard, err: io.Discard}, socket: filepath.Join(dir, "s")}
	if err := st.prepare(b.Context(), dir, server); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- daemon.Run(ctx, daemon.Options{
			Config: filepath.Join(dir, "dkimd.toml"), Named: true, Stdout: io.Discard, Stderr: io.Discard, Ready: func() { close(ready) },
		})
	}()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		b.Fatal(err)
	}
	return st.socket
}

func benchMail(peer string, raw []byte) client.Mail {
	return client.Mail{
		Peer: client.Peer{Name: "client.example.net", Addr: netip.MustParseAddr(peer), Port: 4321},
		Helo: "client.example.net", Sender: "joe@example.org", Recipients: []string{"ann@example.net"}, QueueID: "4Q1", Raw: raw,
	}
}

// sendAll sends a message n times over one connection.
func sendAll(b *testing.B, socket string, mail client.Mail, n int) (last client.Result) {
	b.Helper()
	mta, err := client.Dial(b.Context(), "unix", socket, client.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for range n {
		if last, err = mta.Send(b.Context(), mail); err != nil {
			b.Fatal(err)
		}
	}
	if err := mta.Quit(); err != nil {
		b.Fatal(err)
	}
	return last
}
