//go:build integration

package integration_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// impostor takes dkimd's place at the socket of a world, and misbehaves.
type impostor struct {
	listener net.Listener
	all      sync.WaitGroup
	stop     chan struct{}
}

// impersonate ends dkimd, and answers each request by its first line. Nothing
// more is read than answer reads.
func impersonate(t *testing.T, e *harness.EximWorld, answer func(first string, in *bufio.Reader, conn net.Conn, stop <-chan struct{})) {
	t.Helper()
	e.Stop(t)
	listener, err := net.Listen("unix", e.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(e.Socket, 0o666); err != nil {
		t.Fatal(err)
	}
	p := &impostor{listener: listener, stop: make(chan struct{})}
	p.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.all.Go(func() {
				defer conn.Close() //nolint:errcheck // that is the misbehaviour
				in := bufio.NewReader(conn)
				first, _ := in.ReadString('\n')
				answer(first, in, conn, p.stop)
			})
		}
	})
	t.Cleanup(func() { close(p.stop); _ = listener.Close(); p.all.Wait() })
}

// queueID reads a whole request and returns its queue id.
func queueID(in *bufio.Reader) (id string) {
	var length int64
	for {
		line, err := in.ReadString('\n')
		line = strings.TrimSpace(line)
		if err != nil || line == "" {
			break
		}
		if value, found := strings.CutPrefix(line, "Queue-Id: "); found {
			id = value
		}
		_, _ = fmt.Sscanf(line, "Content-length: %d", &length)
	}
	if length > 0 { // "spam =" leaves its side open
		_, _ = io.CopyN(io.Discard, in, length)
	} else {
		_, _ = io.Copy(io.Discard, in)
	}
	return id
}

const quick = "DKIMD_WAIT = 3s\nDKIMD_SIGN_WAIT = 3s"

// While dkimd is away, or not right, mail waits at its sender: nothing comes in
// unchecked, nothing is lost.
func TestEximDefersWhatDkimdDoesNotAnswerFor(t *testing.T) {
	t.Parallel()
	const unavailable = "451 4.7.1 DKIM service unavailable, try again later"
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		good := func(id, text string) string {
			if build == "heavy" {
				return "RSPAMD/1.3 0 EX_OK\r\nMetric: default; False; 0 / 10 / 10\r\n" + strings.ReplaceAll(text, "\n", "\r\n") + "Id: " + id + "\r\n"
			}
			return strings.ReplaceAll(text, "\n", "\n ") + "Id: " + id
		}
		tests := map[string]struct {
			answer func(first string, in *bufio.Reader, conn net.Conn, stop <-chan struct{})
			want   string
		}{
			"down": {nil, unavailable},
			"hangs": {func(_ string, in *bufio.Reader, _ net.Conn, stop <-chan struct{}) {
				go io.Copy(io.Discard, in) //nolint:errcheck // until the connection ends
				<-stop
			}, unavailable},
			"closes": {func(_ string, in *bufio.Reader, _ net.Conn, _ <-chan struct{}) { queueID(in) }, unavailable},
			"killed in mid-answer": {func(_ string, in *bufio.Reader, conn net.Conn, _ <-chan struct{}) {
				whole := good(queueID(in), "Action: accept\nAR: x; dkim=pass\n")
				_, _ = io.WriteString(conn, whole[:len(whole)-12])
			}, unavailable},
			"speaks of another message": {func(_ string, in *bufio.Reader, conn net.Conn, _ <-chan struct{}) {
				queueID(in)
				_, _ = io.WriteString(conn, good("1xAAAA-000000-00", "Action: accept\n"))
			}, unavailable},
			"garbage": {func(_ string, in *bufio.Reader, conn net.Conn, _ <-chan struct{}) {
				queueID(in)
				_, _ = io.WriteString(conn, strings.Repeat("garbage\r\n", 100))
			}, unavailable},
			"an action nobody knows": {func(_ string, in *bufio.Reader, conn net.Conn, _ <-chan struct{}) {
				_, _ = io.WriteString(conn, good(queueID(in), "Action: acceptable\n"))
			}, "451 4.7.1 DKIM check failed temporarily"},
			"accepts": {func(_ string, in *bufio.Reader, conn net.Conn, _ <-chan struct{}) {
				_, _ = io.WriteString(conn, good(queueID(in), "Action: accept\nAR: x; dkim=none\n"))
			}, "250 OK"},
		}
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				e := harness.NewEximWorld(t, build, harness.EximSettings{Macros: quick})
				if test.answer != nil {
					impersonate(t, e, test.answer)
				} else {
					e.Kill(t)
				}
				to := harness.Unique("away") + "@inbox.test"
				got := e.Dial(t, harness.EximOutside).Send("bob@theirs.example", to, harness.NewMail("bob@theirs.example", "nobody checks").Bytes())
				if !strings.HasPrefix(got.String(), test.want) {
					t.Errorf("answer %q, want %q", got, test.want)
				}
				if found := e.Sink.Find(to); got.Code != 250 && len(found) > 0 {
					t.Error("delivered unchecked")
				}
			})
		}
	})
}

