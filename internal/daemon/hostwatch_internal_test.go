package daemon

import (
	"path/filepath"
	"slices"
	"testing"

	"dkimd/internal/config"
	"dkimd/internal/hosts"
	"dkimd/internal/logtest"
	"dkimd/internal/message"
	"dkimd/internal/resolver/dnstest"
)

// The hosts of each list are known when a setup is built, those of a reload also where DNS is silent.
func TestHostsOfListsAreKnown(t *testing.T) {
	t.Parallel()
	start := func() *dnstest.Server {
		server, err := dnstest.Start("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		return server
	}
	dns, silent := start(), start()
	if err := dns.SetZone("a.test. A 192.0.2.1\nb.test. A 192.0.2.2\nc.test. A 192.0.2.3\n"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dkimd.toml")
	writeFile(t, path, "[sign]\nnetworks = \"a.test\"\n[verify]\ntrusted = \"b.test\"\nleave_alone = \"c.test\"\n[dns]\nservers = \""+dns.Addr()+"\"\ntimeout = \"100ms\"\n")
	c, faults := config.Load(path, true)
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	var log logtest.Lines
	build := func(previous *Setup) *Setup {
		s, err := Build(c, previous, Observers{Recorder: discard{}, Log: log.Logger()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		for i, list := range []*hosts.List{s.Pipeline.Networks, s.Pipeline.Trusted, s.Pipeline.LeaveAlone} {
			var in []bool
			for _, address := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
				is, _ := list.Contains(t.Context(), message.NewClient("", address))
				in = append(in, is)
			}
			if want := []bool{i == 0, i == 1, i == 2}; !slices.Equal(in, want) {
				t.Errorf("list %d holds %v", i, in)
			}
		}
		return s
	}
	first := build(nil)
	if !first.refreshHosts(t.Context()) {
		t.Error("hosts are not known")
	}
	for _, name := range []string{"a.test", "b.test", "c.test"} {
		silent.Drop(name)
	}
	c.DNS.Servers = []string{silent.Addr()} // and so the cache begins anew
	second := build(first)
	if second.refreshHosts(t.Context()) {
		t.Error("DNS is silent, and all is said to be known")
	}
	log.Wait(t, 3, "could not be looked up: it keeps those it had")
}
