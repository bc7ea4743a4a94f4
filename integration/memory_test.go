//go:build integration

package integration_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/integration/harness"
	"dkimd/internal/milter/client"
)

// resident is the memory of dkimd in MiB, as the system counts it.
func resident(t *testing.T, w *harness.World) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Daemon.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	kib := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if kib == nil {
		t.Fatalf("no VmRSS in %s", status)
	}
	n, _ := strconv.Atoi(string(kib[1]))
	return n >> 10
}

// hog opens a connection and sends a header of so many bytes that never ends.
func hog(t *testing.T, w *harness.World, bytes int) (*client.Session, error) {
	t.Helper()
	network, address := harness.Address(w.Milter)
	s, err := client.Dial(t.Context(), network, address, client.Options{})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Connect(client.Peer{Name: "hog.test", Address: "203.0.113.9"}); err != nil {
		return s, err
	}
	if _, err := s.Mail("<hog@hog.test>", nil); err != nil {
		return s, err
	}
	value := " " + strings.Repeat("x", 50_000)
	for ; bytes > 0; bytes -= len(value) {
		if _, err := s.Header("X-Hog", value); err != nil {
			return s, err
		}
	}
	return s, s.Flush()
}

// Thousands of connections that hold large headers take no more memory than the configuration says, and what
// dkimd needs beside; mail of usual size goes on meanwhile, and the memory is given back.
func TestMemoryIsBounded(t *testing.T) {
	w := harness.NewWorld(t, harness.Settings{})
	usual := resident(t, w)
	const connections, each = 3000, 500_000
	var all sync.WaitGroup
	turns := make(chan struct{}, 16)
	hogs := make([]*client.Session, connections)
	peak := 0
	for i := range hogs {
		turns <- struct{}{}
		if i%50 == 0 {
			peak = max(peak, resident(t, w))
		}
		all.Go(func() {
			defer func() { <-turns }()
			var err error
			if hogs[i], err = hog(t, w, each); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	peak = max(peak, resident(t, w))
	t.Logf("%d MiB at rest, %d MiB with %d connections that sent %d MiB", usual, peak, connections, connections*each>>20)
	// A quarter of what is held may be garbage, and a connection takes up to 50 KiB beside it.
	if most := usual + 256*5/4 + connections*50>>10; peak > most {
		t.Errorf("%d MiB, want at most %d", peak, most)
	}
	genuine(t, w)
	if r, err := hogs[connections-1].EndOfMessage(); err != nil || r.Action != client.TempFail || !strings.HasPrefix(r.Reply, "451 4.3.2 ") {
		t.Errorf("a message that missed a part: %+v %v", r, err)
	}
	for _, s := range hogs {
		_ = s.Close()
	}
	if !harness.Poll(30*time.Second, func() bool { return resident(t, w) < usual+100 }) {
		t.Errorf("%d MiB when all connections have gone", resident(t, w))
	}
	t.Logf("%d MiB when all connections have gone", resident(t, w))
	genuine(t, w)
}

// genuine sends mail of ours, which must be signed.
func genuine(t *testing.T, w *harness.World) {
	t.Helper()
	to := harness.Unique("genuine") + "@elsewhere.test"
	if r := harness.Dial(t, w.Outside).Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "genuine").Bytes()); r.Code != 250 {
		t.Fatal(r)
	}
	checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)
}
