package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/fault"
	"dkimd/internal/socket"
	"dkimd/internal/tomlfile"
)

// readOutputs reads where the log stream goes.
func readOutputs(t *tomlfile.Table, key string, def []string) []string {
	var outputs []string
	names := t.Strings(key, def)
	for i, s := range names {
		output, want, hint := parseOutput(s)
		switch {
		case want != "":
			t.FaultItem(key, i, want, hint)
		case slices.Contains(outputs, output):
			t.FaultItem(key, i, "each output once", "remove one of the two")
		default:
			outputs = append(outputs, output)
		}
	}
	if len(names) == 0 && t.Has(key) {
		t.Fault(key, "at least one output", `write "stdout"`)
	}
	if len(outputs) == 0 {
		return def
	}
	return outputs
}

// parseOutput reads one name. Whether somebody listens at a socket is no matter
// of the configuration: syslogd may be started later.
func parseOutput(s string) (output, want, hint string) {
	const names = "stdout, stderr, journal, syslog or the absolute path of a file"
	kind, path, found := strings.Cut(s, ":")
	switch kind {
	case "stdout", "stderr", "journal":
		if found {
			return "", names, "write " + strconv.Quote(kind)
		}
		return s, "", ""
	case "syslog", "syslog-rfc5424":
		switch {
		case !found:
			return s, "", ""
		case !filepath.IsAbs(path):
			return "", kind + " or " + kind + ":/PATH", "the path is that of a unix socket, and begins with /"
		}
		address, err := socket.ParseDial(path)
		if f, ok := errors.AsType[fault.Fault](err); ok {
			return "", f.Want, f.Hint
		}
		return kind + ":" + address.Address(), "", ""
	}
	if !filepath.IsAbs(s) {
		if strings.Contains(strings.ToLower(kind), "syslog") {
			hint = `write "syslog", or "syslog-rfc5424" where the receiver is set up for RFC 5424`
		}
		return "", names, hint
	}
	want, hint = checkLogFile(s)
	return filepath.Clean(s), want, hint
}

// checkLogFile says what is wrong with the path of a file that dkimd may create.
func checkLogFile(path string) (want, hint string) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return "a file", "this path is a directory; name a file in it"
	}
	dir := filepath.Dir(path)
	switch info, err := os.Stat(dir); {
	case err != nil:
		return "a file in a directory that exists", dir + ": " + reason(err) + "; create it, owned by dkimd's user"
	case !info.IsDir():
		return "a file in a directory", dir + " is none"
	}
	return "", ""
}
