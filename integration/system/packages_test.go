//go:build system

package system_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// built are packages of the sources as they are.
var built struct {
	dir string
	err error
}

// TestMain builds them once. Where that fails, each test that needs them does.
func TestMain(m *testing.M) {
	built.dir, built.err = os.MkdirTemp("", "dkimd-packages-")
	for version, what := range map[string][]string{"1.0.0": {"deb", "tar"}, "1.0.1": {"deb"}} {
		if built.err != nil {
			break
		}
		cmd := exec.Command(harness.Repository("scripts/package"), append([]string{built.dir}, what...)...)
		cmd.Env = append(os.Environ(), "VERSION="+version)
		cmd.Stderr = os.Stderr
		built.err = cmd.Run()
	}
	m.Run()
	_ = os.RemoveAll(built.dir)
}

// TestPackagesAreReproducible: the same commit gives the same bytes, wherever and by whomever it is built.
func TestPackagesAreReproducible(t *testing.T) {
	t.Parallel()
	harness.Need(t, "git", "dpkg-deb")
	base := t.TempDir()
	commit := strings.TrimSpace(string(harness.Run(t, nil, "git", "-C", harness.Repository(""), "rev-parse", "HEAD")))
	build := func(dir, umask, zone string) string {
		clone := filepath.Join(base, dir)
		harness.Run(t, nil, "git", "clone", "-q", "--no-checkout", harness.Repository(""), clone)
		harness.Run(t, nil, "sh", "-c", "umask "+umask+" && cd '"+clone+"' && git checkout -q --detach "+commit+" && TZ="+zone+" scripts/package out")
		return filepath.Join(clone, "out")
	}
	one, other := build("a", "022", "UTC"), build("another/and/longer", "077", "Pacific/Auckland")
	entries, err := os.ReadDir(one)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, e := range entries {
		kinds[filepath.Ext(e.Name())]++
		a, errA := os.ReadFile(filepath.Join(one, e.Name()))
		b, errB := os.ReadFile(filepath.Join(other, e.Name()))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %d and %d bytes (%v, %v)", e.Name(), len(a), len(b), errA, errB)
		}
	}
	// dkimd for amd64, dkimd-static for both; an rpm and a tarball for both.
	if kinds[".deb"] != 3 || kinds[".rpm"] != 2 || kinds[".gz"] != 2 || kinds[""] != 1 {
		t.Errorf("built: %v", entries)
	}
	harness.Run(t, nil, "sh", "-c", "cd '"+one+"' && sha256sum --check --strict SHA256SUMS && test $(wc -l <SHA256SUMS) = 7")
	lintian(t, one)
}

// TestInstallDoesAsThePackage: make install puts in place what the package has.
func TestInstallDoesAsThePackage(t *testing.T) {
	t.Parallel()
	harness.Need(t, "make", "dpkg-deb")
	deb, _ := debs(t)
	installed, unpacked := t.TempDir(), t.TempDir()
	install := func() {
		harness.Run(t, nil, "make", "-s", "-C", harness.Repository(""), "install", "DESTDIR="+installed, "PREFIX=/usr")
	}
	install()
	harness.Run(t, nil, "dpkg-deb", "-x", deb, unpacked)
	list := func(dir string) string {
		return string(harness.Run(t, nil, "sh", "-c", "cd '"+dir+"' && find . -type f ! -path './usr/share/lintian/*' ! -name changelog.gz -printf '%m %p\n' | sort -k 2"))
	}
	if got, want := list(installed), list(unpacked); got != want || strings.Count(want, "\n") < 40 {
		t.Errorf("installed:\n%swant what the package has:\n%s", got, want)
	}
	rules := filepath.Join(installed, "etc/dkimd/rules/gmail.com.toml")
	if err := os.WriteFile(rules, []byte("# ours\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	install()
	if text, err := os.ReadFile(rules); err != nil || string(text) != "# ours\n" {
		t.Errorf("an edited rules file is overwritten: %v: %s", err, text)
	}
}

// lintian finds no errors in packages for Debian.
func lintian(t *testing.T, dir string) {
	t.Helper()
	harness.Need(t, "lintian")
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) == 0 {
		t.Fatalf("no packages: %v", err)
	}
	out, complaint, err := harness.TryRun(t, nil, "lintian", append([]string{"--allow-root", "--fail-on", "error", "--tag-display-limit", "0"}, debs...)...)
	if err != nil {
		t.Errorf("lintian: %v\n%s%s", err, out, complaint)
	}
}
