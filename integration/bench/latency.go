package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"dkimd/internal/milter/client"
)

// latencyLine is one measurement of waiting.
type latencyLine struct {
	What  string  `json:"what"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
	Limit string  `json:"limit"`
}

func lineOf(what, limit string, waits []time.Duration) latencyLine {
	slices.Sort(waits)
	l := latencyLine{
		What: what, Limit: limit,
		P50: milliseconds(quantile(waits, 0.5)), P99: milliseconds(quantile(waits, 0.99)), Max: milliseconds(quantile(waits, 1)),
	}
	fmt.Printf("%-70s p50 %7.2f ms  p99 %7.2f  max %7.2f  wanted: %s\n", l.What, l.P50, l.P99, l.Max, l.Limit)
	return l
}

func latencyTable(lines []latencyLine) string {
	if len(lines) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n## Waiting\n\nThe whole message, to the answer; with slow DNS only from its end to the answer. Messages of 4 KiB unless it says\notherwise.\n\n" +
		"| what | p50 ms | p99 ms | max ms | wanted |\n|---|--:|--:|--:|---|\n")
	for _, l := range lines {
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.2f | %s |\n", l.What, l.P50, l.P99, l.Max, l.Limit)
	}
	return b.String()
}

// measureLatency measures waiting, with keys in the cache unless it says otherwise.
func (w *world) measureLatency(ctx context.Context, quick bool) ([]latencyLine, error) {
	verify := row{verifyOne, 4 << 10, 1}
	mails, err := w.corpus.messages(ctx, verify)
	if err != nil {
		return nil, err
	}
	c, err := w.crypt(ctx, verify)
	if err != nil {
		return nil, err
	}
	var lines []latencyLine
	add := func(what, limit string, waits []time.Duration, err error) error {
		if err == nil {
			lines = append(lines, lineOf(what, limit, waits))
		}
		return err
	}
	dkimd, floor := w.servers[subjectDkimd][verifyOne].socket, w.servers[subjectFloor][verifyOne].socket
	waits, err := inTurn(ctx, "unix", floor, mails)
	bound := fmt.Sprintf("with %.2f ms of cryptography this is the floor", milliseconds(c))
	if err := add("floor, one connection", bound, waits, err); err != nil {
		return nil, err
	}
	waits, err = inTurn(ctx, "unix", dkimd, mails)
	if err := add("verify 1, one connection", "1.5 times the floor", waits, err); err != nil {
		return nil, err
	}
	waits, err = inTurn(ctx, "tcp", tcpAddress, mails)
	if err := add("verify 1, one connection over TCP", "no steps of 40 ms", waits, err); err != nil {
		return nil, err
	}
	waits, err = w.slowDNS(ctx, dkimd)
	if err := add("verify 1, DNS takes 200 ms and the body 300 ms", "far below 200", waits, err); err != nil {
		return nil, err
	}
	if quick {
		return lines, nil
	}
	return lines, w.disturbed(ctx, dkimd, mails, add)
}

// inTurn sends messages over one connection.
func inTurn(ctx context.Context, network, address string, mails []client.Mail) ([]time.Duration, error) {
	mta, err := client.Dial(ctx, network, address, client.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = mta.Close() }()
	var waits []time.Duration
	for i := range 600 {
		began := time.Now()
		if _, err := mta.Send(ctx, mails[i%len(mails)]); err != nil {
			return nil, err
		}
		if i >= 100 {
			waits = append(waits, time.Since(began))
		}
	}
	return waits, mta.Quit()
}

// slowDNS sends messages whose keys are not known, slowly, while DNS is slow too.
func (w *world) slowDNS(ctx context.Context, socket string) (waits []time.Duration, err error) {
	for i := range slowDomains {
		domain := slowDomain(i)
		w.dns.SetDelay(selector+"._domainkey."+domain, 200*time.Millisecond)
		raw, err := w.corpus.sign(ctx, text(domain, i, 4<<10), verifyOne)
		if err != nil {
			return nil, err
		}
		wait, answer, err := trickle(ctx, socket, "sender@"+domain, raw)
		if err != nil {
			return nil, err
		}
		if err := check(subjectDkimd, verifyOne, answer); err != nil {
			return nil, err
		}
		waits = append(waits, wait)
	}
	return waits, nil
}

// trickle sends a message whose body takes 300 ms, and says how long its end took.
func trickle(ctx context.Context, socket, sender string, raw []byte) (time.Duration, client.Result, error) {
	mta, err := client.Dial(ctx, "unix", socket, client.Options{})
	if err != nil {
		return 0, client.Result{}, err
	}
	defer func() { _ = mta.Close() }()
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	var faults []error
	note := func(_ client.Result, err error) { faults = append(faults, err) }
	note(mta.Connect(stranger()))
	note(mta.Helo("client.example.net"))
	note(mta.Mail(sender, nil))
	note(mta.Rcpt("someone@example.net"))
	note(mta.Data())
	for field := range strings.SplitSeq(unfoldable(string(head)), "\r\n") {
		name, value, _ := strings.Cut(field, ":")
		note(mta.Header(name, value))
	}
	note(mta.EndOfHeader())
	for piece := range slices.Chunk(body, len(body)/10+1) {
		faults = append(faults, mta.Flush())
		pause(30 * time.Millisecond)
		note(mta.Body(piece))
	}
	faults = append(faults, mta.Flush())
	if err := errors.Join(faults...); err != nil {
		return 0, client.Result{}, err
	}
	began := time.Now()
	answer, err := mta.EndOfMessage()
	return time.Since(began), answer, err
}

// unfoldable leaves CRLF between fields only: folds become a bare LF, as the client takes them.
func unfoldable(head string) string {
	return strings.NewReplacer("\r\n\t", "\n\t", "\r\n ", "\n ").Replace(head)
}

// disturbed measures the messages of others while something happens.
func (w *world) disturbed(ctx context.Context, socket string, mails []client.Mail, add func(string, string, []time.Duration, error) error) error {
	const within = "3 times the p99 before"
	if err := w.linkKeys(filepath.Join(w.dir, "keys"), manyKeys); err != nil {
		return err
	}
	daemon := w.servers[subjectDkimd][verifyOne]
	if err := w.reload(daemon, 1); err != nil { // this one reads them, the next finds them unchanged
		return err
	}
	waits, err := during(ctx, socket, mails, func() error { pause(3 * time.Second); return nil })
	if err := add("verify 1, 1000 messages a second, 100,000 domains", "", waits, err); err != nil {
		return err
	}
	waits, err = during(ctx, socket, mails, func() error { return w.reload(daemon, 2) })
	if err := add("the same, while dkimd reloads", within, waits, err); err != nil {
		return err
	}
	waits, err = during(ctx, socket, mails, func() error { return newcomers(ctx, socket, mails, 2000) })
	return add("the same, while 2000 connections arrive at once, a message each", within, waits, err)
}

// linkKeys makes directories of n domains that share one key, which is linked.
func (w *world) linkKeys(dir string, n int) error {
	key := filepath.Join(w.dir, "flat", rsaDomain(0)+".pem")
	for i := range n {
		domain := filepath.Join(dir, manyDomain(i))
		if err := os.Mkdir(domain, 0o700); err != nil {
			return err
		}
		// A file has at most 65,000 names on ext4.
		target := filepath.Join(domain, selector+".pem")
		if i%10_000 == 0 {
			data, err := os.ReadFile(key) //nolint:gosec // our own
			if err != nil {
				return err
			}
			if err := os.WriteFile(target, data, 0o600); err != nil { //nolint:gosec // in our own directory
				return err
			}
			key = target
			continue
		}
		if err := os.Link(key, target); err != nil {
			return err
		}
	}
	return nil
}

func manyDomain(i int) string { return fmt.Sprintf("m%d.example.org", i) }

// reload has dkimd reload, and waits until it says so for the n-th time.
func (w *world) reload(s *server, n int) error {
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	for range 6000 {
		said, err := os.ReadFile(filepath.Join(w.dir, "log", s.name))
		if err != nil {
			return err
		}
		if bytes.Count(said, []byte("msg=reloaded")) >= n {
			return nil
		}
		if bytes.Contains(said, []byte("reload refused")) {
			return fmt.Errorf("dkimd does not reload: %s", said)
		}
		pause(20 * time.Millisecond)
	}
	return errors.New("dkimd does not reload")
}

// during sends 1000 messages a second while something else is done, and has their waits.
func during(ctx context.Context, socket string, mails []client.Mail, deed func() error) ([]time.Duration, error) {
	const workers, interval = 4, 4 * time.Millisecond
	var (
		mu     sync.Mutex
		waits  []time.Duration
		faults []error
		all    sync.WaitGroup
	)
	stop := make(chan struct{})
	for range workers {
		all.Go(func() {
			own, err := steadily(ctx, socket, mails, interval, stop)
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, own...)
			faults = append(faults, err)
		})
	}
	err := deed()
	close(stop)
	all.Wait()
	return waits, errors.Join(append(faults, err)...)
}

func steadily(ctx context.Context, socket string, mails []client.Mail, interval time.Duration, stop <-chan struct{}) (waits []time.Duration, err error) {
	mta, err := client.Dial(ctx, "unix", socket, client.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = mta.Close() }()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return waits, nil
		case <-tick.C:
		}
		began := time.Now()
		if _, err := mta.Send(ctx, mails[i%len(mails)]); err != nil {
			return waits, err
		}
		waits = append(waits, time.Since(began))
	}
}

// newcomers has a process of its own open n connections at once and send a message
// over each: in this one they would delay those whose waiting is measured.
func newcomers(ctx context.Context, socket string, mails []client.Mail, n int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var input bytes.Buffer
	if err := gob.NewEncoder(&input).Encode(mails); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-crowd", strconv.Itoa(n), socket) //nolint:gosec // ourselves
	cmd.Stdin, cmd.Stderr = &input, os.Stderr
	return cmd.Run()
}

// crowd is that process. The messages come from stdin.
func crowd(ctx context.Context, socket string, n int) error {
	var mails []client.Mail
	if err := gob.NewDecoder(os.Stdin).Decode(&mails); err != nil {
		return err
	}
	var all sync.WaitGroup
	faults := make([]error, n)
	for i := range n {
		all.Go(func() {
			mta, err := client.Dial(ctx, "unix", socket, client.Options{})
			for errors.Is(err, syscall.EAGAIN) { // the queue of a unix socket is full: an MTA waits, too
				pause(10 * time.Millisecond)
				mta, err = client.Dial(ctx, "unix", socket, client.Options{})
			}
			if err == nil {
				_, err = mta.Send(ctx, mails[i%len(mails)])
				_ = mta.Close()
			}
			faults[i] = err
		})
	}
	all.Wait()
	return errors.Join(faults...)
}
