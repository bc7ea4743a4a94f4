package filter_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/internal/exim/filter"
	"dkimd/internal/socket"
)

const (
	queueID  = "1xV2Ha-0006jv-2l"
	outgoing = "From: a@ours.test\nSubject: x\n\n.dot\n\n"
)

// answerWith listens, reads each request to its end, and gives one answer.
func answerWith(t *testing.T, answer string) (address string) {
	t.Helper()
	return answerAt(t, "tcp", "127.0.0.1:0", answer)
}

func answerAt(t *testing.T, network, at, answer string) (address string) {
	t.Helper()
	listener, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn)
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return listener.Addr().String()
}

// TestFilterWritesNothingWhenInDoubt: Exim keeps what its filter does not take.
func TestFilterWritesNothingWhenInDoubt(t *testing.T) {
	t.Parallel()
	const field = "DKIM-Signature: v=1\n" // 20 bytes
	for name, answer := range map[string]string{
		"nothing":                "",
		"half a line":            "DKIMD/1 OK 2",
		"half an answer":         "DKIMD/1 OK 20\nDKIM-Sig",
		"a longer answer":        "DKIMD/1 OK 20\n" + field + "x",
		"deferral":               "DKIMD/1 DEFER\n",
		"garbage":                "HTTP/1.1 200 OK\r\n\r\n",
		"negative":               "DKIMD/1 OK -1\n",
		"vast":                   "DKIMD/1 OK 99999999999\n",
		"no number":              "DKIMD/1 OK x\n",
		"no end of the field":    "DKIMD/1 OK 19\n" + field[:19],
		"an end of the header":   "DKIMD/1 OK 21\n" + field + "\n",
		"a body":                 "DKIMD/1 OK 26\n" + field + "\nbody\n",
		"CR":                     "DKIMD/1 OK 21\n" + field[:19] + "\r\n",
		"a blank continuation":   "DKIMD/1 OK 22\n" + field + " \n",
		"a continuation first":   "DKIMD/1 OK 3\n x\n",
		"another field":          "DKIMD/1 OK 5\nX: y\n",
		"something else behind":  "DKIMD/1 OK 22\n" + field + "x\n",
		"half of what is folded": "DKIMD/1 OK 20 5\n" + field + "X: y",
		"folded, and not there":  "DKIMD/1 OK 20 5\n" + field + "X: y\n",
		"folded, no number":      "DKIMD/1 OK 20 x\n" + field,
		"folded, vast":           "DKIMD/1 OK 20 99999999\n" + field,
		"folded, an empty line":  "DKIMD/1 OK 20 12\n" + field + "Subject: x\n\n",
		"folded, a CR":           "DKIMD/1 OK 20 12\n" + field + "Subject: x\r\n",
		"folded, no end":         "DKIMD/1 OK 20 10\n" + field + "Subject: x",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := filter.Filter{Socket: answerWith(t, answer), QueueID: queueID}
			var out bytes.Buffer
			if err := f.Run(strings.NewReader(outgoing), &out); err == nil || out.Len() > 0 {
				t.Errorf("%v, wrote %q", err, out.String())
			}
			// Asked to, it lets the message go as it is: whole, and only that.
			f.FailOpen = true
			if err := f.Run(strings.NewReader(outgoing), &out); err != nil || out.String() != outgoing {
				t.Errorf("fail-open: %v, wrote %q", err, out.String())
			}
		})
	}
}

// TestFilterTakesAllFormsOfAnAddress: those of dkimd.toml, of OpenDKIM and Sendmail, and without a scheme.
func TestFilterTakesAllFormsOfAnAddress(t *testing.T) {
	t.Parallel()
	path := answerAt(t, "unix", filepath.Join(t.TempDir(), "s"), "DKIMD/1 OK 0\n")
	address := answerWith(t, "DKIMD/1 OK 0\n")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{
		path, "unix:" + path, "local:" + path, address, "inet:" + address, "inet:" + port + "@" + host,
		"localhost:" + port, "inet:" + port + "@localhost", "inet6:[::ffff:127.0.0.1]:" + port, "inet6:" + port + "@::ffff:127.0.0.1",
	} {
		if _, err := socket.ParseDial(form); err != nil {
			t.Errorf("%s is no form of the others: %v", form, err)
		}
		f := filter.Filter{Socket: form, QueueID: queueID}
		if err := f.Run(strings.NewReader(outgoing), io.Discard); err != nil {
			t.Errorf("%s: %v", form, err)
		}
	}
}

type brokenPipe struct{ after int }

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.after--; b.after < 0 {
		return 0, errors.New("broken pipe")
	}
	return len(p), nil
}

func TestFilterFaults(t *testing.T) {
	t.Parallel()
	good := filter.Filter{Socket: "inet:" + answerWith(t, "DKIMD/1 OK 0\n"), QueueID: queueID, FailOpen: true}
	if err := good.Run(strings.NewReader(outgoing), io.Discard); err != nil {
		t.Fatal(err)
	}
	// An empty message would be an empty mail, logged as delivered.
	if err := good.Run(strings.NewReader(""), io.Discard); err == nil {
		t.Error("an empty message is taken")
	}
	if err := good.Run(io.MultiReader(strings.NewReader("half"), errReader{}), io.Discard); err == nil {
		t.Error("half a message is taken")
	}
	if err := good.Run(strings.NewReader(outgoing), &brokenPipe{0}); err == nil {
		t.Error("a broken pipe is not noticed")
	}
	for after := range 2 { // a large message goes in pieces
		if err := good.Run(strings.NewReader(outgoing+strings.Repeat("x", 100_000)), &brokenPipe{after}); err == nil {
			t.Errorf("broken pipe at write %d is not noticed", after)
		}
	}
	// A daemon that hangs is left in time.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	hangs := filter.Filter{Socket: listener.Addr().String(), QueueID: queueID, Deadline: time.Now().Add(50 * time.Millisecond)}
	if err := hangs.Run(strings.NewReader(outgoing), io.Discard); err == nil {
		t.Error("no error")
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("read error") }

// TestFilterEndsThoughItsInputDoesNot: the system ends it, and a signal is a failed filter to Exim.
func TestFilterEndsThoughItsInputDoesNot(t *testing.T) {
	if os.Getenv("DKIMD_TEST_FILTER") != "" {
		filter.Command([]string{"--fail-open", "--timeout", "200ms", "/none", queueID, "", "local"}, os.Stdin, os.Stdout)
		return
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFilterEndsThoughItsInputDoesNot$")
	cmd.Env = append(os.Environ(), "DKIMD_TEST_FILTER=yes")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gaveUp := time.AfterFunc(20*time.Second, func() { _ = in.Close() })
	defer gaveUp.Stop()
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); err == nil || !ok || status.Signal() != syscall.SIGALRM {
		t.Errorf("%v", err)
	}
}
