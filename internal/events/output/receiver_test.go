package output_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
	"dkimd/internal/events/output"
	"dkimd/internal/logtest"
)

// receiver listens at a unix socket in the place of syslogd or journald.
type receiver struct {
	*net.UnixConn
	path string
}

func receive(t *testing.T, path string) *receiver {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{conn, path}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// next is the next datagram.
func (r *receiver) next(t *testing.T) string {
	t.Helper()
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256<<10)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// vanish ends it, as a syslogd does that stops.
func (r *receiver) vanish() {
	_ = r.Close()
	_ = os.Remove(r.path)
}

// socketOutputs are the outputs that send records to a socket.
func socketOutputs(path string) map[string]output.Config {
	return map[string]output.Config{
		"syslog":         {Outputs: []string{"syslog:" + path}},
		"syslog-rfc5424": {Outputs: []string{"syslog-rfc5424:" + path}},
		"journal":        {Outputs: []string{"journal"}, Journal: path},
	}
}

// TestReceiverThatRestartsLosesNothing: records wait for one that is back within ten seconds.
func TestReceiverThatRestartsLosesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	for name, cfg := range socketOutputs(path) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := receive(t, path)
				l := open(t, cfg)
				l.Write(&events.Event{ID: "one"})
				if got := first.next(t); !strings.Contains(got, "one") {
					t.Errorf("got %q", got)
				}
				first.vanish()
				l.Write(&events.Event{ID: "two"})
				time.Sleep(9 * time.Second) //nolint:forbidigo // the bubble's clock
				l.Write(&events.Event{ID: "three"})
				second := receive(t, path)
				time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
				for _, want := range []string{"two", "three"} {
					if got := second.next(t); !strings.Contains(got, want) {
						t.Errorf("got %q, want %s", got, want)
					}
				}
				if err := l.Close(); err != nil || l.Lost() != 0 {
					t.Errorf("%v, %d lost", err, l.Lost())
				}
				second.vanish()
			})
		})
	}
}

// TestAbsentReceiverLosesRecordsOnly: it is said at the start, waited for once, then
// every record is counted, until somebody is there.
func TestAbsentReceiverLosesRecordsOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	for name, cfg := range socketOutputs(path) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &logtest.Lines{}
				cfg.Logger = log.Logger()
				l := open(t, cfg)
				if !strings.Contains(log.String(), "level=WARN msg=\"log receiver not reachable yet, will keep trying\" output="+cfg.Outputs[0]) {
					t.Errorf("at the start: %s", log)
				}
				start := time.Now()
				l.Write(numbered(1))
				l.Write(numbered(2))
				if time.Since(start) > 0 {
					t.Error("Write waited")
				}
				time.Sleep(9 * time.Second) //nolint:forbidigo // the bubble's clock
				if l.Lost() != 0 {
					t.Errorf("%d lost while there is hope", l.Lost())
				}
				time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock
				l.Write(numbered(3))
				synctest.Wait()
				if l.Lost() != 3 || !strings.Contains(log.String(), "level=ERROR msg=\"log records are lost\" output="+cfg.Outputs[0]) {
					t.Errorf("%d lost: %s", l.Lost(), log)
				}
				r := receive(t, path)
				l.Write(&events.Event{ID: "back"})
				if got := r.next(t); !strings.Contains(got, "back") {
					t.Errorf("got %q", got)
				}
				synctest.Wait()
				if !strings.Contains(log.String(), "log output recovered") {
					t.Errorf("not reported: %s", log)
				}
				r.vanish()
				l.Write(numbered(4))
				start = time.Now()
				if err := l.Close(); err == nil || time.Since(start) > 5*time.Second || l.Lost() != 4 {
					t.Errorf("Close: %v after %v, %d lost", err, time.Since(start), l.Lost())
				}
			})
		})
	}
}

