//go:build integration

package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/integration/harness"

	"dkimd/internal/publish"
	"dkimd/keys"

	"github.com/miekg/dns"
)

// zoneText is a zone with name servers at these addresses. What it says is remembered for 2 seconds.
func zoneText(name string, servers []string, records ...string) string {
	lines := []string{"$ORIGIN " + name + ".", "$TTL 2", "@ SOA ns1 host 1 1 1 600 2"}
	for i, address := range servers {
		lines = append(lines, fmt.Sprintf("@ NS ns%d\nns%[1]d A %s", i+1, address))
	}
	return strings.Join(append(append(lines, records...), ""), "\n")
}

// Real name servers take our updates, each only where it has what we say it has; a wildcard does not count.
func TestUpdatesOfNameServers(t *testing.T) {
	t.Parallel()
	servers := map[string]startServer{"BIND": harness.StartBIND, "Knot": harness.StartKnot, "PowerDNS": harness.StartPowerDNS}
	atOnce(t, servers, func(t *testing.T, kind string, start startServer) {
		t.Helper()
		address := harness.NewInternet(t).Address()
		start(t, harness.Zone{Name: "example.test", Address: address, Records: zoneText("example.test", []string{address},
			`*._domainkey TXT "wild"`, `other._domainkey TXT "v=DKIM1; p=QUJD"`, `www A 127.0.0.1`)})
		testUpdates(t, kind, address+":53")
	})
}

func testUpdates(t *testing.T, kind, address string) {
	t.Helper()
	right := publish.Update{Server: address, Key: "dkimd", Algorithm: "hmac-sha256", Secret: harness.TSIGSecret}
	wrong := right
	wrong.Secret = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg=="
	long := "v=DKIM1; p=" + strings.Repeat("A", 400)
	for i, step := range []struct {
		method    publish.Update
		name      string
		old, text string
		want      string // of the error
	}{
		{wrong, "s1", "", long, "NOTAUTH"},
		{right, "s1", "", long, ""},
		{right, "s1", "", long, ""},
		{right, "s1", "", "v=DKIM1; p=QUJD", "there is another record"},
		{right, "other", "", long, "there is another record"},
		{right, "s1", "v=DKIM1; p=WFla", "v=DKIM1; p=", "there is another record"},
		{right, "s1", long, "v=DKIM1; p=", ""},
		{right, "s1", "v=DKIM1; p=", "", ""},
	} {
		err := step.method.Apply(t.Context(), publish.Change{
			Name: step.name + "._domainkey.example.test", Zone: "example.test", Old: step.old, New: step.text, TTL: 2 * time.Second,
		})
		if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Errorf("step %d: got %v; want %q", i, err, step.want)
		}
	}
	outside := publish.Change{Name: "web.example.test", Zone: "example.test", New: "text", TTL: time.Second}
	if err := right.Apply(t.Context(), outside); kind != "PowerDNS" && (err == nil || !strings.Contains(err.Error(), "change the name")) {
		t.Errorf("a name that the key may not change: %v", err) // to PowerDNS a key is for a whole zone
	}
	outside.Zone, outside.Name = "example.net", "a.example.net"
	if err := right.Apply(t.Context(), outside); err == nil || !strings.Contains(err.Error(), "REFUSED") && !strings.Contains(err.Error(), "NOTAUTH") {
		t.Errorf("a zone that the server does not have: %v", err)
	}
}

// rotating is a dkimd that rotates the keys of example.test, in the DNS of a test.
type rotating struct {
	*harness.World
	in *harness.Internet
}

const rotated = "example.test"

// newRotating is one that does not run yet, with keys that sign. The records are theirs.
func newRotating(t *testing.T, in *harness.Internet, selectors ...string) (r *rotating, records string) {
	t.Helper()
	r = &rotating{World: &harness.World{Dir: t.TempDir()}, in: in}
	var all strings.Builder
	for _, selector := range selectors {
		kind := keys.RSA
		if strings.HasSuffix(selector, keys.Ed25519) {
			kind = keys.Ed25519
		}
		all.WriteString(strings.ReplaceAll(harness.GenerateKey(t, r.path("keys"), rotated, selector, kind), ". IN", ". 2 IN"))
	}
	return r, all.String()
}

func (r *rotating) path(name string) string { return filepath.Join(r.Dir, name) }

// update is a [[publish]] by dynamic update, with the right secret.
func (r *rotating) update(t *testing.T) string {
	t.Helper()
	r.secret(t, harness.TSIGSecret)
	return fmt.Sprintf("method = \"rfc2136\"\nkey = \"dkimd\"\nsecret_file = %q\n", r.path("secret"))
}

