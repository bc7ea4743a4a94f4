package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dkimd/internal/milter/client"
	"dkimd/internal/resolver"
	"dkimd/internal/resolver/dnstest"
)

// scaleLine is one measurement of what more of something costs.
type scaleLine struct {
	What     string `json:"what"`
	Measured string `json:"measured"`
	Wanted   string `json:"wanted"`
}

func scaleTable(lines []scaleLine) string {
	if len(lines) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n## Many\n\nA daemon of its own for each line. Memory is the resident set, with all of the program's text that was used.\n\n" +
		"| what | measured | wanted |\n|---|--:|---|\n")
	for _, l := range lines {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", l.What, l.Measured, l.Wanted)
	}
	return b.String()
}

// timesOverFour follows what the CPU of a message is, compared with that over 4 connections.
const timesOverFour = " times that over 4"

const (
	manyConnections = 4096
	manyKeys        = 100_000
	manyNames       = 100_000
)

// measureScale makes the table of many things.
func (w *world) measureScale(ctx context.Context) ([]scaleLine, error) {
	// Not the keys of the others, to which 100,000 may have been added.
	if err := w.signers(w.fewKeys(), 1); err != nil {
		return nil, err
	}
	var lines []scaleLine
	for _, measure := range []func(context.Context) ([]scaleLine, error){
		w.manyConnections, w.largeMessages, w.manySigners, w.cachedNames,
	} {
		more, err := measure(ctx)
		if err != nil {
			return nil, err
		}
		for _, l := range more {
			fmt.Printf("%-90s %s; wanted: %s\n", l.What, l.Measured, l.Wanted)
		}
		lines = append(lines, more...)
	}
	return lines, nil
}

// fresh runs a dkimd of its own, which signs with the keys below a folder.
func (w *world) fresh(ctx context.Context, keyDir string) (*server, error) {
	conf, err := w.configure("fresh.toml", strings.NewReplacer("/dkimd.sock", "/fresh.sock", "/log/events", "/log/fresh-events",
		`, "inet:`+tcpAddress+`"`, "", "@DIR@/keys", keyDir).Replace(dkimdConf))
	if err != nil {
		return nil, err
	}
	return start(ctx, "fresh", w.socket("fresh"), filepath.Join(w.dir, "log", "fresh"), w.dkimdBin, "serve", "--config", conf)
}

// manyConnections opens more and more connections, and has each bring messages.
func (w *world) manyConnections(ctx context.Context) ([]scaleLine, error) {
	s, err := w.fresh(ctx, w.fewKeys())
	if err != nil {
		return nil, err
	}
	defer s.stop()
	mails, err := w.corpus.messages(ctx, row{verifyOne, 4 << 10, 1})
	if err != nil {
		return nil, err
	}
	var (
		open  []*client.Session
		costs = map[int]time.Duration{}
		idle  int64
	)
	defer func() {
		for _, mta := range open {
			_ = mta.Close()
		}
	}()
	for _, n := range []int{4, 64, 1024, manyConnections} {
		for len(open) < n {
			mta, err := client.Dial(ctx, "unix", s.socket, client.Options{})
			if err != nil {
				return nil, err
			}
			open = append(open, mta)
		}
		idle = s.resident()
		if costs[n], err = overAll(ctx, s, open, mails); err != nil {
			return nil, err
		}
	}
	flat := func(n int) string {
		return fmt.Sprintf("%.2f", float64(costs[n])/float64(costs[4])) + timesOverFour
	}
	return []scaleLine{
		{"CPU of a message (verify 1, 4 KiB) over 64 connections", flat(64), "flat"},
		{"over 1024", flat(1024), "flat"},
		{"over 4096", flat(manyConnections), "flat"},
		{"memory with 4096 connections, most of which brought nothing yet", mebibytes(idle), "under 120 MiB"},
		{"memory after each of them brought messages", mebibytes(s.resident()), ""},
	}, nil
}

