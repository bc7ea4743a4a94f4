package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"dkimd/internal/resolver/dnstest"

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

// dns ZONEFILE...: a DNS server on loopback serves these records; its address
// is in $DNS, and is put in the place of @DNS@ in every *.toml of the work directory.
func serveZone(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: dns [zonefile...]")
	}
	server, err := dnstest.Start("127.0.0.1:0")
	ts.Check(err)
	ts.Defer(server.Close)
	for _, name := range args {
		ts.Check(server.SetZone(ts.ReadFile(name)))
	}
	ts.Setenv("DNS", server.Addr())
	for _, name := range strings.Fields("dkimd.toml other.toml") {
		path := ts.MkAbs(name)
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		ts.Check(err)
		ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "@DNS@", server.Addr())), 0o600))
	}
}
