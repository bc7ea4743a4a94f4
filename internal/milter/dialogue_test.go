package milter_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dkimd/internal/message"
	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
	"dkimd/internal/pipeline"
	"dkimd/internal/smtpreply"
	"dkimd/internal/socket"
	"dkimd/policy"
)

const mail = "Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n" +
	"Subject:no space\r\nFrom:  two@spaces.example\r\nX-Empty:\r\nTo : b@example.net\r\n\r\nhello\r\n\r\nworld\r\n"

func peer(addr string) client.Peer {
	return client.Peer{Name: "client.example.net", Addr: netip.MustParseAddr(addr), Port: 40000}
}

func letter(id string) client.Mail {
	return client.Mail{
		Peer: peer("203.0.113.9"), Helo: "helo.example", Sender: id + "@example.com",
		Recipients: []string{"r1@example.net", "r2@example.net"}, Parameters: []string{"SIZE=100", "BODY=8BITMIME"},
		QueueID: "Q" + id, Raw: []byte(mail),
	}
}

// send sends a message and fails the test unless it is answered in order.
func send(t *testing.T, s *client.Session, m client.Mail) client.Result {
	t.Helper()
	r, err := s.Send(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDialogue has three messages over one connection, as both MTAs send them
// and with all that can be agreed and not agreed.
func TestDialogue(t *testing.T) {
	t.Parallel()
	offers := map[string]client.Options{
		"version 6":                        {},
		"version 6 without leading space":  {Version: 6, Actions: client.AllActions, Protocol: client.AllProtocol &^ client.LeadingSpace},
		"version 6 with all replies":       {Version: 6, Actions: client.AllActions, Protocol: client.AllProtocol &^ client.NoReplies},
		"version 6, replies but to fields": {Version: 6, Actions: client.AllActions, Protocol: client.OldProtocol | client.NoReplyHeader},
		"version 6 without removals":       {Version: 6, Actions: client.AllActions &^ client.ActionChangeHeader, Protocol: client.AllProtocol},
		"version 6 without macro lists":    {Version: 6, Actions: client.AllActions &^ client.ActionSetSymList, Protocol: client.AllProtocol},
		"version 6 with unknown commands":  {Version: 6, Actions: client.AllActions, Protocol: client.AllProtocol &^ client.NoUnknown},
		"version 2 of an old Sendmail":     {Version: 2, Actions: client.OldActions, Protocol: client.OldProtocol},
		"version 2 with leading space":     {Version: 2, Actions: client.OldActions, Protocol: client.OldProtocol | client.LeadingSpace},
		"version 4":                        {Version: 4, Actions: client.AllActions & 0x3f, Protocol: client.OldProtocol | client.NoReplyHeader},
		"a version to come":                {Version: 9, Actions: 0xffffffff, Protocol: 0xffffffff},
	}
	for name, o := range offers {
		for _, mta := range []client.MTA{client.Postfix, client.Sendmail} {
			for _, listen := range []string{"inet:127.0.0.1:0", "unix"} {
				t.Run(fmt.Sprintf("%s/%d/%s", name, mta, listen[:4]), func(t *testing.T) {
					t.Parallel()
					if listen == "unix" {
						listen = socketIn(short(t))
					}
					o := o
					o.MTA = mta
					dialogue(t, start(t, milter.Config{Config: socket.Config{Listen: []string{listen}}}), o)
				})
			}
		}
	}
}

func dialogue(t *testing.T, w *world, o client.Options) {
	t.Helper()
	w.outcome = func(_ context.Context, m *fakeMessage) pipeline.Outcome {
		if strings.HasPrefix(m.env.Sender, "2") {
			return pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 550, Enhanced: "5.7.20", Text: "100% no"}}
		}
		return pipeline.Outcome{Action: policy.Accept, Add: []pipeline.Addition{{Name: "X-Id", Value: " " + m.env.Sender}}}
	}
	s := w.dial(t, o)
	if offered := max(o.Version, map[bool]uint32{true: 6}[o.Version == 0]); s.Version != min(offered, 6) {
		t.Errorf("version %d for %d offered", s.Version, offered)
	}
	for _, id := range []string{"1", "2", "3"} {
		m := letter(id)
		if id == "3" {
			m.AuthType, m.AuthUser = "PLAIN", "user@example.com"
		}
		r := send(t, s, m)
		want := client.Result{Action: client.Reject, Reply: "550 5.7.20 100% no"}
		if id != "2" {
			want = client.Result{Action: client.Continue, Edits: []client.Edit{{Kind: client.Insert, Name: "X-Id", Value: " " + id + "@example.com"}}}
		}
		if d := cmp.Diff(want, r); d != "" {
			t.Fatalf("message %s (-want +got):\n%s", id, d)
		}
		if r, err := s.Unknown("XYZZY"); err != nil || r.Action != client.Continue {
			t.Fatalf("unknown command: %v %v", r, err)
		}
	}
	if err := s.Quit(); err != nil {
		t.Fatal(err)
	}
	for i, m := range w.ended(t, 3) {
		id := strconv.Itoa(i + 1)
		want := &message.Envelope{
			Front: message.Milter, QueueID: "Q" + id, MTA: "mx.example.org", DaemonName: "smtpd", Helo: "helo.example",
			Client: message.NewClient("client.example.net", "203.0.113.9"), Sender: id + "@example.com",
			Recipients: []string{"r1@example.net", "r2@example.net"}, RecipientCount: 2,
			CannotQuarantine: s.Actions&client.ActionQuarantine == 0,
			CanReplaceFields: s.Actions&client.ActionChangeHeader != 0,
			CannotRemove:     s.Actions&client.ActionChangeHeader == 0,
		}
		if id == "3" {
			want.AuthType, want.AuthUser = "PLAIN", "user@example.com"
		}
		if d := cmp.Diff(want, m.env, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.IgnoreFields(message.Envelope{}, "Held")); d != "" {
			t.Errorf("envelope %s (-want +got):\n%s", id, d)
		}
		fields := []string{
			"Received: from a by b;\n\tMon, 1 Jan 2024 00:00:00 +0000", "Subject:no space",
			"From:  two@spaces.example", "X-Empty:", "To: b@example.net",
		}
		if s.Protocol&client.LeadingSpace == 0 {
			// Whether there was a space is lost; mostly there was one.
			fields[1], fields[3] = "Subject: no space", "X-Empty: "
		}
		if d := cmp.Diff(fields, m.fields); d != "" {
			t.Errorf("fields %s (-want +got):\n%s", id, d)
		}
		if got := m.body.String(); got != "hello\r\n\r\nworld\r\n" {
			t.Errorf("body %s: %q", id, got)
		}
		if m.eoh != 1 || m.ends != 1 || m.ended != "finish" {
			t.Errorf("message %s: %d ends of header, %d ends, %q", id, m.eoh, m.ends, m.ended)
		}
		if m.ctx.Err() == nil {
			t.Errorf("message %s: its context outlives it", id)
		}
	}
	if logs := w.logs.String(); strings.Contains(logs, "departs") {
		t.Errorf("an MTA that behaves is blamed:\n%s", logs)
	}
}

