package exim_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"dkimd/internal/exim"
	"dkimd/internal/pipeline"
)

// TestRequestsThatAreNotBelieved: no answer, which Exim takes for "try later",
// a line in the log, and a record where there was a message.
func TestRequestsThatAreNotBelieved(t *testing.T) {
	t.Parallel()
	header, body := verifyParts()
	good := verify(verifyHead, header, body)
	cut := func(s string, n int) string { return s[:len(s)-n] }
	replace := strings.NewReplacer
	tests := map[string]struct{ request, log string }{
		"unknown dialect":        {"GET / HTTP/1.1\r\n\r\n", "unknown first line"},
		"SpamAssassin's dialect": {"REPORT SPAMC/1.2\r\nUser: x\r\n\r\n", "hint: Exim must say variant=rspamd"},
		"a newer version":        {"DKIMD/2 VERIFY\n\n", "unknown first line"},
		"no blank line":          {"DKIMD/1 VERIFY\nQueue-Id: x\n", "before the request was complete"},
		"no colon":               {"DKIMD/1 VERIFY\nx\n\n", "without a colon"},
		"body cut":               {cut(good, 1), "before the request was complete"},
		"one byte more":          {good + "x", "longer than it says"},
		"header shorter":         {replace(fmt.Sprintf("Headers-Size: %d", len(header)), fmt.Sprintf("Headers-Size: %d", len(header)-1)).Replace(good), "the header does not end after Headers-Size"},
		"header longer":          {replace(fmt.Sprintf("Headers-Size: %d", len(header)), fmt.Sprintf("Headers-Size: %d", len(header)+1)).Replace(good), "the header does not end"},
		"header to a line":       {replace(fmt.Sprintf("Headers-Size: %d", len(header)), fmt.Sprintf("Headers-Size: %d", strings.Index(header, "From:"))).Replace(good), "no empty line after Headers-Size"},
		"body over its size":     {replace("Body-True-Size: 13", "Body-True-Size: 12").Replace(good), "a body of 12 bytes, of which"},
		"no true size":           {replace("Body-True-Size: 13\n", "").Replace(good), `body-true-size`},
		"no client":              {replace("IP: 203.0.113.9\n", "").Replace(good), `no line \"ip\"`},
		"client twice":           {replace("Helo: client.example", "Helo: client.example\nIP: ").Replace(good), "stands twice"},
		"unknown line":           {replace("Helo: client.example", "Helo: client.example\nX: y").Replace(good), "an unknown line"},
		"negative size":          {replace("Nul: 0", "Nul: -1").Replace(good), "want a number"},
		"vast size":              {replace("Nul: 0", "Nul: 99999999999999999999").Replace(good), "want a number"},
		"queue id with blanks":   {replace("Queue-Id: "+queueID, "Queue-Id: a b").Replace(good), "a queue id"},
		"no queue id":            {replace("Queue-Id: "+queueID, "Queue-Id: ").Replace(good), "a queue id"},
		"recipients missing":     {check("From: <>\nRecipient-Number: 2\nRcpt: <a@b>\n", checkMail()), "2 recipients announced, 1 named"},
		"sender twice":           {check(checkHead+"From: <x@y>\n", checkMail()), "stands twice"},
		"not begun by Exim":      {check(checkHead, "Subject: x\n\n"), "does not begin as Exim begins it"},
		"no field":               {check(checkHead, mboxLine+"no field\n\n"), "no field"},
		"continuation first":     {check(checkHead, mboxLine+" x\n\n"), "continuation line"},
		"nothing to check":       {check(checkHead, ""), "ends before its header"},
		"half a header to check": {check(checkHead, mboxLine+"From: a@gmail.com\n"), "ends before its header"},
		"more than it says":      {check(checkHead, checkMail()) + "x", "longer than it says"},
		"nothing to sign":        {sign("IP: \nProtocol: local\n", ""), "an empty message"},
		"half to sign":           {cut(sign("IP: \nProtocol: local\n", "a: b\n\nc\n"), 2), "before the request was complete"},
		"more to sign":           {sign("IP: \nProtocol: local\n", "a: b\n\nc\n") + "d", "longer than it says"},
		"too many lines":         {"CHECK RSPAMC/1.3\r\n" + strings.Repeat("Rcpt: <a@b.example>\r\n", 60_000), "recipients_max"},
		"too long a line":        {"DKIMD/1 VERIFY\nRcpts: " + strings.Repeat("a@b.example, ", 100_000), "recipients_max"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			if answer := w.ask(t, test.request, true); answer != "" {
				t.Errorf("answer %q", answer)
			}
			w.logged(t, test.log)
			w.logged(t, "level=WARN")
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, m := range w.messages {
				if !strings.HasPrefix(m.ended, "abort: ") {
					t.Errorf("the message ended %q", m.ended)
				}
			}
		})
	}
}