// overAll has all connections bring messages in turn, four at a time, and is the CPU
// of one. What a connection needs for its first message is not counted.
func overAll(ctx context.Context, s *server, open []*client.Session, mails []client.Mail) (time.Duration, error) {
	var least time.Duration
	for round := range 4 {
		before, err := s.cpu()
		if err != nil {
			return 0, err
		}
		var (
			taken   atomic.Int64
			workers sync.WaitGroup
			faults  [connections]error
		)
		times := max(1, 1024/len(open))
		for i := range connections {
			workers.Go(func() {
				for k := int(taken.Add(1)) - 1; k < len(open); k = int(taken.Add(1)) - 1 {
					for range times {
						answer, err := open[k].Send(ctx, mails[k%len(mails)])
						if err == nil {
							err = check(subjectDkimd, verifyOne, answer)
						}
						if err != nil {
							faults[i] = err
							return
						}
					}
				}
			})
		}
		workers.Wait()
		for _, fault := range faults {
			if fault != nil {
				return 0, fault
			}
		}
		after, err := s.cpu()
		if err != nil {
			return 0, err
		}
		cost := (after - before) / time.Duration(times*len(open))
		if round == 1 || round > 1 && cost < least {
			least = cost
		}
	}
	return least, nil
}

// largeMessages has 64 connections bring 30 MiB each at the same time.
func (w *world) largeMessages(ctx context.Context) ([]scaleLine, error) {
	s, err := w.fresh(ctx, w.fewKeys())
	if err != nil {
		return nil, err
	}
	defer s.stop()
	large := row{verifyOne, 30 << 20, 1}
	raw, err := w.corpus.sign(ctx, text(rsaDomain(0), 0, large.Size), verifyOne)
	if err != nil {
		return nil, err
	}
	mail := client.Mail{
		Peer: stranger(), Helo: "client.example.net", Sender: "sender@" + rsaDomain(0),
		Recipients: []string{"someone@example.net"}, QueueID: "4QLARGE", Raw: raw,
	}
	s.forgetPeak()
	var all sync.WaitGroup
	faults := make([]error, 64)
	for i := range faults {
		all.Go(func() {
			mta, err := client.Dial(ctx, "unix", s.socket, client.Options{})
			if err != nil {
				faults[i] = err
				return
			}
			defer func() { _ = mta.Close() }()
			answer, err := mta.Send(ctx, mail)
			if err == nil {
				err = check(subjectDkimd, verifyOne, answer)
			}
			faults[i] = err
		})
	}
	all.Wait()
	for _, fault := range faults {
		if fault != nil {
			return nil, fault
		}
	}
	return []scaleLine{{"peak memory while 64 connections bring 30 MiB each at once", mebibytes(s.peak()), "under 60 MiB"}}, nil
}

// manySigners compares one signing domain with 100,000.
func (w *world) manySigners(ctx context.Context) ([]scaleLine, error) {
	many := filepath.Join(w.dir, "many")
	if err := w.signers(many, manyKeys); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(many) }()
	alone, err := w.fresh(ctx, w.fewKeys())
	if err != nil {
		return nil, err
	}
	_, err = signing(ctx, alone, 1)
	cost, signErr := settled(ctx, alone, 1)
	alone.stop()
	if err := errors.Join(err, signErr); err != nil {
		return nil, err
	}
	began := time.Now()
	s, err := w.fresh(ctx, many)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	ready := time.Since(began)
	firsts, err := signing(ctx, s, 1000)
	if err != nil {
		return nil, err
	}
	if err := rest(ctx, s); err != nil { // all the other keys are being looked at
		return nil, err
	}
	among, err := settled(ctx, s, 1000)
	if err != nil {
		return nil, err
	}
	slices.Sort(firsts)
	return []scaleLine{
		{"ready with 100,000 domain directories", fmt.Sprintf("%.2f s", ready.Seconds()), "under 1 s"},
		{"first message of a domain among them, median and 99 %", fmt.Sprintf("%.2f and %.2f ms",
			milliseconds(quantile(firsts, 0.5)), milliseconds(quantile(firsts, 0.99))), "under 5 ms"},
		{"CPU of a message (sign RSA-2048, 4 KiB) by 1000 of them", fmt.Sprintf("%.2f times that with one domain", float64(among)/float64(cost)), "flat"},
		{"memory with 100,000 domains, after that", mebibytes(s.resident()), ""},
	}, nil
}