// TestAbort has messages that end early between others that do not.
func TestAbort(t *testing.T) {
	t.Parallel()
	early := map[string]func(s *client.Session){
		"after MAIL":    func(*client.Session) {},
		"after RCPT":    func(s *client.Session) { _, _ = s.Rcpt("lost@example.net") },
		"in the header": func(s *client.Session) { _, _ = s.Data(); _, _ = s.Header("From", " lost@example.com") },
		"in the body": func(s *client.Session) {
			_, _ = s.Header("A", " b")
			_, _ = s.EndOfHeader()
			_, _ = s.Body([]byte("lost"))
		},
		"without any header": func(s *client.Session) { _, _ = s.Data(); _, _ = s.EndOfHeader() },
	}
	for name, steps := range early {
		for _, mta := range []client.MTA{client.Postfix, client.Sendmail} {
			t.Run(fmt.Sprintf("%s/%d", name, mta), func(t *testing.T) {
				t.Parallel()
				w := start(t, milter.Config{})
				s := w.dial(t, client.Options{MTA: mta})
				send(t, s, letter("1"))
				if _, err := s.Mail("lost@example.com", nil, "{auth_type}", "PLAIN", "{auth_authen}", "somebody"); err != nil {
					t.Fatal(err)
				}
				steps(s)
				if err := s.Abort(); err != nil {
					t.Fatal(err)
				}
				send(t, s, letter("2"))
				messages := w.ended(t, 3)
				if got := messages[1].ended; got != "abort: the MTA aborted the message" {
					t.Errorf("the aborted one ended with %q", got)
				}
				last := messages[2]
				if last.env.AuthType != "" || last.env.AuthUser != "" || last.env.QueueID != "Q2" || last.env.Sender != "2@example.com" {
					t.Errorf("the next message got the aborted one's envelope: %+v", last.env)
				}
				if last.env.Client.String() != "203.0.113.9" || last.env.Helo != "helo.example" || last.env.MTA != "mx.example.org" {
					t.Errorf("the connection's state is gone after an abort: %+v", last.env)
				}
				if len(last.env.Recipients) != 2 || len(last.fields) != 5 || last.body.String() != "hello\r\n\r\nworld\r\n" {
					t.Errorf("the aborted message leaked: %v %v %q", last.env.Recipients, last.fields, last.body.String())
				}
			})
		}
	}
}

