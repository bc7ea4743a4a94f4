package filter_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkimd/internal/exim/filter"
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
		"nothing":               "",
		"half a line":           "DKIMD/1 OK 2",
		"half an answer":        "DKIMD/1 OK 20\nDKIM-Sig",
		"a longer answer":       "DKIMD/1 OK 20\n" + field + "x",
		"deferral":              "DKIMD/1 DEFER\n",
		"garbage":               "HTTP/1.1 200 OK\r\n\r\n",
		"negative":              "DKIMD/1 OK -1\n",
		"vast":                  "DKIMD/1 OK 99999999999\n",
		"no number":             "DKIMD/1 OK x\n",
		"no end of the field":   "DKIMD/1 OK 19\n" + field[:19],
		"an end of the header":  "DKIMD/1 OK 21\n" + field + "\n",
		"a body":                "DKIMD/1 OK 26\n" + field + "\nbody\n",
		"CR":                    "DKIMD/1 OK 21\n" + field[:19] + "\r\n",
		"a blank continuation":  "DKIMD/1 OK 22\n" + field + " \n",
		"a continuation first":  "DKIMD/1 OK 3\n x\n",
		"another field":         "DKIMD/1 OK 5\nX: y\n",
		"something else behind": "DKIMD/1 OK 22\n" + field + "x\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := filter.Filter{Socket: answerWith(t, answer), QueueID: queueID}
			var out bytes.Buffer
			if err := f.Run(t.Context(), strings.NewReader(outgoing), &out); err == nil || out.Len() > 0 {
				t.Errorf("%v, wrote %q", err, out.String())
			}
			// Asked to, it lets the message go as it is: whole, and only that.
			f.FailOpen = true
			if err := f.Run(t.Context(), strings.NewReader(outgoing), &out); err != nil || out.String() != outgoing {
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
	for _, form := range []string{path, "unix:" + path, "local:" + path, address, "inet:" + address, "inet:" + port + "@" + host} {
		f := filter.Filter{Socket: form, QueueID: queueID}
		if err := f.Run(t.Context(), strings.NewReader(outgoing), io.Discard); err != nil {
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
	if err := good.Run(t.Context(), strings.NewReader(outgoing), io.Discard); err != nil {
		t.Fatal(err)
	}
	// An empty message would be an empty mail, logged as delivered.
	if err := good.Run(t.Context(), strings.NewReader(""), io.Discard); err == nil {
		t.Error("an empty message is taken")
	}
	if err := good.Run(t.Context(), io.MultiReader(strings.NewReader("half"), errReader{}), io.Discard); err == nil {
		t.Error("half a message is taken")
	}
	for after := range 2 {
		if err := good.Run(t.Context(), strings.NewReader(outgoing), &brokenPipe{after}); err == nil {
			t.Errorf("broken pipe at write %d is not noticed", after)
		}
	}
	// A daemon that hangs is left in time.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	hangs := filter.Filter{Socket: listener.Addr().String(), QueueID: queueID}
	if err := hangs.Run(ctx, strings.NewReader(outgoing), io.Discard); err == nil {
		t.Error("no error")
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("read error") }
