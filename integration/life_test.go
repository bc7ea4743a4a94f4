//go:build integration

package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"

	"dkimd/internal/eml"
	"dkimd/internal/message"
	"dkimd/internal/milter/client"
	"dkimd/internal/resolver"
	"dkimd/verifier"

	"github.com/miekg/dns"
)

// remembering is the DNS of the unluckiest verifier: it always asks the server that has least, and keeps what that
// says, absence too, exactly as long as it may.
type remembering struct {
	servers []string
	mu      sync.Mutex
	kept    map[string]remembered
}

type remembered struct {
	answer resolver.Answer
	err    error
	until  time.Time
}

//nolint:revive // the order is that of verifier.Resolver
func (r *remembering) Cached(name string) (resolver.Answer, error, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, found := r.kept[name]
	return k.answer, k.err, found && time.Now().Before(k.until)
}

func (r *remembering) TXT(ctx context.Context, name string) (resolver.Answer, error) {
	if answer, err, found := r.Cached(name); found {
		return answer, err
	}
	worst := remembered{}
	for i, server := range r.servers {
		k, err := ask(ctx, server, name)
		if err != nil {
			return resolver.Answer{}, fmt.Errorf("%w: %w", resolver.ErrTemporary, err)
		}
		if i == 0 || len(strings.Join(k.answer.Records, "")) < len(strings.Join(worst.answer.Records, "")) {
			worst = k
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[name] = worst
	return worst.answer, worst.err
}

// fresh reports whether a name has just been asked for.
func (r *remembering) fresh(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.kept[name]
	return time.Until(k.until) > k.answer.TTL*9/10
}

// ask is what a server says now.
func ask(ctx context.Context, server, name string) (k remembered, err error) {
	asked := time.Now() // what a busy machine takes to hand the answer over is not DNS's
	m, _, err := (&dns.Client{Net: "tcp", Timeout: harness.WaitLimit}).ExchangeContext(ctx, new(dns.Msg).SetQuestion(name+".", dns.TypeTXT), server+":53")
	if err != nil {
		return k, err
	}
	ttl := uint32(0)
	for _, rr := range m.Answer {
		if rr, ok := rr.(*dns.TXT); ok {
			k.answer.Records, ttl = append(k.answer.Records, strings.Join(rr.Txt, "")), rr.Hdr.Ttl
		}
	}
	if len(k.answer.Records) == 0 {
		k.err = resolver.ErrNotExist
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				ttl = min(soa.Minttl, soa.Hdr.Ttl)
			}
		}
	}
	k.answer.TTL = time.Duration(ttl) * time.Second
	k.until = asked.Add(k.answer.TTL)
	return k, nil
}

// traffic is mail that goes through dkimd all the time, and is verified when it comes and when it is as old as mail may get.
type traffic struct {
	socket   string
	verifier *verifier.Verifier
	dns      *remembering
	mu       sync.Mutex
	sent     int
	retried  int // dkimd was not there
	signed   map[string]int
	faults   []string
}

// mailAge is how long mail is under way. It is less than [rotate] keep.
const mailAge = 2500 * time.Millisecond

func newTraffic(t *testing.T, socket string, servers ...string) *traffic {
	t.Helper()
	tr := &traffic{socket: socket, dns: &remembering{servers: servers, kept: map[string]remembered{}}, signed: map[string]int{}}
	var err error
	if tr.verifier, err = verifier.New(verifier.Config{Resolver: tr.dns, ClockSkew: time.Minute}); err != nil {
		t.Fatal(err)
	}
	return tr
}