// TestNewMailEndsOldOne is a Sendmail that forgets to abort.
func TestNewMailEndsOldOne(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{MTA: client.Sendmail})
	_, _ = s.Connect(peer("203.0.113.9"))
	_, _ = s.Helo("helo.example")
	_, _ = s.Mail("lost@example.com", nil, "{auth_type}", "PLAIN")
	_, _ = s.Header("A", " b")
	_, _ = s.EndOfHeader()
	_, _ = s.Body([]byte("lost"))
	_, _ = s.Mail("kept@example.com", nil)
	_, _ = s.Header("C", " d")
	if r, err := s.EndOfMessage(); err != nil || r.Action != client.Continue {
		t.Fatal(r, err)
	}
	messages := w.ended(t, 2)
	if messages[0].ended != "abort: the MTA began another message" {
		t.Errorf("ended with %q", messages[0].ended)
	}
	if got := messages[1]; got.env.AuthType != "" || len(got.fields) != 1 || got.body.Len() != 0 {
		t.Errorf("leaked into the next message: %+v %v", got.env, got.fields)
	}
}

// TestNoLeakIntoMessageWithoutMacros has a second MAIL that tells nothing of itself.
func TestNoLeakIntoMessageWithoutMacros(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{})
	m := letter("1")
	m.AuthType, m.AuthUser = "PLAIN", "somebody"
	send(t, s, m)
	s.Raw('M', []byte("<2@example.com>\x00"))
	s.Raw('E', nil)
	s.Raw('M', []byte("<3@example.com>\x00")) // while the second has ended without an abort
	_ = s.Flush()
	if second := w.ended(t, 2)[1].env; second.AuthType != "" || second.AuthUser != "" || second.QueueID != "" || second.MTA == "" {
		t.Errorf("the first message's macros are the second one's: %+v", second)
	}
}

// TestNewConnection reuses the filter's connection for another SMTP client.
func TestNewConnection(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{})
	m := letter("1")
	m.AuthType = "PLAIN"
	send(t, s, m)
	other := letter("2")
	other.Peer = peer("198.51.100.1")
	other.Helo = "other.example"
	send(t, s, other)
	s.Raw('K', nil)
	s.Raw('M', []byte("<3@example.com>\x00"))
	s.Raw('E', nil)
	_ = s.Flush()
	messages := w.ended(t, 3)
	if env := messages[1].env; env.Client.String() != "198.51.100.1" || env.Helo != "other.example" || env.AuthType != "" {
		t.Errorf("second client: %+v", env)
	}
	if env := messages[2].env; env.Client.Kind != message.ClientUnreadable || env.Helo != "" || env.MTA != "" {
		t.Errorf("who says nothing of himself is somebody: %+v", env)
	}
}

