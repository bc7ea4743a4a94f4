//go:build system

package system_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dkimd/integration/harness"
)

// built is where two versions of the package for Debian are, and a tarball, of the sources as they are.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "dkimd-packages-")
	for version, what := range map[string][]string{"1.0.0": {"deb", "tar"}, "1.0.1": {"deb", "deb-static"}} {
		if err != nil {
			break
		}
		cmd := exec.Command(harness.Repository("scripts/package"), append([]string{dir}, what...)...)
		cmd.Env = append(os.Environ(), "VERSION="+version, "ARCHES=amd64")
		cmd.Stderr = os.Stderr
		err = cmd.Run()
	}
	return dir, err
})

// TestMain builds them while systems boot.
func TestMain(m *testing.M) {
	go func() { _, _ = built() }()
	m.Run()
	dir, _ := built()
	_ = os.RemoveAll(dir)
}

// packages is the directory of what was built.
func packages(t *testing.T) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatalf("scripts/package: %v", err)
	}
	return dir
}

// debs are two versions of the package for Debian.
func debs(t *testing.T) (first, second string) {
	t.Helper()
	dir := packages(t)
	return filepath.Join(dir, "dkimd_1.0.0_amd64.deb"), filepath.Join(dir, "dkimd_1.0.1_amd64.deb")
}

// TestPackagesAreReproducible: all packages are built, and those that are built again, elsewhere and by
// somebody with other settings, have the same bytes.
func TestPackagesAreReproducible(t *testing.T) {
	t.Parallel()
	harness.Need(t, "git", "dpkg-deb")
	base := t.TempDir()
	commit := strings.TrimSpace(string(harness.Run(t, nil, "git", "-C", harness.Repository(""), "rev-parse", "HEAD")))
	build := func(dir, umask, settings string) string {
		clone := filepath.Join(base, dir)
		harness.Run(t, nil, "git", "clone", "-q", "--no-checkout", harness.Repository(""), clone)
		harness.Run(t, nil, "sh", "-c", "umask "+umask+" && cd '"+clone+"' && git checkout -q --detach "+commit+" && "+settings)
		return filepath.Join(clone, "out")
	}
	all := build("a", "022", "TZ=UTC scripts/package out")
	again := build("another/and/longer", "077", "TZ=Pacific/Auckland ARCHES=amd64 scripts/package out deb tar")
	harness.Run(t, nil, "sh", "-c", "cd '"+all+"' && sha256sum --check --strict SHA256SUMS && test $(wc -l <SHA256SUMS) = 7")
	kinds := func(dir string) map[string]int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]int{}
		for _, e := range entries {
			kinds[filepath.Ext(e.Name())]++
		}
		return kinds
	}
	// dkimd for amd64, dkimd-static for both; an rpm and a tarball for both.
	if got, want := kinds(all), (map[string]int{".deb": 3, ".rpm": 2, ".gz": 2, "": 1}); !maps.Equal(got, want) {
		t.Errorf("built: %v, want %v", got, want)
	}
	if got, want := kinds(again), (map[string]int{".deb": 1, ".gz": 1, "": 1}); !maps.Equal(got, want) {
		t.Errorf("built again: %v, want %v", got, want)
	}
	harness.Run(t, nil, "sh", "-c", "cd '"+all+"' && sha256sum --check --strict '"+again+"/SHA256SUMS'")
	lintian(t, all)
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
	debs, err := filepath.Glob(filepath.Join(dir, "*_amd64.deb"))
	if err != nil || len(debs) == 0 {
		t.Fatalf("no packages: %v", err)
	}
	out, complaint, err := harness.TryRun(t, nil, "lintian", append([]string{"--allow-root", "--fail-on", "error", "--tag-display-limit", "0"}, debs...)...)
	if err != nil {
		t.Errorf("lintian: %v\n%s%s", err, out, complaint)
	}
}
