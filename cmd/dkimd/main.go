// Command dkimd signs outgoing mail and verifies incoming mail with DKIM
// (RFC 6376), beside a mail server that calls it as a milter.
//
// Each command has a file of its own, named after it: sign.go, keylist.go for
// dkimd key list. command.go has what all commands share, message.go what those share
// that take one message, daemon.go what those share that ask the daemon; a test holds that no command calls another one's functions.
package main

import (
	"cmp"
	"context"
	"os"
	"runtime/debug"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// version is set by make build: -ldflags "-X main.version=1.2.3".
var version = ""

// versionString is the version, or what go build knows of the sources.
func versionString() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "development"
	}
	return builtFrom(info)
}

// builtFrom says what a build without a version was made of.
func builtFrom(info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	version := info.Main.Version
	if version == "(devel)" {
		version = ""
	}
	revision := settings["vcs.revision"]
	if version != "" || revision == "" {
		return cmp.Or(version, "development")
	}
	if version = "development-" + revision[:min(len(revision), 12)]; settings["vcs.modified"] == "true" {
		version += "-dirty"
	}
	return version
}