// TestCutHeaderIsDeferred: Exim cuts $message_headers_raw at 64 KiB without a
// word, and a second From could stand behind the cut.
func TestCutHeaderIsDeferred(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	header := received + "From: a@gmail.com\nX: "
	header += strings.Repeat("x", 65536-len(header))
	got := w.ask(t, verify(verifyHead, header, "thirteen byte"), true)
	if !strings.HasPrefix(got, "Action: defer\n Reply: 451 4.7.5 ") || !strings.HasSuffix(got, "\n Id: "+queueID) {
		t.Errorf("%q", got)
	}
	if m := w.last(t); !strings.HasPrefix(m.ended, "abort: Exim cut the header") {
		t.Error(m.ended)
	}
	w.logged(t, "header_maxsize = 60000")
}

func TestUnseenBody(t *testing.T) {
	t.Parallel()
	header, body := verifyParts()
	for _, change := range [][]string{{"Body-True-Size: 13", "Body-True-Size: 99"}, {"Nul: 0", "Nul: 3"}} {
		w := newWorld(t, nil)
		answer := w.ask(t, strings.NewReplacer(change...).Replace(verify(verifyHead, header, body)), true)
		if m := w.last(t); m.unseen == "" || m.ended != "finish" || !strings.HasSuffix(answer, queueID) {
			t.Errorf("%v: unseen %q, %s, %q", change, m.unseen, m.ended, answer)
		}
	}
}

func TestSlowPeersAreCutOff(t *testing.T) {
	t.Parallel()
	quick := func(c *exim.Config) {
		c.IdleTimeout, c.RequestTimeout = 50*time.Millisecond, 300*time.Millisecond
	}
	requests := map[string]string{
		"silence":           "",
		"half a first line": "CHECK RSP",
		"unfinished head":   "CHECK RSPAMC/1.3\r\nContent-length: 9\r\n",
		"unfinished body":   check(checkHead, checkMail())[:500],
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, quick)
			if answer := w.ask(t, request, false); answer != "" {
				t.Errorf("answer %q", answer)
			}
			w.logged(t, "did not complete its request in time")
		})
	}
	drips := map[string]string{
		"a byte of the head now and then":    "DKIMD/1 SIGN\nQueue-Id: ",
		"a byte of the message now and then": "DKIMD/1 SIGN\nQueue-Id: x\nLength: 1000000\nIP: \nProtocol: local\n\n",
	}
	for name, start := range drips {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *exim.Config) {
				c.IdleTimeout, c.RequestTimeout = 200*time.Millisecond, 400*time.Millisecond
				if strings.Contains(name, "head") {
					c.RequestTimeout = time.Hour
				}
			})
			drip(t, w, start)
		})
	}
}

