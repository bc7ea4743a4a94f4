package exim_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/smtpreply"
	"dkimd/policy"
)

const queueID = "1xV2Ha-0006jv-2l"

// Exim puts these in front of a message, and CRs at the ends of its lines get lost.
const (
	mboxLine = "From MAILER-DAEMON Sun Nov 22 07:46:42 2026\n"
	received = "Received: from x by mx with esmtp\n\tid " + queueID + ";\n\tSun, 22 Nov 2026 07:46:42 +0000\n"
	wireMail = "From:alice@gmail.com\nSubject : a\n\tb \n  c\nX-Envelope-To: <not@exims>\nReceived: from before\n\n.dot\ncaf\xe9 \x00\n\n"
)

func check(head, raw string) string {
	return fmt.Sprintf("CHECK RSPAMC/1.3\r\nContent-length: %d\r\nQueue-Id: %s\r\n%s\r\n%s", len(raw), queueID, strings.ReplaceAll(head, "\n", "\r\n"), raw)
}

const checkHead = "From: <alice@gmail.com>\nRecipient-Number: 2\nRcpt: <bob@mine.example>\nRcpt: <carol@mine.example>\n" +
	"Helo: client.example\nHostname: host.example\nIP: 203.0.113.9\n"

func checkMail() string {
	return mboxLine + "X-Envelope-From: <alice@gmail.com>\nX-Envelope-To: bob@mine.example, carol@mine.example\n" + received + wireMail
}

func verify(head, header, body string) string {
	return fmt.Sprintf("DKIMD/1 VERIFY\nQueue-Id: %s\n%sHeaders-Size: %d\nBody-Size: %d\n\n%s\n%s", queueID, head, len(header), len(body), header, body)
}

const verifyHead = "From: <alice@gmail.com>\nIP: 203.0.113.9\nHelo: client.example\nUser: \nProtocol: esmtp\n" +
	"Rcpts: bob@mine.example, \"a, \\\"b\"@mine.example\nNul: 0\nBody-True-Size: 13\n"

func verifyParts() (header, body string) {
	header, body, _ = strings.Cut(received+wireMail, "\n\n")
	return header + "\n", body
}

func sign(head, raw string) string {
	return fmt.Sprintf("DKIMD/1 SIGN\nQueue-Id: %s\nLength: %d\n%s\n%s", queueID, len(raw), head, raw)
}

// wireFields and wireBody are the message as it came over the wire.
var wireFields = []string{"From:alice@gmail.com", "Subject : a\n\tb \n  c", "X-Envelope-To: <not@exims>", "Received: from before"}

const wireBody = ".dot\r\ncaf\xe9 \x00\r\n\r\n"

// TestMessageIsThatOfTheWire: both dialects undo what Exim did.
func TestMessageIsThatOfTheWire(t *testing.T) {
	t.Parallel()
	header, body := verifyParts()
	for name, test := range map[string]struct {
		request string
		half    bool
	}{
		"CHECK":               {check(checkHead, checkMail()), false},
		"VERIFY":              {verify(verifyHead, header, body), true},
		"VERIFY, wire format": {verify(strings.Replace(verifyHead, ": 13", ": 16", 1), header, strings.ReplaceAll(body, "\n", "\r\n")), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			answer := w.ask(t, test.request, test.half)
			m := w.last(t)
			if !slices.Equal(m.fields, wireFields) || m.body.String() != wireBody || m.eoh != 1 || m.ended != "finish" {
				t.Errorf("fields %q\nbody %q, %d ends of header, %s", m.fields, m.body.String(), m.eoh, m.ended)
			}
			env := m.env
			if env.QueueID != queueID || env.Sender != "alice@gmail.com" || env.RecipientCount != 2 || env.Recipients[0] != "bob@mine.example" ||
				env.Client.Addr != netip.MustParseAddr("203.0.113.9") || env.Helo != "client.example" || env.Purpose != message.OnlyVerify ||
				env.Front != message.Exim || env.Authenticated() {
				t.Errorf("envelope %+v", env)
			}
			if !strings.HasSuffix(strings.TrimSpace(answer), "Id: "+queueID) {
				t.Errorf("answer %q", answer)
			}
			if strings.Contains(w.log.String(), "WARN") {
				t.Error(w.log)
			}
		})
	}
}

