package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"dkimd/internal/daemon"
	"dkimd/internal/milter/client"
	"dkimd/internal/resolver/dnstest"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

const (
	demoDomain = "example.org"
	demoTime   = 20 * time.Second // for all of it; it takes about one
)

func demoCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "See dkimd at work: its own keys, DNS server and mail, on loopback",
		Long: `Demo makes two keys, publishes them on a DNS server of its own, starts the real
daemon on a unix socket, and plays a mail server: one message leaves signed and
comes in verified, a forged and an unsigned one are rejected by a rule. Nothing
stays behind.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), demoTime)
			defer cancel()
			// An interrupt leaves nothing behind either.
			ctx, restore := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer restore()
			return demo(ctx, std)
		},
	}
}

const demoRules = `sender = "either"
mode = "enforce"

[[rule]]
name = "example.org must be signed by example.org"
result = ["none", "invalid", "fail"]
signers = ["example.org"]
action = "reject"
reply = "550 5.7.20 This message claims to be from example.org but is not signed by it"
`

const demoMail = "Message-ID: <1@example.org>\r\n" +
	"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n" +
	"From: Joe <joe@example.org>\r\n" +
	"To: ann@example.net\r\n" +
	"Subject: our prices\r\n" +
	"\r\n" +
	"Please pay 10 dollars to account 1.\r\n"

// stage is where the demo plays.
type stage struct {
	std    stdio
	socket string
	log    *demoLog
}

func demo(ctx context.Context, std stdio) error {
	dir, err := os.MkdirTemp("", "dkimd-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing to be done about it
	dns, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("demo: start a DNS server: %w", err)
	}
	defer dns.Close()
	st := &stage{std: std, socket: filepath.Join(dir, "milter.sock"), log: newDemoLog(std.out)}
	if err := st.prepare(ctx, dir, dns); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	// The daemon's own log is for operators: it is shown only if the demo fails.
	var process bytes.Buffer
	if err := st.withDaemon(ctx, filepath.Join(dir, "dkimd.toml"), &process, st.play); err != nil {
		_, _ = process.WriteTo(std.err)
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

// prepare makes keys, publishes them, and writes rules and configuration.
func (st *stage) prepare(ctx context.Context, dir string, dns *dnstest.Server) error {
	keyDir := filepath.Join(dir, "keys")
	fmt.Fprintf(st.std.out, "Two keys for %s, published on a DNS server at %s:\n", demoDomain, dns.Addr())
	for _, kind := range []string{keys.RSA, keys.Ed25519} {
		selector := kind[:1] + "1"
		g, err := keys.Generate(keys.New{Directory: keyDir, Domain: demoDomain, Selector: selector, Type: kind})
		if err != nil {
			return err
		}
		if err := dns.SetZone(g.Record.String()); err != nil {
			return err
		}
		if _, err := keys.Activate(ctx, keys.Activation{Directory: keyDir, Domain: demoDomain, Selector: selector, Force: true}); err != nil {
			return err
		}
		fmt.Fprintf(st.std.out, "  %s TXT %.60s...\n", g.Record.Name, g.Record.Text)
	}
	config := fmt.Sprintf(`hostname = "mx.example.net"