// TestFullReceiverIsWaitedFor: a datagram socket that takes no more is no loss, once somebody reads.
func TestFullReceiverIsWaitedFor(t *testing.T) {
	t.Parallel()
	const n = 2000 // far more than a datagram socket queues
	for name := range socketOutputs("") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			r := receive(t, path)
			l := open(t, socketOutputs(path)[name])
			for i := range n {
				l.Write(&events.Event{ID: "id" + numbered(i).ID + "x"})
			}
			for i := range n {
				if got := r.next(t); !strings.Contains(got, "id"+numbered(i).ID+"x") {
					t.Fatalf("record %d: %q", i, got)
				}
			}
			if err := l.Close(); err != nil || l.Lost() != 0 {
				t.Errorf("%v, %d lost", err, l.Lost())
			}
		})
	}
}

// TestStuckReceiverIsLeftBehind: Close ends a write that nobody takes.
func TestStuckReceiverIsLeftBehind(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	receive(t, path) // and never reads
	l := open(t, output.Config{Outputs: []string{"syslog:" + path}})
	const n = 1000
	for i := range n {
		l.Write(numbered(i))
	}
	start := time.Now()
	err := l.Close()
	if took := time.Since(start); err == nil || took > 9*time.Second || l.Lost() == 0 || l.Lost() > n {
		t.Errorf("Close: %v after %v, %d lost", err, took, l.Lost())
	}
}

// TestStuckOutputDelaysNoOther: each output has its own queue and its own count.
func TestStuckOutputDelaysNoOther(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log")
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		log, stderr := &logtest.Lines{}, &logtest.Lines{}
		l := open(t, output.Config{
			Outputs: []string{"stdout", file, "stderr"}, Logger: log.Logger(), Stderr: stderr,
			Stdout: writerFunc(func(p []byte) (int, error) {
				<-release
				return len(p), nil
			}),
		})
		e := eventstest.Poisoned(strings.Repeat("x", events.MaxValue))
		record, _ := e.MarshalJSON()
		n := 9 << 20 / len(record) // 8 MiB wait
		for range n {
			l.Write(e)
			synctest.Wait()
		}
		data, err := os.ReadFile(file)
		if err != nil || strings.Count(string(data), "}\n") != n || strings.Count(stderr.String(), "}\n") != n {
			t.Errorf("%v, %d and %d bytes for %d records", err, len(data), len(stderr.String()), n)
		}
		if l.Lost() == 0 || l.Lost() >= uint64(n) || strings.Count(log.String(), "output=stdout") == 0 || strings.Contains(log.String(), "output="+file) {
			t.Errorf("%d lost: %s", l.Lost(), log)
		}
		close(release)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOneFileThatCannotBeOpenedIsAFault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := output.Open(output.Config{Outputs: []string{dir + "/log", dir, "syslog:log"}})
	if err == nil || !strings.Contains(err.Error(), dir+": is a directory\nlog.output: got \"syslog:log\"") {
		t.Error(err)
	}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if target, _ := os.Readlink(link); target == dir+"/log" {
			t.Error("the other file is still open")
		}
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := output.Reach("syslog:" + dir + "/log"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	r := receive(t, dir+"/log")
	for _, name := range []string{"syslog:" + dir + "/log", "stdout", "stderr", dir + "/file"} {
		if err := output.Reach(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.vanish()
	if _, err := os.Stat(dir + "/file"); err == nil {
		t.Error("Reach made a file")
	}
}

// Another user's link may lead to a file that only dkimd can write.
func TestLinksOfOthersAreNotFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink(dir+"/file", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	l := open(t, output.Config{Outputs: []string{dir + "/link"}})
	l.Write(numbered(1))
	if err := l.Close(); err != nil {
		t.Errorf("a link of ours: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a link of another user")
	}
	before, err := os.ReadFile(dir + "/file")
	if err != nil || len(before) == 0 {
		t.Fatalf("a link of ours leads nowhere: %v", err)
	}
	if err := os.Lchown(dir+"/link", 65534, 65534); err != nil {
		t.Fatal(err)
	}
	const want = "is a symbolic link of another user"
	if _, err := output.Open(output.Config{Outputs: []string{dir + "/link"}}); err == nil || !strings.Contains(err.Error(), dir+"/link: "+want) {
		t.Errorf("opened: %v", err)
	}
	if err := output.Reach(dir + "/link"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("check: %v", err)
	}
}