// After a scan that failed, $spam_report still holds the one before: it must
// not pass for an answer.
func TestEximStaleReportIsNoAnswer(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{}) // a refused connection needs no short wait
		harness.PublishForeignKeys(e.DNS, "theirs.example")
		s := e.Dial(t, harness.EximOutside)
		data := byTheirs.sign(t, harness.NewMail("bob@theirs.example", "one of two").Bytes())
		if got := s.Send("bob@theirs.example", "a@inbox.test", data); got.Code != 250 {
			t.Fatal(got)
		}
		e.Kill(t)
		if got := s.Send("bob@theirs.example", "b@inbox.test", data); got.Code != 451 {
			t.Errorf("the second message: %s", got)
		}
		e.Start(t)
		if got := s.Send("bob@theirs.example", "c@inbox.test", data); got.Code != 250 {
			t.Errorf("the third message: %s", got)
		}
	})
}

func TestEximJudgesEachMessageOfAConnection(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{Rules: map[string]string{"gmail.com": gmailRule}})
		harness.PublishForeignKeys(e.DNS, "gmail.com")
		s := e.Dial(t, harness.EximOutside)
		plain := harness.NewMail(gmailUser, "one of three").Bytes()
		for i, want := range []string{"250 OK", gmailReply, "250 OK"} {
			data := plain
			if i != 1 {
				data = byGmail.sign(t, plain)
			}
			if got := s.Send(gmailUser, "reader@inbox.test", data); !strings.HasPrefix(got.String(), want) {
				t.Errorf("message %d: %q, want %q", i, got, want)
			}
		}
	})
}