// fewKeys is where the keys of one domain are.
func (w *world) fewKeys() string { return filepath.Join(w.dir, "few") }

// signers makes n signing domains with one key.
func (w *world) signers(dir string, n int) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return w.linkKeys(dir, n)
}

// signing has each of the first n domains of a daemon sign a message, and is how long each took.
func signing(ctx context.Context, s *server, n int) (waits []time.Duration, err error) {
	mta, err := client.Dial(ctx, "unix", s.socket, client.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = mta.Close() }()
	for i := range n {
		domain := manyDomain(i)
		mail := client.Mail{
			Peer: client.Peer{Name: "localhost", Addr: netip.MustParseAddr("127.0.0.1"), Port: 4321}, Helo: "client.example.net",
			Sender: "sender@" + domain, Recipients: []string{"someone@example.net"}, QueueID: "4QMANY", Raw: text(domain, i, 4<<10),
		}
		began := time.Now()
		answer, err := mta.Send(ctx, mail)
		if err == nil {
			err = check(subjectDkimd, signRSA, answer)
		}
		if err != nil {
			return nil, err
		}
		waits = append(waits, time.Since(began))
	}
	return waits, nil
}

// settled is the CPU of a message by n domains that have signed before: the least of some rounds.
func settled(ctx context.Context, s *server, n int) (least time.Duration, err error) {
	const messages = 1000
	for round := range 5 {
		before, err := s.cpu()
		if err != nil {
			return 0, err
		}
		for range messages / n {
			if _, err := signing(ctx, s, n); err != nil {
				return 0, err
			}
		}
		after, err := s.cpu()
		if err != nil {
			return 0, err
		}
		if cost := (after - before) / messages; round == 0 || cost < least {
			least = cost
		}
	}
	return least, nil
}

// rest waits until a daemon does nothing any more.
func rest(ctx context.Context, s *server) error {
	const span = 500 * time.Millisecond
	for range 600 {
		before, err := s.cpu()
		if err != nil {
			return err
		}
		pause(span)
		after, err := s.cpu()
		if err != nil || after-before < span/50 {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.New("dkimd does not come to rest")
}

// cachedNames fills the DNS cache of a resolver in this process through a real server.
func (w *world) cachedNames(ctx context.Context) ([]scaleLine, error) {
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer server.Close()
	record := w.corpus.zone[selector+"._domainkey."+rsaDomain(0)]
	names := make([]string, manyNames)
	for i := range names {
		names[i] = fmt.Sprintf("s%d._domainkey.domain%d.example.com", i%10, i)
		server.SetTXT(names[i], split(record)...)
	}
	r, err := resolver.New(resolver.Config{Servers: []string{server.Addr()}, CacheEntries: manyNames})
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	before := liveHeap()
	var (
		taken   atomic.Int64
		workers sync.WaitGroup
		fault   atomic.Pointer[error]
	)
	for range 32 {
		workers.Go(func() {
			for i := int(taken.Add(1)) - 1; i < len(names); i = int(taken.Add(1)) - 1 {
				if _, err := r.TXT(ctx, names[i]); err != nil {
					fault.Store(&err)
				}
			}
		})
	}
	workers.Wait()
	if err := fault.Load(); err != nil {
		return nil, *err
	}
	grown := liveHeap() - before
	kept := 0
	for _, name := range names {
		if _, _, ok := r.Cached(name); ok {
			kept++
		}
	}
	began := ownCPU()
	for _, name := range names {
		_, _, _ = r.Cached(name)
	}
	took := (ownCPU() - began) / manyNames
	return []scaleLine{
		{fmt.Sprintf("DNS cache after 100,000 names with RSA-2048 keys: %d kept", kept), mebibytes(grown), "under 64 MiB"},
		{"CPU of a look into it", fmt.Sprintf("%.2f µs", float64(took)/float64(time.Microsecond)), "under 1 µs"},
	}, nil
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // far below
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }
