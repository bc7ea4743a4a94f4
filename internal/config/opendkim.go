package config

import (
	"bufio"
	"io"
	"os"
	"strings"

	"dkimd/internal/fault"
	"dkimd/internal/tomlfile"
)

// otherProgram says so where the file that cannot be read is one of OpenDKIM's,
// whose lines are KEY VALUE.
func otherProgram(path string, faults fault.Faults) fault.Faults {
	if len(faults) == 1 && faults[0].Key == "" && faults[0].Want == "TOML" && isOpenDKIM(path) {
		faults[0].Want = "TOML, as docs/configuration.md describes it"
		faults[0].Hint = "this is a configuration of OpenDKIM, which dkimd does not read; its keys it can use: docs/keys.md"
	}
	return faults
}

// isOpenDKIM reports whether the first setting of a file is one that OpenDKIM has.
func isOpenDKIM(path string) bool {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(io.LimitReader(f, tomlfile.MaxBytes))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		switch strings.ToLower(words[0]) {
		case "alwaysaddarheader", "autorestart", "background", "basedirectory", "canonicalization", "domain", "externalignorelist",
			"include", "internalhosts", "keyfile", "keytable", "logwhy", "minimumkeybits", "mode", "nameservers", "oversignheaders",
			"pidfile", "selector", "signaturealgorithm", "signingtable", "socket", "subdomains", "syslog", "syslogsuccess", "umask", "userid":
			return len(words) > 1 && !strings.HasPrefix(words[1], "=")
		}
		return false
	}
	return false
}
