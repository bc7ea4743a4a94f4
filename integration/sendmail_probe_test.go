//go:build integration

package integration_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// wiretap stands between an MTA and its filter, and tells what the MTA says over
// each connection that has a message.
type wiretap chan []string

// tap listens at an address for a filter's clients.
func tap(t *testing.T, address, filter string) wiretap {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	w := make(wiretap, 10)
	go func() {
		for {
			mta, err := listener.Accept()
			if err != nil {
				return
			}
			go w.pass(mta, filter)
		}
	}()
	return w
}

func (w wiretap) pass(mta net.Conn, address string) {
	defer func() { _ = mta.Close() }()
	filter, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = filter.Close() }()
	go func() { _, _ = io.Copy(mta, filter) }()
	in := io.TeeReader(mta, filter)
	var heard []string
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			break
		}
		packet := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(in, packet); err != nil {
			break
		}
		heard = append(heard, plain(packet))
	}
	if slices.ContainsFunc(heard, func(p string) bool { return strings.HasPrefix(p, "M") }) {
		w <- heard
	}
}

// said waits for what was said over the next connection.
func (w wiretap) said(t *testing.T) []string {
	t.Helper()
	select {
	case heard := <-w:
		return heard
	case <-time.After(harness.WaitLimit):
		t.Fatal("the MTA does not quit")
		return nil
	}
}

var macroValue = regexp.MustCompile(`\x00[^\x00]*\x00`)

// plain is a packet as text, without what differs from host to host: names of
// hosts, the client's port, and what macros are set to.
func plain(packet []byte) string {
	code, payload := packet[0], packet[1:]
	switch code {
	case 'C':
		if _, rest, found := bytes.Cut(payload, []byte{0}); found && len(rest) > 3 {
			payload = slices.Concat(rest[:1], rest[3:])
		}
	case 'H':
		payload = nil
	case 'D':
		payload = macroValue.ReplaceAll(payload, []byte(" "))
	}
	return fmt.Sprintf("%c %q", code, payload)
}

// What dkimd probe tells a filter is, packet by packet, what a real Sendmail
// tells it: dkimd, which chooses its macros, and one that takes what it gets.
func TestProbeSpeaksLikeSendmail(t *testing.T) {
	t.Parallel()
	port := harness.FreePort()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{Filters: func(line string) string {
		return harness.FilterSocket.ReplaceAllString(line, fmt.Sprintf("S=inet:%d@127.0.0.1", port))
	}})
	_, dkimd := harness.Address(w.Milter)
	simple := fmt.Sprintf("127.0.0.1:%d", harness.FreePort())
	harness.ServeMilter(t, "inet:"+simple, func(conn io.ReadWriter) { harness.AcceptAll(conn, func(string) {}) })
	clients := map[string]string{harness.SendmailInside: fmt.Sprintf("127.0.0.1:%d", w.Port)}
	if w.Port6 != 0 {
		clients["::1"] = fmt.Sprintf("[::1]:%d", w.Port6)
	}
	m := harness.NewMail("alice@ours.test", "two\r\n\tlines").With("X-None:", "X-Tab:\tx  ")
	for name, filter := range map[string]string{"dkimd": dkimd, "a simple filter": simple} {
		t.Run(name, func(t *testing.T) {
			socket := fmt.Sprintf("127.0.0.1:%d", port)
			wire := tap(t, socket, filter)
			for client, to := range clients {
				c := harness.DialFrom(t, client, to)
				c.Envelope("alice@ours.test", "reader@elsewhere.test", "second@elsewhere.test")
				if got := c.Data(m.Bytes()); got.Code != 250 {
					t.Fatal(got)
				}
				c.Want(221, "QUIT")
				want := wire.said(t)
				cmd := exec.CommandContext(t.Context(), harness.Binary(t), "probe", "inet:"+socket, "--mta", "sendmail", "--client", client,
					"--rcpt", "reader@elsewhere.test", "--rcpt", "second@elsewhere.test")
				cmd.Stdin = bytes.NewReader(m.Bytes())
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if got := wire.said(t); !slices.Equal(got, want) {
					t.Errorf("client %s: probe says\n%s\nSendmail says\n%s", client, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}
