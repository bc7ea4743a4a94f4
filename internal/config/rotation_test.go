package config_test

import (
	"strings"
	"testing"
)

// Each wrong table [[publish]] names its line and key; what belongs to another method is none.
func TestPublishFaults(t *testing.T) {
	t.Parallel()
	for toml, want := range map[string]string{
		``:                                                                    "publish[1].method: got nothing",
		`method = "ftp"`:                                                      `publish[1].method: got "ftp"`,
		`method = "command"`:                                                  "publish[1].command: got nothing",
		`method = "command"\ncommand = "true"`:                                "publish[1].command: got",
		`method = "zonefile"\nfile = "keys"`:                                  "publish[1].file: got",
		`method = "manual"\nttl = "8d"`:                                       "publish[1].ttl: got",
		`method = "manual"\nttl = "0"`:                                        "publish[1].ttl: got",
		`method = "rfc2136"\nkey = "k"`:                                       "publish[1].secret_file: got nothing",
		`method = "rfc2136"\nsecret_file = "/x"`:                              "publish[1].key: got nothing",
		`method = "rfc2136"\nalgorithm = "md5"`:                               "publish[1].algorithm: got",
		`method = "manual"\nserver = "192.0.2.1"`:                             "publish[1].server: got",
		`method = "manual"\nservers = "ns1"`:                                  "publish[1].servers: got",
		`method = "manual"\nzone = "a..b"`:                                    "publish[1].zone: got",
		"method = \"manual\"\n[[publish]]\nmethod = \"manual\"":               "publish[2].zone: got nothing",
		"method = \"rfc2136\"\nkey = \"k\"\nsecret_file = \"DIR/absent\"":     "publish[1].secret_file: got",
		"method = \"rfc2136\"\nkey = \"k\"\nsecret_file = \"/etc/passwd\"":    "want a file that others cannot read",
		"method = \"rfc2136\"\nkey = \"k\"\nsecret_file = \"DIR/dkimd.toml\"": "want a secret in base64",
	} {
		_, faults := load(t, "[[publish]]\n"+strings.ReplaceAll(toml, `\n`, "\n")+"\n")
		if text := strings.Join(faults, "\n"); !strings.Contains(text, want) {
			t.Errorf("%s: got %s; want %s", toml, text, want)
		}
	}
}
