//go:build integration

package soak_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

// eximWorker is an Exim that has mail checked and signed until ctx ends, each message
// over a connection of its own.
func (w *world) eximWorker(ctx context.Context, r *rand.Rand) {
	for {
		m := w.newMessage(w.anyKind(r), r)
		if err := w.sendExim(m, r); err != nil {
			w.ledger.fault("%s (%s) by Exim, after %s: %v", m.sender, m.kind.name, time.Since(m.began), err)
		}
		if !pause(ctx, time.Duration(r.IntN(100))*time.Millisecond) {
			return
		}
	}
}

// eximRequest is what Exim says of a message, and whether it closes its side then.
func eximRequest(m *message, heavy bool) (request string, closes bool) {
	raw := strings.ReplaceAll(string(m.raw), "\r\n", "\n")
	id := fmt.Sprintf("1q%05d", m.number)
	protocol := "esmtp"
	if m.kind.login != "" {
		protocol = "esmtpsa"
	}
	received := "Received: from x by mx with esmtp\n\tid " + id + ";\n\tSun, 29 Nov 2026 10:00:00 +0000\n"
	switch {
	case m.kind.purpose == toBeSigned:
		// Exim's Received would be in front; the client leaves the message as it is.
		return fmt.Sprintf("DKIMD/1 SIGN\nQueue-Id: %s\nLength: %d\nIP: %s\nProtocol: %s\n\n%s", id, len(raw), m.kind.client, protocol, raw), true
	case heavy:
		raw = "From " + m.sender + " Sun Nov 29 10:00:00 2026\nX-Envelope-From: <" + m.sender + ">\nX-Envelope-To: reader@soak.test\n" + received + raw
		head := fmt.Sprintf("CHECK RSPAMC/1.3\nContent-length: %d\nQueue-Id: %s\nFrom: <%s>\nRecipient-Number: 1\nRcpt: <reader@soak.test>\n"+
			"Helo: client.test\nHostname: client.test\nIP: %s\n\n", len(raw), id, m.sender, m.kind.client)
		return strings.ReplaceAll(head, "\n", "\r\n") + raw, false
	}
	header, body, _ := strings.Cut(received+raw, "\n\n")
	header += "\n"
	return fmt.Sprintf("DKIMD/1 VERIFY\nQueue-Id: %s\nFrom: <%s>\nIP: %s\nHelo: client.test\nUser: \nProtocol: %s\nRcpts: reader@soak.test\n"+
		"Nul: 0\nBody-True-Size: %d\nHeaders-Size: %d\nBody-Size: %d\n\n%s\n%s", id, m.sender, m.kind.client, protocol,
		len(body), len(header), len(body), header, body), true
}

// sendExim asks about one message and checks what comes of it.
func (w *world) sendExim(m *message, r *rand.Rand) error {
	w.begin(m)
	request, closes := eximRequest(m, r.IntN(2) == 0)
	conn, err := net.Dial("unix", w.path("x"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	half, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("no unix connection")
	}
	if closes {
		if err := half.CloseWrite(); err != nil {
			return err
		}
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if m.kind.purpose == toBeSigned {
		return w.signedByExim(m, r, text)
	}
	answer, err := eximAnswer(string(text), fmt.Sprintf("1q%05d", m.number))
	if err != nil {
		return err
	}
	w.answered(m, answer)
	return nil
}

// signedByExim checks the answer to SIGN, which has no sender: its record is known by the
// queue id only, and is counted with the others.
func (w *world) signedByExim(m *message, r *rand.Rand, text []byte) error {
	first, fields, found := bytes.Cut(text, []byte("\n"))
	if !found || string(first) != fmt.Sprintf("DKIMD/1 OK %d", len(fields)) {
		return fmt.Errorf("answer %.200q", text)
	}
	signed := append(bytes.ReplaceAll(fields, []byte("\n"), []byte("\r\n")), m.raw...)
	var added []addition
	unfolded := bytes.ReplaceAll(fields, []byte("\n\t"), []byte(" "))
	for line := range strings.Lines(strings.ReplaceAll(string(unfolded), "\n ", " ")) {
		name, value, _ := strings.Cut(line, ":")
		added = append(added, addition{name, strings.TrimSpace(value)})
	}
	w.answered(m, answerText("accept", "", added))
	if len(added) == 0 {
		return nil
	}
	return w.checkSigned(r, m, signed)
}

// eximAnswer reads the answer to CHECK and VERIFY. What Exim makes of them is the same,
// but for the protocol's own lines and for the ends of lines.
func eximAnswer(text, id string) (string, error) {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n")
	if rest, found := strings.CutPrefix(text, "RSPAMD/1.3 0 EX_OK\n"); found {
		_, text, _ = strings.Cut(rest, "\n") // Metric
	} else {
		text = strings.ReplaceAll(text, "\n ", "\n")
	}
	var action, reply string
	var added []addition
	last := ""
	for line := range strings.SplitSeq(text, "\n") {
		name, value, found := strings.Cut(line, ": ")
		last = line
		switch {
		case !found || strings.TrimLeft(line, " \t") != line:
			if n := len(added); n > 0 {
				added[n-1].value += " " + strings.TrimSpace(line)
			}
		case name == "Action":
			action = value
		case name == "Reply":
			reply = value
		case name == "Tag":
			field, value, _ := strings.Cut(value, ": ")
			added = append(added, addition{field, value})
		case name == "AR":
			added = append(added, addition{"Authentication-Results", value})
		}
	}
	if last != "Id: "+id {
		return "", fmt.Errorf("the answer does not end in its id %s: %.300q", id, text)
	}
	if action == "defer" {
		action = "tempfail"
	}
	return answerText(action, reply, added), nil
}
