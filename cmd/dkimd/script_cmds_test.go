package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"dkimd/internal/fault"
	"dkimd/internal/resolver/dnstest"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

// status N COMMAND...: the command ends with exit status N. Its output is kept
// for stdout, stderr and cmp, as exec does.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// faults CASES FILE COMMAND...: every block of CASES, which end with an empty
// line, is written to FILE, and COMMAND run. The lines of the block that begin
// with "dkimd: " are left out of FILE: they are all that COMMAND says, on stderr. It
// ends with status 2, or 0 where they are all warnings.
func faults(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: faults cases file command [args...]")
	}
	for block := range strings.SplitSeq(strings.TrimSpace(ts.ReadFile(args[0])), "\n\n") {
		var file, want strings.Builder
		code := "0"
		for line := range strings.Lines(block + "\n") {
			switch {
			case !strings.HasPrefix(line, "dkimd: "):
				file.WriteString(line)
				continue
			case !strings.HasPrefix(line, "dkimd: warning: "):
				code = "2"
			}
			want.WriteString(line)
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(file.String()), 0o600))
		status(ts, false, append([]string{code}, args[2:]...))
		if got := ts.ReadFile("stderr"); got != want.String() || want.Len() == 0 {
			ts.Fatalf("%s\nsays:\n%swant:\n%s", file.String(), got, want.String())
		}
	}
}

type dnsKey struct{}

// prepareScript starts a DNS server for the script and fills in, in every file
// of its archive, @WORK@ (the work directory), @DNS@ (the server's address), @DNSPORT@
// (its port), @USER@ and @GROUP@ (who the test runs as).
func prepareScript(env *testscript.Env) error {
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	env.Defer(server.Close)
	env.Values[dnsKey{}] = server
	_, port, err := net.SplitHostPort(server.Addr())
	if err != nil {
		return err
	}
	fill := strings.NewReplacer("@WORK@", env.WorkDir, "@DNS@", server.Addr(), "@DNSPORT@", port,
		"@USER@", fault.User(os.Geteuid()), "@GROUP@", fault.Group(os.Getegid()))
	return filepath.WalkDir(env.WorkDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return errors.Join(err, os.Chmod(path, 0o755))
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(fill.Replace(string(text))), 0o600)
	})
}

// dns ZONEFILE...: the script's DNS server serves these records too.
func addZone(ts *testscript.TestScript, neg bool, args []string) {
	server, ok := ts.Value(dnsKey{}).(*dnstest.Server)
	if neg || !ok {
		ts.Fatalf("usage: dns zonefile...")
	}
	for _, name := range args {
		ts.Check(server.SetZone(ts.ReadFile(name)))
	}
}

// broken NAME: the script's DNS server answers SERVFAIL for this name.
func breakName(ts *testscript.TestScript, neg bool, args []string) {
	server, ok := ts.Value(dnsKey{}).(*dnstest.Server)
	if neg || !ok || len(args) != 1 {
		ts.Fatalf("usage: broken name")
	}
	server.SetRcode(args[0], dns.RcodeServerFailure)
}

// asked NAME N: the script's DNS server has been asked for this name N times.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	server, ok := ts.Value(dnsKey{}).(*dnstest.Server)
	if neg || !ok || len(args) != 2 {
		ts.Fatalf("usage: asked name n")
	}
	if got := strconv.Itoa(server.Queries(args[0])); got != args[1] {
		ts.Fatalf("asked %s times, want %s", got, args[1])
	}
}