func (r *rotating) secret(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(r.path("secret"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serve writes the configuration and starts the daemon.
func (r *rotating) serve(t *testing.T, rotate, publish string) {
	t.Helper()
	r.Write(t, "dkimd.toml", fmt.Sprintf(`hostname = "mx.test"
[milter]
listen = "unix:%[1]s/milter"
[sign]
directory = "%[1]s/keys"
[dns]
servers = %[2]q
[policy]
directory = "%[1]s/rules"
[control]
listen = "unix:%[1]s/control"
[log]
output = "stdout"
[rotate]
keep = "3s"
patience = "2s"
%[3]s
[[publish]]
ttl = "2s"
%[4]s`, r.Dir, r.in.Resolver, rotate, publish))
	if err := os.MkdirAll(r.path("rules"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.Start(t)
	t.Cleanup(func() {
		r.Stop(t)
		if t.Failed() {
			t.Logf("dkimd said:\n%s", r.Daemon.Log)
		}
	})
}

// begin runs dkimd key rotate, which waits for a daemon that works on the keys, and has it go on.
func (r *rotating) begin(t *testing.T) {
	t.Helper()
	if out, complaint, err := harness.TryRun(t, nil, harness.Binary(t), "key", "rotate", rotated, "--config", r.ConfigFile()); strings.Contains(complaint, "another dkimd works on these keys") {
		t.Fatal(string(out), complaint, err)
	}
}

// keys are the keys with their stages, in the order of their selectors, and what holds one of them up.
func (r *rotating) keys(t *testing.T) (stages, trouble string) {
	t.Helper()
	d, err := keys.Find(keys.Config{Directory: r.path("keys")}, rotated)
	if err != nil {
		t.Fatal(err)
	}
	held, faults := d.Held()
	if faults != nil {
		t.Fatal(faults)
	}
	var all, troubles []string
	for _, h := range held {
		all, troubles = append(all, h.Selector+" "+string(h.Stage())), append(troubles, h.Life.Trouble)
	}
	return strings.Join(all, ", "), strings.Join(troubles, "\n")
}

// await waits until the keys have these stages.
func (r *rotating) await(t *testing.T, want string) {
	t.Helper()
	var stages, trouble string
	if !harness.Poll(2*harness.WaitLimit, func() bool { stages, trouble = r.keys(t); return stages == want }) {
		t.Fatalf("keys: %s (%s); want %s", stages, trouble, want)
	}
}

// awaitTrouble waits until something that has all of these words holds a key up.
func (r *rotating) awaitTrouble(t *testing.T, words ...string) {
	t.Helper()
	var stages, trouble string
	if !harness.Poll(2*harness.WaitLimit, func() bool { stages, trouble = r.keys(t); return harness.HasLine(trouble, words...) }) {
		t.Fatalf("keys: %s (%s); want %q", stages, trouble, words)
	}
}

// txt is the TXT record that a server has at a name.
func txt(t *testing.T, server, name string) string {
	t.Helper()
	m, _, err := (&dns.Client{Net: "tcp", Timeout: harness.WaitLimit}).ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(name+".", dns.TypeTXT), server+":53")
	if err != nil {
		t.Fatal(err)
	}
	for _, rr := range m.Answer {
		if rr, ok := rr.(*dns.TXT); ok {
			return strings.Join(rr.Txt, "")
		}
	}
	return ""
}

// atOnce runs tests that mostly wait, all at the same time, however many processors there are.
func atOnce[T any](t *testing.T, tests map[string]T, run func(t *testing.T, name string, test T)) {
	t.Helper()
	var running sync.WaitGroup
	for name, test := range tests {
		running.Go(func() { t.Run(name, func(t *testing.T) { run(t, name, test) }) })
	}
	running.Wait()
}

type startServer = func(*testing.T, harness.Zone) *harness.NameServer

// A new key does not sign while one server lags and another is down, which is an error that names the server. Once both
// have the record, it does.
func TestRotationWaitsForEveryServer(t *testing.T) {
	t.Parallel()
	atOnce(t, map[string]startServer{"BIND": harness.StartBIND, "Knot": harness.StartKnot}, func(t *testing.T, kind string, start startServer) {
		t.Helper()
		in := harness.NewInternet(t)
		r, records := newRotating(t, in, "s1-ed25519")
		servers := []string{in.Address(), in.Address(), in.Address()}
		in.Delegate(rotated, servers...)
		start(t, harness.Zone{
			Name: rotated, Address: servers[0], Secondaries: servers[1:], Signed: kind == "BIND", Records: zoneText(rotated, servers, records),
		})
		lags := harness.StartKnot(t, harness.Zone{Name: rotated, Address: servers[1], Primary: servers[0]})
		down := harness.StartBIND(t, harness.Zone{Name: rotated, Address: servers[2], Primary: servers[0]})
		for _, server := range servers {
			harness.Eventually(t, harness.WaitLimit, server+" has the zone", func() bool { return txt(t, server, "s1-ed25519._domainkey."+rotated) != "" })
		}
		lags.ControlKnot(t, "zone-freeze")
		down.Down()
		r.serve(t, `selector = ["s1", "s2"]`, r.update(t))
		r.begin(t)
		// The log tells once a day: a busy machine may have it name the other server. What holds the key up now is always shown.
		harness.Eventually(t, harness.WaitLimit, "an error names a server", func() bool {
			return harness.HasLine(r.Daemon.Log.String(), "level=ERROR", "a key is stuck on its way", "selector=s2-ed25519", "."+rotated)
		})
		harness.Eventually(t, harness.WaitLimit, "dkimd status names the server that lags", func() bool {
			out, _, _ := harness.TryRun(t, nil, harness.Binary(t), "status", "--config", r.ConfigFile())
			return harness.HasLine(string(out), "key rotation is stuck", "s2-ed25519", "ns2."+rotated, "has no record")
		})
		lags.ControlKnot(t, "zone-thaw")
		r.awaitTrouble(t, "ns3."+rotated)
		if stages, _ := r.keys(t); stages != "s1-ed25519 active, s2-ed25519 made" {
			t.Errorf("while a server is down: %s", stages)
		}
		down.Restart()
		r.await(t, "s1-ed25519 active, s2-ed25519 published")
		r.await(t, "s1-ed25519 retiring, s2-ed25519 active")
		for _, server := range servers {
			if got := txt(t, server, "s2-ed25519._domainkey."+rotated); !strings.HasPrefix(got, "v=DKIM1; k=ed25519; p=") {
				t.Errorf("%s has %q", server, got)
			}
		}
	})
}

// Each way into a zone brings a key from its beginning to its end.
func TestRotationByEachWay(t *testing.T) {
	t.Parallel()
	const hosted = "hosted.test"
	type way struct {
		selectors string // of [rotate]
		end       string // of the old record
		zones     func(t *testing.T, r *rotating, records string) (publish string)
	}
	atOnce(t, map[string]way{
		"an update of a zone that Knot signs": {`selector = ["s1", "s2"]`, "v=DKIM1; p=", func(t *testing.T, r *rotating, records string) string {
			t.Helper()
			address := r.in.Address()
			r.in.Delegate(rotated, address)
			harness.StartKnot(t, harness.Zone{Name: rotated, Address: address, Signed: true, Records: zoneText(rotated, []string{address}, records)})
			return r.update(t)
		}},
		"aliases into a zone of PowerDNS": {"selector = [\"s1\", \"s2\"]\nend = \"withdraw\"", "", func(t *testing.T, r *rotating, records string) string {
			t.Helper()
			own, other := r.in.Address(), r.in.Address()
			r.in.Delegate(rotated, own)
			r.in.Delegate(hosted, other)
			aliases := make([]string, 0, 2)
			for _, selector := range []string{"s1-ed25519", "s2-ed25519"} {
				aliases = append(aliases, selector+"._domainkey CNAME "+selector+"._domainkey."+hosted+".")
			}
			harness.StartBIND(t, harness.Zone{Name: rotated, Address: own, Static: true, Records: zoneText(rotated, []string{own}, aliases...)})
			harness.StartPowerDNS(t, harness.Zone{Name: hosted, Address: other, Records: zoneText(hosted, []string{other}, strings.ReplaceAll(records, rotated, hosted))})
			return "zone = \"" + hosted + "\"\n" + r.update(t)
		}},
		"a file that a zone includes": {`selector = ["s1", "s2"]`, "v=DKIM1; p=", func(t *testing.T, r *rotating, records string) string {
			t.Helper()
			address, file := r.in.Address(), r.path("example.test.dkim")
			r.in.Delegate(rotated, address)
			included := "; Records of DKIM keys. dkimd writes this file: $INCLUDE it, and change nothing.\n" + zoneLine(records)
			if err := os.WriteFile(file, []byte(included), 0o644); err != nil {
				t.Fatal(err)
			}
			bind := harness.StartBIND(t, harness.Zone{Name: rotated, Address: address, Static: true, Records: zoneText(rotated, []string{address}, "$INCLUDE "+file)})
			return fmt.Sprintf("method = \"zonefile\"\nfile = %q\nrun = [\"%s\"]\n", file, strings.Join(bind.ControlBIND("reload", rotated), `", "`))
		}},
	}, func(t *testing.T, _ string, test way) {
		t.Helper()
		r, records := newRotating(t, harness.NewInternet(t), "s1-ed25519")
		r.serve(t, test.selectors, test.zones(t, r, records))
		r.begin(t)
		r.await(t, "s1-ed25519 retiring, s2-ed25519 active")
		r.await(t, "s1-ed25519 destroyed, s2-ed25519 active")
		for selector, want := range map[string]string{"s1": test.end, "s2": "v=DKIM1; k=ed25519; p="} {
			if got := txt(t, r.in.Resolver, selector+"-ed25519._domainkey."+rotated); !strings.HasPrefix(got, want) || want == "" && got != "" {
				t.Errorf("in the end the record of %s is %q; want %q", selector, got, want)
			}
		}
	})
}

// zoneLine is a record on one line, as dkimd writes it.
func zoneLine(record string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("(", "", ")", "").Replace(record)), " ") + "\n"
}