// TestFieldWithoutName: Exim accepts and delivers such mail, so it is neither deferred
// when it comes in nor kept in the queue when it leaves.
func TestFieldWithoutName(t *testing.T) {
	t.Parallel()
	const mail = "From: a@b\n: x\n:\n\n"
	for name, request := range map[string]string{
		"CHECK":  check("From: <>\nRecipient-Number: 1\nRcpt: <a@b>\n", mboxLine+"X-Envelope-To: a@b\n"+received+mail),
		"VERIFY": verify(strings.Replace(verifyHead, "True-Size: 13", "True-Size: 0", 1), received+strings.TrimSuffix(mail, "\n"), ""),
		"SIGN":   sign("IP: \nProtocol: local\n", mail),
	} {
		w := newWorld(t, nil)
		answer := w.ask(t, request, name != "CHECK")
		if m := w.last(t); answer == "" || !slices.Equal(m.fields, []string{"From: a@b", ": x", ":"}) {
			t.Errorf("%s: %q, fields %q", name, answer, m.fields)
		}
	}
}

func TestOtherEnvelopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	// The null sender has no X-Envelope-From; a stranger's own one stays.
	w.ask(t, check("From: <>\nRecipient-Number: 1\nRcpt: <bob@mine.example>\nUser: root\n",
		mboxLine+"X-Envelope-To: bob@mine.example\n"+received+"X-Envelope-From: <>\nX-Envelope-To: x\n\n"), false)
	m := w.last(t)
	if m.env.Sender != "" || m.env.Client.Kind != message.ClientLocal || m.env.AuthUser != "root" ||
		!slices.Equal(m.fields, []string{"X-Envelope-From: <>", "X-Envelope-To: x"}) || m.body.Len() != 0 {
		t.Errorf("%+v %q %q", m.env, m.fields, m.body.String())
	}
	// What is not as Exim writes it stays.
	w.ask(t, check(checkHead, mboxLine+"X-Envelope-From: <eve@gmail.com>\nX-Envelope-To: x\nReceived: other\n\nx"), false)
	if m = w.last(t); !slices.Equal(m.fields, []string{"X-Envelope-From: <eve@gmail.com>", "X-Envelope-To: x", "Received: other"}) || m.body.String() != "x" {
		t.Errorf("%q %q", m.fields, m.body.String())
	}
	w.ask(t, check("From: <>\nRecipient-Number: 1\nRcpt: <a@b>\n", mboxLine+"X-Envelope-To: a@b\nReceived: other\n\n"), false)
	if m = w.last(t); !slices.Equal(m.fields, []string{"Received: other"}) {
		t.Errorf("%q", m.fields)
	}
	w.ask(t, check("From: <>\nRecipient-Number: 0\n", mboxLine+"X-Envelope-To: stranger's\n\n"), false)
	if m = w.last(t); !slices.Equal(m.fields, []string{"X-Envelope-To: stranger's"}) {
		t.Errorf("%q", m.fields)
	}
	header, body := verifyParts()
	quoted := strings.Replace(verifyHead, "Rcpts: ", `Rcpts: "a\", b"@mine.example, `, 1)
	w.ask(t, verify(quoted, header, body), true)
	if m = w.last(t); len(m.env.Recipients) != 3 || m.env.Recipients[0] != `"a\", b"@mine.example` {
		t.Errorf("%q", m.env.Recipients)
	}
	for protocol, authenticated := range map[string]bool{
		"esmtpa": true, "esmtpsa": true, "asmtp": true, "utf8esmtpsa": true, "ESMTPA": true,
		"esmtp": false, "esmtps": false, "smtp": false, "": false, "http": false, "xesmtpa": false,
	} {
		w.ask(t, sign("IP: 203.0.113.9\nProtocol: "+protocol+"\n", "a: b\n\n"), true)
		if m = w.last(t); m.env.Authenticated() != authenticated || m.env.Purpose != message.OnlySign {
			t.Errorf("protocol %q: %+v", protocol, m.env)
		}
	}
	w.ask(t, sign("IP: host.example\nProtocol: esmtp\n", "a: b\n\n"), true)
	if m = w.last(t); m.env.Client.Kind != message.ClientUnreadable {
		t.Errorf("%+v", m.env)
	}
}