// drip sends a byte now and then, until it is cut off.
func drip(t *testing.T, w *world, start string) {
	t.Helper()
	conn := w.dial(t)
	_, _ = io.WriteString(conn, start)
	gone := make(chan struct{})
	go func() { _, _ = io.ReadAll(conn); close(gone) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; {
		select {
		case <-gone:
			return
		case <-tick.C:
			_, _ = conn.Write([]byte("x"))
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("still served")
		}
	}
}

// TestPanicsCostOneRequest: no answer, and the next one is served.
func TestPanicsCostOneRequest(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"header", "eoh", "body", "finish"} {
		w := newWorld(t, nil)
		w.panics(step)
		if answer := w.ask(t, check(checkHead, checkMail()), false); answer != "" {
			t.Errorf("%s: answer %q", step, answer)
		}
		w.logged(t, "injected: "+step)
		if m := w.last(t); !strings.HasPrefix(m.ended, "abort: panic") {
			t.Errorf("%s: %s", step, m.ended)
		}
		w.panics("")
		if answer := w.ask(t, check(checkHead, checkMail()), false); answer == "" {
			t.Errorf("%s: not served any more", step)
		}
	}
}

func TestFinishIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *exim.Config) { c.FinishTimeout = 50 * time.Millisecond })
	w.does(func(ctx context.Context, _ *fakeMessage) pipeline.Outcome { <-ctx.Done(); return pipeline.Outcome{} })
	if answer := w.ask(t, check(checkHead, checkMail()), false); answer == "" {
		t.Error("no answer")
	}
}

func TestConnectionCap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *exim.Config) { c.MaxConnections = 1 })
	first := w.dial(t)
	_, _ = io.WriteString(first, "DKIMD/1 PI")
	second := w.dial(t)
	_, _ = io.WriteString(second, "DKIMD/1 PING\n")
	_ = second.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Fatal("a second connection is served")
	}
	w.logged(t, "connection limit reached, new connections wait")
	_, _ = io.WriteString(first, "NG\n")
	_ = second.SetReadDeadline(time.Now().Add(10 * time.Second))
	if answer, _ := io.ReadAll(second); string(answer) != "PONG\n" {
		t.Errorf("%q", answer)
	}
}

// TestShutdownAnswersWhatIsUnderWay, and closes who has not said anything.
func TestShutdownAnswersWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	w.does(func(context.Context, *fakeMessage) pipeline.Outcome {
		close(entered)
		<-leave
		return pipeline.Outcome{}
	})
	silent := w.dial(t)
	busy := w.dial(t)
	_, _ = io.WriteString(busy, check(checkHead, checkMail()))
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- w.server.Shutdown(t.Context()) }()
	if answer, err := io.ReadAll(silent); len(answer) > 0 || err != nil {
		t.Errorf("silent: %q %v", answer, err)
	}
	if _, err := net.Dial("unix", w.socket); err == nil {
		t.Error("connections are still taken")
	}
	close(leave)
	if answer, _ := io.ReadAll(busy); !strings.HasSuffix(string(answer), queueID+"\r\n") {
		t.Errorf("busy: %q", answer)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsWhenTimeIsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	conn := w.dial(t)
	_, _ = io.WriteString(conn, "CHECK RSPAMC/1.3\r\n")
	<-time.After(20 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.server.Shutdown(ctx); err == nil {
		t.Error("no error")
	}
	if answer, _ := io.ReadAll(conn); len(answer) > 0 {
		t.Errorf("%q", answer)
	}
}

// FuzzRequest: whatever comes, the server survives, and says yes to complete requests only.
func FuzzRequest(f *testing.F) {
	header, body := verifyParts()
	f.Add(check(checkHead, checkMail()))
	f.Add(verify(verifyHead, header, body))
	f.Add(sign("IP: \nProtocol: local\n", "a: b\n\nc\n"))
	f.Add("DKIMD/1 PING\n")
	f.Fuzz(func(t *testing.T, request string) {
		w := newWorld(t, nil)
		answer := w.ask(t, request, true)
		if strings.Contains(w.log.String(), "panic") {
			t.Error(w.log)
		}
		if len(answer) > 16<<10 || strings.Contains(answer, "Action: accept") && !strings.Contains(strings.TrimSpace(answer), "Id: ") {
			t.Errorf("%q", answer)
		}
	})
}