// Outgoing mail waits in Exim's queue while dkimd is away, and is signed and
// sent once it is back. Nothing unsigned and no half message leaves.
func TestEximKeepsOutgoingMailUntilItIsSigned(t *testing.T) {
	t.Parallel()
	pong := func(then func(in *bufio.Reader, conn net.Conn, stop <-chan struct{})) func(string, *bufio.Reader, net.Conn, <-chan struct{}) {
		return func(first string, in *bufio.Reader, conn net.Conn, stop <-chan struct{}) {
			if first == "DKIMD/1 PING\n" {
				_, _ = io.WriteString(conn, "PONG\n")
				return
			}
			then(in, conn, stop)
		}
	}
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		tests := map[string]struct {
			answer func(string, *bufio.Reader, net.Conn, <-chan struct{})
			log    []string
		}{
			"down": {nil, []string{"R=dkimd_up defer (-1)", "DKIM signing service unavailable"}},
			"hangs": {
				pong(func(_ *bufio.Reader, _ net.Conn, stop <-chan struct{}) { <-stop }),
				[]string{"T=remote_smtp", "defer", "transport filter process failed (75)"},
			},
			"closes": {
				pong(func(in *bufio.Reader, _ net.Conn, _ <-chan struct{}) { _, _ = io.Copy(io.Discard, in) }),
				[]string{"T=remote_smtp", "defer", "transport filter process failed (75)"},
			},
			"killed in mid-answer": {pong(func(in *bufio.Reader, conn net.Conn, _ <-chan struct{}) {
				_, _ = io.Copy(io.Discard, in)
				_, _ = io.WriteString(conn, "DKIMD/1 OK 60\nDKIM-Signature: v=1; a=")
			}), []string{"T=remote_smtp", "defer", "transport filter process failed (75)"}},
		}
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				e := harness.NewEximWorld(t, build, harness.EximSettings{Macros: quick})
				if test.answer != nil {
					impersonate(t, e, test.answer)
				} else {
					e.Kill(t)
				}
				to := harness.Unique("waits") + "@elsewhere.test"
				m := harness.NewMail("ann@ours.test", "waits for its signature")
				m.Body = strings.Repeat("A line of a message that is not small.\r\n", 20_000)
				if got := e.Dial(t, harness.EximInside).Send("ann@ours.test", to, m.Bytes()); got.Code != 250 {
					t.Fatal(got)
				}
				e.WaitLog(t, append([]string{"== " + to}, test.log...)...)
				if len(e.Sink.Find(to)) > 0 || e.Sink.Halves() > 0 {
					t.Fatalf("something left: %d whole, %d half", len(e.Sink.Find(to)), e.Sink.Halves())
				}
				if test.answer != nil {
					return
				}
				// New mail is taken all the same: an ACL that verifies addresses is not in its way.
				if got := e.Run(t, nil, "-bv", to); !strings.Contains(got, "verified") {
					t.Errorf("exim -bv: %s", got)
				}
				e.Start(t)
				e.Run(t, nil, "-qff")
				checkSignedByExim(t, e, e.Sink.Wait(t, to).Data)
			})
		}
	})
}

// With DKIMD_FAIL_OPEN mail goes on while dkimd is down: unchecked, unsigned,
// and without results that nobody made.
func TestEximFailsOpenWhenAsked(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{Macros: quick + "\nDKIMD_FAIL_OPEN = yes"})
		e.Kill(t)
		to := harness.Unique("open") + "@inbox.test"
		forged := "Authentication-Results: " + harness.Hostname + "; dkim=pass header.d=gmail.com"
		got := e.Dial(t, harness.EximOutside).Send("bob@theirs.example", to, harness.NewMail("bob@theirs.example", "open").With(forged).Bytes())
		if got.Code != 250 {
			t.Fatal(got)
		}
		if ar := harness.FieldValues(e.Sink.Wait(t, to).Data, "Authentication-Results"); len(ar) != 0 {
			t.Errorf("Authentication-Results: %q", ar)
		}
		to = harness.Unique("open") + "@elsewhere.test"
		data := harness.NewMail("ann@ours.test", "open").Bytes()
		if got := e.Dial(t, harness.EximInside).Send("ann@ours.test", to, data); got.Code != 250 {
			t.Fatal(got)
		}
		if d := e.Sink.Wait(t, to).Data; len(harness.FieldValues(d, "DKIM-Signature")) != 0 || !bytes.HasSuffix(d, data) {
			t.Errorf("delivered:\n%s", d)
		}
		e.Start(t)
		to = harness.Unique("open") + "@elsewhere.test"
		e.Dial(t, harness.EximInside).Send("ann@ours.test", to, data)
		checkSignedByExim(t, e, e.Sink.Wait(t, to).Data)
	})
}