// TestAnswerIsTheSameText: what Exim makes of the answer to CHECK ($spam_report:
// no CR, a space behind each LF, no blanks at the end) is the answer to VERIFY.
func TestAnswerIsTheSameText(t *testing.T) {
	t.Parallel()
	header, body := verifyParts()
	tests := map[string]struct {
		outcome pipeline.Outcome
		want    string
	}{
		"accept": {
			pipeline.Outcome{Add: []pipeline.Addition{
				{Name: "Authentication-Results", Value: " mx.example;\r\n\tdkim=pass header.d=gmail.com"},
				{Name: "Authentication-Results", Value: " mx.example;\r\n\tdkim=fail"},
				{Name: "X-Tag", Value: " one"},
				{Name: "X-More", Value: " two\r\nthree"},
				{Name: "X Bad", Value: " x"},
			}, RemoveAuthRes: []int{1}},
			"Action: accept\n Forged-AR: yes\n Tag: X-Tag: one\n Tag: X-More: two three\n AR: mx.example;\n \tdkim=fail\n AR: mx.example;\n \tdkim=pass header.d=gmail.com\n Id: " + queueID,
		},
		"reject":        {pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 550, Enhanced: "5.7.20", Text: "no way"}}, "Action: reject\n Reply: 550 5.7.20 no way\n Id: " + queueID},
		"defer":         {pipeline.Outcome{Action: policy.TempFail, Reply: smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "later"}}, "Action: defer\n Reply: 451 4.7.5 later\n Id: " + queueID},
		"quarantine":    {pipeline.Outcome{Action: policy.Quarantine, Quarantine: "x"}, "Action: quarantine\n Id: " + queueID},
		"discard":       {pipeline.Outcome{Action: policy.Discard}, "Action: discard\n Id: " + queueID},
		"CRLF in reply": {pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 550, Enhanced: "5.7.20", Text: "a\r\nAction: accept\x00\xff"}}, "Action: reject\n Reply: 550 5.7.1 Message refused\n Id: " + queueID},
		"another class": {pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 250, Enhanced: "2.0.0", Text: "ok"}}, "Action: reject\n Reply: 550 5.7.1 Message refused\n Id: " + queueID},
		"unknown":       {pipeline.Outcome{Action: 99}, "Action: defer\n Reply: 451 4.7.1 Message deferred, please try again later\n Id: " + queueID},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.does(func(context.Context, *fakeMessage) pipeline.Outcome { return test.outcome })
			if got := w.ask(t, verify(verifyHead, header, body), true); got != test.want {
				t.Errorf("VERIFY: %q\nwant %q", got, test.want)
			}
			got := w.ask(t, check(checkHead, checkMail()), false)
			head, report, _ := strings.Cut(got, "Action:")
			report = strings.TrimRight(strings.ReplaceAll(strings.ReplaceAll("Action:"+report, "\r", ""), "\n", "\n "), " \n")
			if report != test.want {
				t.Errorf("CHECK: %q\nwant %q", report, test.want)
			}
			if !strings.HasPrefix(head, "RSPAMD/1.3 0 EX_OK\r\nMetric: default; ") || !strings.HasSuffix(head, " / 10 / 10\r\n") || strings.Count(head, "\n") != 2 {
				t.Errorf("CHECK: %q", head)
			}
		})
	}
}

// TestAnswerStaysUnder16KB: a longer report kills Exim's process.
func TestAnswerStaysUnder16KB(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.does(func(context.Context, *fakeMessage) pipeline.Outcome {
		out := pipeline.Outcome{}
		for i := range 100 { // as the verifier gives them: the best first
			value := fmt.Sprintf(" mx.example;\r\n\tdkim=pass header.d=d%d.example", i)
			value += strings.Repeat(";\r\n\tdkim=fail reason=\"body hash did not verify\" header.d=evil.example", 4)
			out.Add = append(out.Add, pipeline.Addition{Name: "Authentication-Results", Value: value})
		}
		for range 100 {
			out.Add = append(out.Add, pipeline.Addition{Name: "X-Tag", Value: " " + strings.Repeat("t", 400)})
		}
		return out
	})
	got := w.ask(t, check(checkHead, checkMail()), false)
	if len(got) > 16<<10 || len(got) < 8<<10 || !strings.HasSuffix(got, "\r\nId: "+queueID+"\r\n") ||
		!strings.Contains(got, "header.d=d0.example;") || strings.Contains(got, "header.d=d99.example;") {
		t.Errorf("%d bytes: %.300q ... %.300q", len(got), got, got[max(0, len(got)-300):])
	}
}

func TestSigningAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	raw := "From: a@ours.test\n\nbody\r\n.\n"
	for name, test := range map[string]struct {
		outcome pipeline.Outcome
		want    string
	}{
		"unsigned": {pipeline.Outcome{}, "DKIMD/1 OK 0\n"},
		"signed": {
			pipeline.Outcome{Add: []pipeline.Addition{{Name: "DKIM-Signature", Value: " v=1;\r\n\tb=x"}, {Name: "DKIM-Signature", Value: " v=2"}}},
			"DKIMD/1 OK 46\nDKIM-Signature: v=1;\n\tb=x\nDKIM-Signature: v=2\n",
		},
		"cannot": {pipeline.Outcome{Action: policy.TempFail, Reply: smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "x"}}, "DKIMD/1 DEFER\n"},
	} {
		w.does(func(context.Context, *fakeMessage) pipeline.Outcome { return test.outcome })
		if got := w.ask(t, sign("IP: \nProtocol: local\n", raw), true); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		// On its way out each LF gets a CR, also one behind a CR.
		if m := w.last(t); m.body.String() != "body\r\r\n.\r\n" || !slices.Equal(m.fields, []string{"From: a@ours.test"}) {
			t.Errorf("%s: %q %q", name, m.fields, m.body.String())
		}
	}
	if got := w.ask(t, "DKIMD/1 PING\n", false); got != "PONG\n" {
		t.Errorf("PING: %q", got)
	}
}

// TestLineEndsBetweenReads: a CRLF of a body in wire format may come in two pieces.
func TestLineEndsBetweenReads(t *testing.T) {
	t.Parallel()
	for _, start := range []string{"", "x"} {
		w := newWorld(t, nil)
		body := start + strings.Repeat("\r\n", 100_000)
		head := strings.Replace(verifyHead, "Size: 13", fmt.Sprintf("Size: %d", len(body)), 1)
		w.ask(t, verify(head, "A: b\n", body), true)
		if m := w.last(t); m.body.String() != body || m.unseen != "" {
			t.Errorf("%d bytes became %d, %s", len(body), m.body.Len(), m.unseen)
		}
	}
}

// TestAnyChunkingIsTheSameMessage: bytes may arrive one by one.
func TestAnyChunkingIsTheSameMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	conn := w.dial(t)
	for _, b := range []byte(check(checkHead, checkMail())) {
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if answer, _ := io.ReadAll(conn); !strings.HasSuffix(string(answer), queueID+"\r\n") {
		t.Errorf("%q", answer)
	}
	if m := w.last(t); !slices.Equal(m.fields, wireFields) || m.body.String() != wireBody {
		t.Errorf("%q %q", m.fields, m.body.String())
	}
}