func TestClients(t *testing.T) {
	t.Parallel()
	v6 := netip.MustParseAddr("2001:db8::1")
	tests := map[string]struct {
		payload string
		want    message.Client
	}{
		"IPv4":                   {"a.example\x004\x9c\x40192.0.2.1\x00", message.NewClient("a.example", "192.0.2.1")},
		"IPv6":                   {"a.example\x006\x00\x002001:db8::1\x00", message.Client{Kind: message.ClientAddress, Addr: v6, Name: "a.example"}},
		"IPv6 of Sendmail":       {"a.example\x006\x00\x00IPv6:2001:db8:0:0:0:0:0:1\x00", message.Client{Kind: message.ClientAddress, Addr: v6, Name: "a.example"}},
		"no NUL after address":   {"a\x004\x00\x00192.0.2.1", message.NewClient("a", "192.0.2.1")},
		"unix":                   {"localhost\x00L\x00\x00/run/socket\x00", message.Client{Kind: message.ClientLocal, Name: "localhost"}},
		"unknown, nothing in it": {"localhost\x00U", message.Client{Kind: message.ClientLocal, Name: "localhost"}},
		"unknown, withheld":      {"unknown\x00U", message.Client{Name: "unknown"}},
		"unknown, an address":    {"localhost\x00U\x00\x00127.0.0.1\x00", message.Client{Name: "localhost"}},
		"IPv4, no address":       {"a\x004\x00\x00\x00", message.Client{Name: "a"}},
		"IPv4, no port":          {"a\x004\x00", message.Client{Name: "a"}},
		"IPv4, nothing":          {"a\x004", message.Client{Name: "a"}},
		"IPv4, rubbish":          {"a\x004\x00\x00localhost\x00", message.Client{Name: "a"}},
		"a family of its own":    {"a\x00X\x00\x00127.0.0.1\x00", message.Client{Name: "a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, milter.Config{})
			s := w.dial(t, client.Options{})
			s.Raw('C', []byte(tt.payload))
			s.Raw('M', []byte("<a@example.com>\x00"))
			s.Raw('E', nil)
			_ = s.Flush()
			if got := w.ended(t, 1)[0].env.Client; got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestEmptyConnectIsRefused(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{"", "a", "a\x00"} {
		w := start(t, milter.Config{})
		s := w.dial(t, client.Options{})
		s.Raw('C', []byte(payload))
		_ = s.Flush()
		w.expect(t, "malformed connect")
	}
}

// TestBodySizes has bodies around every border there is in the reader.
func TestBodySizes(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{})
	for n, size := range []int{0, 1, 4095, 8190, 8191, 8192, 8193, 65534, 65535, 65536, 100_000, 1 << 20, 3 << 20} {
		body := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
		m := letter("x")
		m.Raw = append([]byte("From: a@example.com\r\n\r\n"), body...)
		send(t, s, m)
		if got := w.ended(t, n+1)[n]; !bytes.Equal(got.body.Bytes(), body) {
			t.Fatalf("a body of %d bytes came as %d", size, got.body.Len())
		}
	}
}

// TestDataInEndOfBody: the protocol allows the last piece to come with it.
func TestDataInEndOfBody(t *testing.T) {
	t.Parallel()
	for _, size := range []int{5, 20_000, 1<<20 - 1} {
		w := start(t, milter.Config{})
		s := w.dial(t, client.Options{})
		_, _ = s.Mail("a@example.com", nil)
		_, _ = s.Header("A", " b")
		_, _ = s.Body([]byte("first,"))
		last := bytes.Repeat([]byte("x"), size)
		if r, err := s.EndOfMessage(last...); err != nil || r.Action != client.Continue {
			t.Fatal(r, err)
		}
		if got := w.ended(t, 1)[0].body.Bytes(); !bytes.Equal(got, append([]byte("first,"), last...)) {
			t.Errorf("%d bytes at the end: the body came with %d", size, len(got))
		}
	}
}

// TestHugeHeaderDoesNotStay: what was read for it is not kept by the session.
func TestHugeHeader(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{})
	m := letter("1")
	value := " " + strings.Repeat("a", 900_000)
	m.Raw = []byte("X-Big:" + value + "\r\nFrom: a@example.com\r\n\r\nb\r\n")
	send(t, s, m)
	if got := w.ended(t, 1)[0].fields; len(got) != 2 || got[0] != "X-Big:"+value {
		t.Errorf("%d fields", len(got))
	}
}

func TestManyRecipients(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{})
	m := letter("1")
	m.Recipients = make([]string, message.MaxRecipients+5)
	for i := range m.Recipients {
		m.Recipients[i] = fmt.Sprintf("r%d@example.net", i)
	}
	send(t, s, m)
	if env := w.ended(t, 1)[0].env; env.RecipientCount != len(m.Recipients) || len(env.Recipients) != message.MaxRecipients {
		t.Errorf("%d recipients counted, %d kept", env.RecipientCount, len(env.Recipients))
	}
}
