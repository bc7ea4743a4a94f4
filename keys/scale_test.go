package keys_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/keys"
)

// manyDomains makes a directory of that many domains with an RSA key each. The
// files are links to a few: a file system does not tell.
func manyDomains(tb testing.TB, count int) string {
	tb.Helper()
	top := tb.TempDir()
	dir := filepath.Join(top, "keys")
	check := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	check(os.Mkdir(dir, 0o750))
	pem := filepath.Join(top, "key")
	for i := range count {
		if i%10_000 == 0 { // ext4 takes 65,000 links of a file
			pem = fmt.Sprintf("%s%d", pem, i)
			check(os.WriteFile(pem, []byte(rsaPEM()), 0o600))
		}
		domain := filepath.Join(dir, string(nthDomain(i)))
		check(os.Mkdir(domain, 0o750))
		check(os.Link(pem, filepath.Join(domain, "s1.pem")))
	}
	return dir
}

func nthDomain(i int) domain.Name { return domain.Name(fmt.Sprintf("customer-%06d.example.net", i)) }

// A reload reads what the store before it has not, and nothing else. Times are
// logged: a slow disk must not fail the test.
func TestManyDomains(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes 5,000 directories")
	}
	const domains = 5_000
	dir := manyDomains(t, domains)
	start := time.Now()
	s, faults := keys.Open(keys.Config{Directory: dir})
	index := time.Since(start)
	p, err := lookup(s, nthDomain(domains-1)).Keys[0].Load(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	if len(faults) != 0 || len(s.Domains()) != domains || len(s.Faults()) != 0 {
		t.Errorf("%d domains, %d faults", len(s.Domains()), len(s.Faults()))
	}
	start = time.Now()
	again, _ := keys.Open(keys.Config{Directory: dir, Previous: s})
	if err := again.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	reload := time.Since(start)
	if same, err, known := lookup(again, nthDomain(domains-1)).Keys[0].Ready(); same != p || err != nil || !known {
		t.Error("a reload reads an unchanged key again")
	}
	for i := range domains {
		if lookup(again, nthDomain(i)).Keys[0] != lookup(s, nthDomain(i)).Keys[0] {
			t.Fatal("a reload checks an unchanged key again")
		}
	}
	s.Close()
	again.Close()
	t.Logf("%d domains: list %v, reload %v", domains, index, reload)
}