func (tr *traffic) fault(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.faults = append(tr.faults, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

// flow sends a message every 100 ms until ctx ends, and waits for the last to arrive. Names are asked for all the
// time, whether they have a record or not.
func (tr *traffic) flow(ctx context.Context, names ...string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var arriving sync.WaitGroup
	defer arriving.Wait()
	var s *client.Session
	defer func() {
		if s != nil {
			_ = s.Close()
		}
	}()
	for ctx.Err() == nil {
		<-tick.C
		for _, name := range names {
			_, _ = tr.dns.TXT(context.Background(), name)
		}
		if s == nil {
			var err error
			if s, err = client.Dial(context.Background(), "unix", tr.socket, client.Options{MTA: client.Postfix}); err != nil {
				tr.retried++
				continue
			}
		}
		raw := []byte("From: alice@" + rotated + "\r\nTo: bob@elsewhere.test\r\nSubject: a life\r\nDate: Mon, 30 Nov 2026 12:00:00 +0000\r\n" +
			"Message-ID: <" + harness.Unique("life") + "@" + rotated + ">\r\n\r\nHello.\r\n")
		result, err := s.Send(context.Background(), client.Mail{
			Peer: client.Peer{Name: "localhost", Addr: netip.MustParseAddr("127.0.0.1")}, Sender: "alice@" + rotated, Recipients: []string{"bob@elsewhere.test"}, QueueID: "Q", Raw: raw,
		})
		if err != nil { // an MTA tries again
			tr.retried++
			_ = s.Close()
			s = nil
			continue
		}
		tr.sent++
		if result.Action != client.Accept && result.Action != client.Continue {
			tr.fault("dkimd answers %s %s", result.Action, result.Reply)
			continue
		}
		signed := client.Apply(client.Postfix, raw, result.Edits)
		tr.check(signed, "at once")
		arriving.Go(func() {
			time.Sleep(mailAge) //nolint:forbidigo // that long mail is under way
			tr.check(signed, "later")
		})
	}
}

// check wants every signature of a message to verify, and one at least.
func (tr *traffic) check(raw []byte, when string) {
	m := eml.Split(raw)
	h := m.Header()
	v := tr.verifier.Begin(context.Background(), verifier.Request{Header: h, From: message.ReadFrom(h)})
	defer v.Close()
	_, _ = v.Write(m.Body)
	results := v.Finish(context.Background()).Results
	if len(results) == 0 {
		tr.fault("no signature")
	}
	for _, r := range results {
		if r.Status != verifier.Pass {
			tr.fault("%s, selector %s: %s: %s", when, r.Selector, r.Status, r.Reason())
		}
		tr.mu.Lock()
		tr.signed[r.Selector]++
		tr.mu.Unlock()
	}
}

// Keys of both types live and die while mail flows, through reloads and kills: no message is lost, unsigned, or does
// not verify. DKIMD_ROTATION_KILLS is how often dkimd is killed; make rotation-chaos has it killed more often.
func TestLifeOfKeys(t *testing.T) {
	t.Parallel()
	kills := 5
	if text := os.Getenv("DKIMD_ROTATION_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	in := harness.NewInternet(t)
	selectors := []string{"s1", "s1-ed25519", "s2", "s2-ed25519"}
	r, records := newRotating(t, in, selectors[:2]...)
	servers := []string{in.Address(), in.Address()}
	in.Delegate(rotated, servers...)
	// That there is no record is remembered longer than dkimd needs to see one.
	text := strings.NewReplacer("$TTL 2", "$TTL 5", " 600 2", " 600 5").Replace(zoneText(rotated, servers, records))
	harness.StartBIND(t, harness.Zone{Name: rotated, Address: servers[0], Secondaries: servers[1:], Records: text})
	lags := harness.StartKnot(t, harness.Zone{Name: rotated, Address: servers[1], Primary: servers[0]})
	harness.Eventually(t, harness.WaitLimit, "the secondary has the zone", func() bool { return txt(t, servers[1], "s1._domainkey."+rotated) != "" })
	r.serve(t, `selector = ["s1", "s2"]`, r.update(t))

	names := make([]string, len(selectors))
	for i, selector := range selectors {
		names[i] = selector + "._domainkey." + rotated
	}
	tr := newTraffic(t, r.path("milter"), servers...)
	ctx, stop := context.WithCancel(t.Context())
	var flowing sync.WaitGroup
	flowing.Go(func() { tr.flow(ctx, names...) })
	t.Cleanup(func() { stop(); flowing.Wait() })

	lives, chaos := 0, kills > 5
	for first, second := "s1", "s2"; lives == 0 || chaos && kills > 0; first, second = second, first {
		lags.ControlKnot(t, "zone-freeze")
		r.begin(t)
		<-time.After(7 * time.Second) // dkimd itself remembers for 5 that there was no record
		harness.Eventually(t, harness.WaitLimit, "the verifier has just seen that the record is not there", func() bool {
			return tr.dns.fresh(second + "._domainkey." + rotated)
		})
		lags.ControlKnot(t, "zone-thaw")
		end := fmt.Sprintf("%s destroyed, %[1]s-ed25519 destroyed, %s active, %[2]s-ed25519 active", first, second)
		if second < first {
			end = fmt.Sprintf("%s active, %[1]s-ed25519 active, %s destroyed, %[2]s-ed25519 destroyed", second, first)
		}
		kills -= r.disturb(t, kills, func() bool {
			if chaos { // dkimd's own cache keeps records for 30 seconds: TestRotationByEachWay waits for that
				stages, _ := r.keys(t)
				return stages == end
			}
			return revoked(t, servers[0], first) && revoked(t, servers[0], first+"-ed25519")
		})
		lives++
	}
	<-time.After(mailAge)
	stop()
	flowing.Wait()
	slices.Sort(tr.faults)
	if len(tr.faults) > 0 {
		t.Errorf("%d of %d messages: %s", len(tr.faults), tr.sent, strings.Join(tr.faults[:min(len(tr.faults), 20)], "\n"))
	}
	for _, selector := range selectors {
		if tr.signed[selector] == 0 {
			t.Errorf("%s has signed nothing", selector)
		}
	}
	t.Logf("%d lives, %d kills left, %d messages, %d tries while dkimd was not there, signatures %v", lives, kills, tr.sent, tr.retried, tr.signed)
}

// revoked reports whether the record of a key is.
func revoked(t *testing.T, server, selector string) bool {
	t.Helper()
	return txt(t, server, selector+"._domainkey."+rotated) == "v=DKIM1; p="
}

// disturb has dkimd reload and kills it at random, until the keys have come to their end. It returns how often it was killed.
func (r *rotating) disturb(t *testing.T, most int, ended func() bool) (kills int) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for disturbance := 0; time.Now().Before(deadline); disturbance++ {
		wait := time.Duration(rand.IntN(3000)) * time.Millisecond
		if harness.Poll(wait, ended) {
			return kills
		}
		if kills < most && disturbance%2 == 1 {
			r.Kill(t)
			r.Start(t)
			kills++
		} else {
			r.Daemon.Signal(syscall.SIGHUP)
		}
	}
	stages, trouble := r.keys(t)
	t.Fatalf("the keys do not come to their end: %s (%s)", stages, trouble)
	return kills
}

// Two daemons on one directory of keys: what one does to the keys the other follows, before mail that it signs can fail.
func TestTwoDaemonsOnOneDirectory(t *testing.T) {
	t.Parallel()
	in := harness.NewInternet(t)
	r, records := newRotating(t, in, "s1-ed25519")
	address := in.Address()
	in.Delegate(rotated, address)
	harness.StartBIND(t, harness.Zone{Name: rotated, Address: address, Records: zoneText(rotated, []string{address}, records)})
	second := &rotating{World: &harness.World{Dir: t.TempDir()}, in: in}
	if err := os.Symlink(r.path("keys"), second.path("keys")); err != nil {
		t.Fatal(err)
	}
	second.serve(t, `selector = ["s1", "s2"]`, second.update(t))
	r.serve(t, `selector = ["s1", "s2"]`, r.update(t))
	// The key is held up until both daemons work on it: else a busy machine brings it to its end before the second has reloaded.
	r.change(t, address, nextKey, foreignKey)
	r.begin(t)
	second.Daemon.Signal(syscall.SIGHUP)
	for _, daemon := range []*rotating{r, second} {
		harness.Eventually(t, harness.WaitLimit, "both daemons tell what holds the key up", func() bool {
			return harness.HasLine(daemon.Daemon.Log.String(), "a key is stuck on its way", "DNS has another record at its name")
		})
	}
	r.change(t, address, nextKey, "")
	ctx, stop := context.WithCancel(t.Context())
	both := []*traffic{newTraffic(t, r.path("milter"), address), newTraffic(t, second.path("milter"), address)}
	var flowing sync.WaitGroup
	for _, tr := range both {
		flowing.Go(func() { tr.flow(ctx) })
	}
	t.Cleanup(func() { stop(); flowing.Wait() })
	harness.Eventually(t, 2*harness.WaitLimit, "the old key is revoked", func() bool { return revoked(t, address, "s1-ed25519") })
	<-time.After(mailAge)
	stop()
	flowing.Wait()
	for i, tr := range both {
		if len(tr.faults) > 0 || tr.signed["s1-ed25519"] == 0 || tr.signed["s2-ed25519"] == 0 {
			t.Errorf("daemon %d: %d messages, signatures %v, faults %q", i+1, tr.sent, tr.signed, tr.faults[:min(len(tr.faults), 5)])
		}
	}
}