func TestEximRemovesForgedResults(t *testing.T) {
	t.Parallel()
	const foreign = "Authentication-Results: foreign.example; spf=pass"
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{})
		for name, test := range map[string]struct {
			with []string
			want []string // what the fields begin with, top first
		}{
			"forged":  {[]string{"Authentication-Results: " + harness.Hostname + ";\r\n\tdkim=pass header.d=gmail.com"}, []string{harness.Hostname + ";"}},
			"foreign": {[]string{foreign}, []string{harness.Hostname + ";", "foreign.example;"}},
			"blank":   {[]string{"Authentication-Results : " + harness.Hostname + "; dkim=pass header.d=gmail.com"}, []string{harness.Hostname + ";"}},
			"behind":  {append(slices.Repeat([]string{foreign + strings.Repeat(" ", 900) + "x=y"}, 80), "Authentication-Results: "+harness.Hostname+"; dkim=pass header.d=gmail.com"), []string{harness.Hostname + ";"}},
			// Exim removes by name: the foreign one goes too.
			"both": {[]string{foreign, "authentication-results:" + strings.ToUpper(harness.Hostname) + " 1; dkim=pass"}, []string{harness.Hostname + ";"}},
		} {
			if name == "behind" && build == "light" {
				continue // refused: its limit of a header is lower
			}
			to := harness.Unique("forged") + "@inbox.test"
			sender := harness.Unique("forger") + "@theirs.example"
			e.Dial(t, harness.EximOutside).Send(sender, to, harness.NewMail(sender, "forged results").With(test.with...).Bytes())
			got := harness.FieldValues(e.Sink.Wait(t, to).Data, "Authentication-Results")
			if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("%s: %q, want %q", name, got, test.want)
			}
			if strings.Contains(strings.Join(got, ""), "dkim=pass") {
				t.Errorf("%s: a forged result stays: %q", name, got)
			}
			// Nor may a client that is not checked bring them: it relays, or its password is stolen.
			to = harness.Unique("relayed") + "@inbox.test"
			e.Dial(t, harness.EximInside).Send(sender, to, harness.NewMail(sender, "forged results").With(test.with...).Bytes())
			if got := harness.FieldValues(e.Sink.Wait(t, to).Data, "Authentication-Results"); !slices.EqualFunc(got, test.want[1:], strings.HasPrefix) {
				t.Errorf("%s, relayed: %q, want %q", name, got, test.want[1:])
			}
		}
	})
}

// TestEximSaysWhatOurNameIs: dkimd.toml has no hostname, and this host has another name.
func TestEximSaysWhatOurNameIs(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{NoName: true})
		host, err := os.Hostname()
		if err != nil || strings.EqualFold(host, harness.Hostname) {
			t.Fatalf("this host is %q: %v", host, err)
		}
		const forged = "; dkim=pass header.d=gmail.com"
		for _, name := range []string{harness.Hostname, host} {
			to := harness.Unique("named") + "@inbox.test"
			sender := harness.Unique("forger") + "@theirs.example"
			m := harness.NewMail(sender, "forged results").With("Authentication-Results: "+name+forged, "Authentication-Results: "+harness.Hostname+" 1"+forged)
			e.Dial(t, harness.EximOutside).Send(sender, to, m.Bytes())
			got := harness.FieldValues(e.Sink.Wait(t, to).Data, "Authentication-Results")
			if len(got) != 1 || !strings.HasPrefix(got[0], harness.Hostname+";") || !strings.HasSuffix(got[0], "dkim=none") || strings.Contains(got[0], "gmail.com") {
				t.Errorf("%s: %q", name, got)
			}
		}
	})
}

func TestEximCarriesOutEveryAction(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		rule := func(action string) string { return fmt.Sprintf(unsignedRule, "enforce", action) }
		e := harness.NewEximWorld(t, build, harness.EximSettings{Rules: map[string]string{
			"discard.test":    rule(`action = "discard"`),
			"quarantine.test": rule(`action = "quarantine"`),
			"tempfail.test":   rule(`action = "tempfail"`),
			"tag.test":        rule("action = \"tag\"\ntag = \"X-Dkimd: unsigned $&{}\"\n[[rule]]\nname = \"two\"\nresult = \"none\"\naction = \"tag\"\ntag = \"X-More: again\""),
		}})
		send := func(domain string) (harness.Reply, string) {
			to := harness.Unique(domain) + "@inbox.test"
			return e.Dial(t, harness.EximOutside).Send("bob@"+domain, to, harness.NewMail("bob@"+domain, "an action").Bytes()), to
		}
		if r, to := send("discard.test"); r.Code != 250 || len(e.Sink.Find(to)) != 0 {
			t.Errorf("discard: %s", r)
		}
		if r, _ := send("tempfail.test"); !strings.HasPrefix(r.String(), "451 4.7") {
			t.Errorf("tempfail: %s", r)
		}
		r, to := send("tag.test")
		data := e.Sink.Wait(t, to).Data
		if r.Code != 250 || !slices.Equal(harness.FieldValues(data, "X-Dkimd"), []string{"unsigned $&{}"}) || !slices.Equal(harness.FieldValues(data, "X-More"), []string{"again"}) {
			t.Errorf("tag: %s\n%s", r, data)
		}
		if ar := harness.FieldValues(data, "Authentication-Results"); len(ar) != 1 || !strings.HasPrefix(ar[0], harness.Hostname+";") || !strings.HasSuffix(ar[0], "dkim=none") {
			t.Errorf("Authentication-Results beside tags: %q", ar)
		}
		r, to = send("quarantine.test")
		if r.Code != 250 {
			t.Errorf("quarantine: %s", r)
		}
		e.WaitLog(t, r.EximID(), "frozen by ACL")
		if list := e.Run(t, nil, "-bp"); !strings.Contains(list, "*** frozen ***") || len(e.Sink.Find(to)) != 0 {
			t.Errorf("not held: %s", list)
		}
		e.Run(t, nil, "-Mt", r.EximID())
		e.Run(t, nil, "-M", r.EximID())
		e.Sink.Wait(t, to)
	})
}

// What is too large or too many is handled, or refused with words.
func TestEximLimits(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{Rules: map[string]string{"gmail.com": gmailRule}, Macros: "DKIMD_BODY_VISIBLE = 20000"})
		harness.PublishForeignKeys(e.DNS, "theirs.example")
		harness.PublishForeignKeys(e.DNS, "gmail.com")
		t.Run("3000 recipients", func(t *testing.T) {
			s := e.Dial(t, harness.EximOutside)
			s.Want(250, "MAIL FROM:<many@theirs.example>")
			for i := range 3000 {
				s.Want(250, "RCPT TO:<\"a, b\".%d@inbox.test>", i)
			}
			got := s.Data(byTheirs.sign(t, harness.NewMail("bob@theirs.example", "many").Bytes()))
			if got.Code != 250 {
				t.Fatal(got)
			}
			if r := e.Verified(t, "many@theirs.example"); r.Recipients != 3000 || !slices.Equal(r.Results(), []string{"pass"}) {
				t.Errorf("record %+v", r)
			}
		})
		t.Run("a header of 70000 bytes", func(t *testing.T) {
			m := harness.NewMail("bob@theirs.example", "long header")
			for i := range 100 {
				m.Fields = append(m.Fields, fmt.Sprintf("X-Long-%d: %s", i, strings.Repeat("x", 690)))
			}
			got := e.Dial(t, harness.EximOutside).Send("header@theirs.example", "reader@inbox.test", byTheirs.sign(t, m.Bytes()))
			if build == "light" {
				if got.Code != 552 {
					t.Errorf("%s, want 552", got)
				}
				return
			}
			if r := e.Verified(t, "header@theirs.example"); got.Code != 250 || !slices.Equal(r.Results(), []string{"pass"}) {
				t.Errorf("%s %+v", got, r)
			}
		})
		t.Run("a body that is not all visible", func(t *testing.T) {
			m := harness.NewMail(gmailUser, "long body")
			m.Body = strings.Repeat("x", 900) + "\r\n"
			m.Body = strings.Repeat(m.Body, 40)
			sender := harness.Unique("visible") + "@gmail.com"
			got := e.Dial(t, harness.EximOutside).Send(sender, "reader@inbox.test", byGmail.sign(t, m.Bytes()))
			r := e.Verified(t, sender)
			if build == "heavy" {
				if got.Code != 250 || !slices.Equal(r.Results(), []string{"pass"}) {
					t.Errorf("%s %+v", got, r)
				}
				return
			}
			// gmail's rule might have stopped it: deferred, and never rejected.
			if got.Code != 451 || !slices.Equal(r.Results(), []string{"neutral"}) || !strings.Contains(e.Daemon.Log.String(), "set message_body_visible") {
				t.Errorf("%s %+v", got, r)
			}
			sender = harness.Unique("visible") + "@theirs.example"
			m.Fields[0] = "From: <" + sender + ">"
			if got := e.Dial(t, harness.EximOutside).Send(sender, "reader@inbox.test", byTheirs.sign(t, m.Bytes())); got.Code != 250 {
				t.Errorf("nobody's rule: %s", got)
			}
		})
	})
}

// dkimd and SpamAssassin share spamd_address (heavy only).
func TestEximBesideSpamAssassin(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn) // spamd reads to the end
			_, _ = io.WriteString(conn, "SPAMD/1.1 0 EX_OK\r\nSpam: True ; 7.7 / 5.0\r\n\r\nspam report\r\n")
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
	port := listener.Addr().(*net.TCPAddr).Port
	e := harness.NewEximWorld(t, "heavy", harness.EximSettings{
		Macros: fmt.Sprintf("DKIMD_OTHER_SPAMD = 127.0.0.1 %d tmo=5s", port),
		Rules:  map[string]string{"gmail.com": gmailRule},
		Data: `  warn set acl_m_spamd = other
       spam = nobody:true
       set acl_m_score = $spam_score_int
       add_header = X-Spam-Score: $acl_m_score`,
	})
	harness.PublishForeignKeys(e.DNS, "gmail.com")
	to := harness.Unique("spam") + "@inbox.test"
	plain := harness.NewMail(gmailUser, "two scanners").Bytes()
	if got := e.Dial(t, harness.EximOutside).Send(gmailUser, to, byGmail.sign(t, plain)); got.Code != 250 {
		t.Fatal(got)
	}
	data := e.Sink.Wait(t, to).Data
	if score := harness.FieldValues(data, "X-Spam-Score"); !slices.Equal(score, []string{"77"}) {
		t.Errorf("score %q", score)
	}
	if ar := harness.FieldValues(data, "Authentication-Results"); len(ar) != 1 || !strings.Contains(ar[0], "dkim=pass") {
		t.Errorf("Authentication-Results: %q", ar)
	}
	if got := e.Dial(t, harness.EximOutside).Send(gmailUser, to, plain); got.String() != gmailReply {
		t.Errorf("answer %q", got)
	}
}

// dkimd ends in good order while Exim speaks to it: the answer still comes.
func TestEximIsAnsweredWhileDkimdStops(t *testing.T) {
	t.Parallel()
	e := harness.NewEximWorld(t, "light", harness.EximSettings{DNS: "timeout = \"3s\"\nattempts = 1"})
	harness.PublishForeignKeys(e.DNS, "theirs.example")
	e.DNS.SetDelay("rsa._domainkey.theirs.example", time.Second)
	done := make(chan harness.Reply, 1)
	s := e.Dial(t, harness.EximOutside)
	data := byTheirs.sign(t, harness.NewMail("bob@theirs.example", "the last one").Bytes())
	go func() { done <- s.Send("bob@theirs.example", "reader@inbox.test", data) }()
	harness.Eventually(t, harness.WaitLimit, "the key is asked for", func() bool { return e.DNS.Queries("rsa._domainkey.theirs.example") > 0 })
	e.Daemon.Signal(syscall.SIGTERM)
	if got := <-done; got.Code != 250 {
		t.Errorf("answer %s", got)
	}
}