func BenchmarkManyDomains(b *testing.B) {
	const domains = 100_000
	dir := manyDomains(b, domains)
	ctx := context.Background()
	var s *keys.Store
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			s, _ = keys.Open(keys.Config{Directory: dir})
			b.StopTimer()
			s.Close()
			b.StartTimer()
		}
	})
	b.Run("first use", func(b *testing.B) {
		i := 0
		for b.Loop() {
			p, err := lookup(s, nthDomain(domains-1-i)).Keys[0].Load(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := p.Sign(ctx, sha256.Sum256(nil)); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	measure := func(b *testing.B, open func() *keys.Store) {
		b.Helper()
		start, before := time.Now(), processorTime(b)
		s = open()
		if err := s.Wait(ctx); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s")
		b.ReportMetric((processorTime(b) - before).Seconds(), "cpu-s")
		b.ReportMetric(0, "ns/op")
	}
	b.Run("check all", func(b *testing.B) {
		measure(b, func() *keys.Store { s, _ := keys.Open(keys.Config{Directory: dir}); return s })
		b.ReportMetric(heapMiB(), "MiB")
	})
	b.Run("reload", func(b *testing.B) {
		old := s
		measure(b, func() *keys.Store { s, _ := keys.Open(keys.Config{Directory: dir, Previous: old}); return s })
		old.Close()
	})
	s.Close()
}

// BenchmarkSign signs with the engine of the build: run it with -tags libcrypto, too.
func BenchmarkSign(b *testing.B) {
	for _, bits := range []int{1024, 2048, 4096} {
		b.Run(fmt.Sprintf("rsa %d", bits), func(b *testing.B) { benchmarkSign(b, rsaOf(bits)) })
	}
	b.Run("ed25519", func(b *testing.B) { benchmarkSign(b, rfc8463PEM) })
}

func benchmarkSign(b *testing.B, pem string) {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "example.org")
	if err := os.Mkdir(dir, 0o750); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "s1.pem"), []byte(pem), 0o600); err != nil {
		b.Fatal(err)
	}
	d, err := keys.Find(keys.Config{Directory: filepath.Dir(dir)}, "example.org")
	if err != nil {
		b.Fatal(err)
	}
	p, err := d.Keys[0].Load(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	hash := sha256.Sum256(nil)
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		if _, err := p.Sign(b.Context(), hash); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func rsaOf(bits int) string {
	key := must(rsa.GenerateKey(rand.Reader, bits))
	return pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
}

// processorTime is what this process has used: what counts on a machine that is shared.
func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func heapMiB() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// Reading tables takes time as they have lines, and a lookup in 100,000 lines costs what it costs in 10,000. The times are
// logged, their ratios are what is held: the machine has other work. It runs alone, since both tables are read at the same time.
func TestManyLines(t *testing.T) { //nolint:paralleltest // what the process takes is measured
	if testing.Short() {
		t.Skip("reads 200,000 lines")
	}
	open := func(lines int) (*keys.Store, time.Duration) {
		var keyTable, signingTable strings.Builder
		for i := range lines {
			name := nthDomain(i)
			fmt.Fprintf(&keyTable, "mail._domainkey.%s %s:mail:../keys/%s/mail.private\n", name, name, name)
			fmt.Fprintf(&signingTable, "*@%s mail._domainkey.%s\n", name, name)
		}
		_, c := tables(t, keyTable.String(), signingTable.String())
		var s *keys.Store
		took := cputime.OfProcess(func() {
			s, _ = keys.Open(c)
			t.Cleanup(s.Close)
		})
		return s, took
	}
	cost := func(s *keys.Store, lines int) time.Duration {
		return cputime.Least(5, func() {
			for i := range 2000 {
				if found := s.Lookup(message.Address{Local: "joe", Domain: nthDomain(i * 7919 % lines)}); len(found) != 1 {
					t.Fatal("not found")
				}
			}
		})
	}
	few, fewRead := open(10_000)
	many, manyRead := open(100_000)
	fewCost, manyCost := cost(few, 10_000), cost(many, 100_000)
	t.Logf("10,000 lines are read in %v, 100,000 in %v; 2000 lookups in them take %v and %v", fewRead, manyRead, fewCost, manyCost)
	if manyRead > 50*fewRead {
		t.Errorf("10,000 lines take %v to be read, 100,000 take %v", fewRead, manyRead)
	}
	if manyCost > 8*fewCost { // the memory of 100,000 entries is not in the processor's cache
		t.Errorf("2000 lookups take %v in 10,000 lines and %v in 100,000", fewCost, manyCost)
	}
}

func BenchmarkLookupInTable(b *testing.B) {
	lines := func(n int) *keys.Store {
		var keyTable, signingTable strings.Builder
		for i := range n {
			fmt.Fprintf(&keyTable, "k%d %s:mail:/absent\n", i, nthDomain(i))
			fmt.Fprintf(&signingTable, "*@%s k%d\n", nthDomain(i), i)
		}
		dir := b.TempDir()
		for name, text := range map[string]string{"KeyTable": keyTable.String(), "SigningTable": signingTable.String()} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		s, _ := keys.Open(keys.Config{KeyTable: filepath.Join(dir, "KeyTable"), SigningTable: "refile:" + filepath.Join(dir, "SigningTable")})
		b.Cleanup(s.Close)
		return s
	}
	for _, n := range []int{10, 100_000} {
		s := lines(n)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if len(s.Lookup(message.Address{Local: "joe", Domain: nthDomain(i % 10)})) != 1 {
					b.Fatal("not found")
				}
			}
		})
	}
}