// TestHostIsWhatEximCallsItself: VERIFY has a line for it. CHECK has none, but Exim's own Received says it, whatever
// the client said in front of it.
func TestHostIsWhatEximCallsItself(t *testing.T) {
	t.Parallel()
	const start = "Received: from [203.0.113.9] (helo=client)\n\t"
	with := func(receivedBy string) string {
		return check("From: <>\nRecipient-Number: 1\nRcpt: <a@b>\n", mboxLine+"X-Envelope-To: a@b\n"+receivedBy+"\n\tid "+queueID+"; Sun\nFrom: a@b\n\n")
	}
	line := func(host string) string { return verify("Host: "+host+"\n"+verifyHead, received, "") }
	for name, test := range map[string]struct{ request, want string }{
		"VERIFY":                           {line("mx.example.org"), "mx.example.org"},
		"VERIFY, upper case":               {line("MX.Example.ORG."), "mx.example.org"},
		"VERIFY, one label":                {line("mx"), "mx"},
		"VERIFY, no host":                  {line("mx.example.org; dkim=pass"), ""},
		"VERIFY, an address":               {line("203.0.113.1"), ""},
		"VERIFY, empty":                    {line(""), ""},
		"VERIFY, file of before":           {verify(verifyHead, received, ""), ""},
		"VERIFY, by its Received":          {verify(verifyHead, start+"by mx.example.org with esmtp\n\tid "+queueID+";\n", ""), "mx.example.org"},
		"VERIFY, line before Received":     {verify("Host: mx.example.org\n"+verifyHead, start+"by other.example with esmtp\n\tid "+queueID+";\n", ""), "mx.example.org"},
		"CHECK":                            {with(start + "by mx.example.org with esmtp"), "mx.example.org"},
		"CHECK, a client named by":         {with("Received: from by evil.example (helo=by evil.example)\n\tby mx.example.org with esmtp"), "mx.example.org"},
		"CHECK, only the first":            {with(start + "by mx.example.org with esmtp\n\tby evil.example"), "mx.example.org"},
		"CHECK, of another form":           {with("Received: at mx.example.org"), ""},
		"CHECK, no host":                   {with(start + "by [203.0.113.1] with esmtp"), ""},
		"CHECK, nothing behind by":         {with(start + "by"), ""},
		"CHECK, Received of another":       {strings.Replace(with(start+"by mx.example.org with esmtp"), "id "+queueID+"; Sun", "id 1xV2Ha-0006jv-2x; Sun", 1), ""},
		"CHECK, a line for it is no line":  {strings.Replace(with("Received: x"), "From: <>", "Host: evil.example\r\nFrom: <>", 1), ""},
		"CHECK, a stranger's own Received": {strings.Replace(with("Received: x"), "From: a@b", start+"by evil.ex id "+queueID, 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := strings.Replace(test.request, "True-Size: 13", "True-Size: 0", 1)
			if at := strings.Index(request, "\r\n\r\n"); strings.HasPrefix(request, "CHECK") {
				_, rest, _ := strings.Cut(request, "Content-length: ")
				length, _, _ := strings.Cut(rest, "\r\n")
				request = strings.Replace(request, "length: "+length, fmt.Sprintf("length: %d", len(request)-at-4), 1)
			}
			w := newWorld(t, nil)
			w.ask(t, request, strings.HasPrefix(request, "DKIMD"))
			if m := w.last(t); m.ended != "finish" || m.env.MTA != test.want {
				t.Errorf("%s: MTA %q, want %q\n%s", m.ended, m.env.MTA, test.want, w.log)
			}
		})
	}
	w := newWorld(t, nil)
	if got := w.ask(t, strings.Replace(line("a.example"), "Host:", "Host: b.example\nHost:", 1), true); got != "" {
		t.Errorf("two lines are taken: %q", got)
	}
	if got := w.ask(t, sign("IP: \nProtocol: local\nHost: a.example\n", "a: b\n\n"), true); got == "" {
		t.Error("SIGN with the line is refused")
	}
}