[milter]
listen = ["unix:%s"]
[sign]
directory = "%s"
[dns]
servers = ["%s"]
[policy]
directory = "%s/rules"
[log]
format = "text"
`, st.socket, keyDir, dns.Addr(), dir)
	fmt.Fprintf(st.std.out, "One rules file, %s.toml:\n%s\n", demoDomain, indent(demoRules))
	rules := filepath.Join(dir, "rules")
	return errors.Join(
		os.Mkdir(rules, 0o700),
		os.WriteFile(filepath.Join(rules, demoDomain+".toml"), []byte(demoRules), 0o600),
		os.WriteFile(filepath.Join(dir, "dkimd.toml"), []byte(config), 0o600),
	)
}

// withDaemon runs the real daemon around f.
func (st *stage) withDaemon(ctx context.Context, config string, process io.Writer, f func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- daemon.Run(ctx, daemon.Options{
			Config: config, Named: true, Version: versionString(), Stdout: st.log, Stderr: process, Ready: func() { close(ready) },
		})
	}()
	select {
	case err := <-served:
		return err
	case <-ready:
	}
	err := f(ctx)
	stop()
	if stopped := <-served; err == nil {
		err = stopped
	}
	return err
}

// play sends four messages and looks at the answers.
func (st *stage) play(ctx context.Context) error {
	inside, outside := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("203.0.113.9")

	st.say("1. A program on this host sends a message from joe@%s. dkimd signs it:", demoDomain)
	r, err := st.send(ctx, inside, []byte(demoMail))
	if err != nil {
		return err
	}
	signed := client.Apply(client.Postfix, []byte(demoMail), r.Edits)
	st.show(signed)
	if n := bytes.Count(signed, []byte("DKIM-Signature:")); n != 2 {
		return fmt.Errorf("the message got %d signatures, not 2", n)
	}

	st.say("2. It arrives somewhere, from %s. dkimd verifies it:", outside)
	if r, err = st.send(ctx, outside, signed); err != nil {
		return err
	}
	st.show(client.Apply(client.Postfix, signed, r.Edits))
	if r.Action != client.Continue || len(r.Edits) == 0 || strings.Count(r.Edits[0].Value, "dkim=pass") != 2 {
		return fmt.Errorf("the good message was answered %s %q", r.Action, r.Reply)
	}

	st.say("3. Somebody changes the account on the way:")
	if err := st.rejected(ctx, outside, bytes.Replace(signed, []byte("account 1"), []byte("account 2"), 1)); err != nil {
		return err
	}
	st.say("4. Somebody else sends it without any signature:")
	if err := st.rejected(ctx, outside, []byte(demoMail)); err != nil {
		return err
	}
	st.say("That is all. The next step: \"Postfix in ten minutes\" in README.md.")
	return nil
}

// rejected sends a message that the rule must reject.
func (st *stage) rejected(ctx context.Context, from netip.Addr, raw []byte) error {
	r, err := st.send(ctx, from, raw)
	if err != nil {
		return err
	}
	fmt.Fprintf(st.std.out, "   answer:  %s %s\n", r.Action, r.Reply)
	if r.Action != client.Reject || !strings.HasPrefix(r.Reply, "550 5.7.20 ") {
		return fmt.Errorf("the bad message was answered %s %q", r.Action, r.Reply)
	}
	return nil
}

// send reports a message as Postfix would, and waits for its record.
func (st *stage) send(ctx context.Context, from netip.Addr, raw []byte) (client.Result, error) {
	s, err := client.Dial(ctx, "unix", st.socket, client.Options{})
	if err != nil {
		return client.Result{}, err
	}
	defer s.Close() //nolint:errcheck // Quit was said
	r, err := s.Send(ctx, client.Mail{
		Peer: client.Peer{Name: "client.example.net", Addr: from, Port: 40000},
		Helo: "client.example.net", Sender: "joe@" + demoDomain, Recipients: []string{"ann@example.net"},
		QueueID: fmt.Sprintf("4DEMO%d", st.log.count.Add(1)), Raw: raw,
	})
	if err != nil {
		return r, err
	}
	if err := st.log.wait(ctx); err != nil {
		return r, err
	}
	return r, s.Quit()
}

func (st *stage) say(format string, args ...any) { fmt.Fprintf(st.std.out, "\n"+format+"\n", args...) }

// show prints the header of a message.
func (st *stage) show(raw []byte) {
	header, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	fmt.Fprintln(st.std.out, indent(strings.ReplaceAll(string(header), "\r\n", "\n")))
}

func indent(text string) string {
	return "   | " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n   | ")
}
