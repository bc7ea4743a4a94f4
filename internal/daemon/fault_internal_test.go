package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dkimd/internal/config"
	"dkimd/internal/fault"
	"dkimd/internal/resolver"
)

// Where dkimd.toml names no server, those of resolv.conf are asked; what is wrong with it is told as a fault of dns.servers.
func TestNameServersThatAreNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, test := range map[string]struct {
		resolvConf, toml string
		want             string
	}{
		"a name": {
			"nameserver dns.example.org\n", "[dns]\ntimeout = \"1s\"\n",
			`dns.servers: got nothing, and DIR has no nameserver line with an IP address; want the address of a name server (hint: [dns] servers = ["127.0.0.1"])`,
		},
		"a file that is none": {
			strings.Repeat("#", 1<<20+1), "",
			`dns.servers: got nothing, and DIR has 1048577 octets, more than 1048576; want the address of a name server (hint: [dns] servers = ["127.0.0.1"])`,
		},
	} {
		writeFile(t, filepath.Join(dir, "resolv.conf"), test.resolvConf)
		writeFile(t, filepath.Join(dir, "dns.toml"), test.toml)
		c, faults := config.Load(filepath.Join(dir, "dns.toml"), true)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		rc := resolverConfig(c)
		rc.ResolvConf = filepath.Join(dir, "resolv.conf")
		_, err := openResolver(c, rc)
		want := filepath.Join(dir, "dns.toml") + ": " + strings.ReplaceAll(test.want, "DIR", rc.ResolvConf)
		if !errors.As(err, new(fault.Faults)) || err.Error() != want {
			t.Errorf("%s: got  %v\nwant %s", name, err, want)
		}
	}
	if _, err := openResolver(config.Default(), resolver.Config{ResolvConf: filepath.Join(dir, "absent")}); err != nil {
		t.Errorf("no resolv.conf is one without servers: %v", err)
	}
}

// What cannot be staged in an archive: a disk that is read-only, one that fails.
func TestOutputFaults(t *testing.T) {
	t.Parallel()
	for cause, want := range map[error]string{
		syscall.EROFS: "its file system is read-only for dkimd: ReadWritePaths=/var/log in the unit, or name another file",
		syscall.EIO:   "input/output error",
		syscall.EPERM: "namei -l /var/log/dkimd.json shows who may; the file, or where there is none its directory, has to belong to dkimd's user",
	} {
		err := fmt.Errorf("log.output: %w", &fs.PathError{Op: "open", Path: "/var/log/dkimd.json", Err: cause})
		faults := outputFaults([]string{"stdout", "/var/log/dkimd.json"}, errors.Join(err, errors.New("another")))
		if len(faults) != 2 || faults[0].Key != "log.output[2]" || faults[1].Hint != "another" || faults[0].Got != `"/var/log/dkimd.json"` || faults[0].Hint != want {
			t.Errorf("%v: %v", cause, faults)
		}
	}
}

func TestFaultsAreLocated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a.toml"), "\n[milter]\nlisten = [\n  \"a\",\n  \"b\",\n]\n[exim]\nlisten = \"c\"\n")
	c, _ := config.Load(filepath.Join(dir, "a.toml"), true)
	var got []string
	keys := []string{"milter.listen[2]", "milter.listen[9]", "exim.listen[1]", "log.output", "milter.socket_mode[1]", "hostname", "milter.listen.x"}
	for _, key := range keys {
		f := c.Locate(fault.Faults{{Key: key}})[0]
		got = append(got, f.Key+":"+strconv.Itoa(f.Line))
	}
	want := []string{"milter.listen[2]:5", "milter.listen[9]:3", "exim.listen:8", "log.output:0", "milter.socket_mode:0", "hostname:0", "milter.listen.x:0"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	c, _ = config.Load(filepath.Join(dir, "absent.toml"), false)
	if f := c.Locate(fault.Faults{{Key: "milter.listen[1]", Got: "x"}})[0]; f.Error() != filepath.Join(dir, "absent.toml")+": milter.listen: got x" {
		t.Errorf("all are defaults: %v", f)
	}
	other := errors.New("something else")
	if err := atKey(c, fault.Faults{{Key: "hostname"}}, other); !errors.Is(err, other) {
		t.Errorf("got %v", err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
