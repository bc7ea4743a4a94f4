package importer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// eximRoot is where a proof has the keys of Exim and the files it looks keys up in, below its directory: its user must be
// able to read them.
const eximRoot = "exim/root"

// eximPath is the / at the beginning of a path in an expansion or a line of a file.
var eximPath = regexp.MustCompile(`(?m)(^|[\s{:=])/([A-Za-z0-9])`)

// writeOld writes a configuration of Exim for a proof: the transport that was imported, which hands all mail to the
// server at sink. Below dir, exim is for Exim's user.
func (e *exim) writeOld(dir, sink string) ([]string, error) {
	if len(e.signs) == 0 {
		return nil, errors.New("no transport of Exim's signs: nothing can be proved")
	}
	host, port, err := net.SplitHostPort(sink)
	if err != nil {
		return nil, err
	}
	below := filepath.Join(dir, eximRoot)
	moved := func(text string) string { return eximPath.ReplaceAllString(text, "${1}"+below+"/${2}") }
	copied := func(path string, change func(string) string) error {
		content, err := os.ReadFile(path) //nolint:gosec // a file of the configuration
		if err != nil {
			return err
		}
		to := filepath.Join(below, strings.TrimPrefix(path, strings.TrimSuffix(string(e.root), "/")))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		return os.WriteFile(to, []byte(change(string(content))), 0o600)
	}
	for _, k := range slices.Concat(e.tables.signing.keys, e.tables.proven) {
		if k.path == "" || strings.Contains(k.path, "%") {
			continue
		}
		if err := copied(k.path, func(s string) string { return s }); err != nil {
			return nil, err
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "spool_directory = %[1]s/exim/spool\nlog_file_path = %[1]s/exim/%%slog\npid_file_path = %[1]s/exim/pid\n", dir)
	b.WriteString("primary_hostname = proof.example\nreceived_header_text =\nkeep_environment =\nhost_lookup =\ntls_advertise_hosts =\ntrusted_users = root\n" +
		"disable_ipv6\ndeliver_drop_privilege\nlocal_interfaces = 127.0.0.1\n")
	for _, l := range e.lists {
		b.WriteString(moved(strings.TrimSpace(l.text)) + "\n")
	}
	fmt.Fprintf(&b, "begin routers\nout:\n  driver = manualroute\n  route_list = * %s::%s byname\n  self = send\n  transport = out\n", host, port)
	b.WriteString("begin transports\nout:\n  driver = smtp\n  hosts_try_chunking =\n  hosts_avoid_tls = *\n")
	for _, s := range e.signs {
		if strings.Contains(s.value, "${perl") || strings.Contains(s.value, "${run") {
			return nil, errors.New(s.name + " calls a program of its own: nothing can be proved")
		}
		for _, m := range lsearchFile.FindAllStringSubmatch(s.value, -1) {
			if err := copied(e.root.path(m[1]), moved); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(&b, "  %s = %s\n", s.name, moved(s.value))
	}
	for _, d := range []string{"exim/spool", eximRoot} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(dir, "exim.conf")
	return []string{"-C", path}, os.WriteFile(path, []byte(b.String()), 0o600)
}

var lsearchFile = regexp.MustCompile(`lsearch[^{]*\{(/[^{}$]+)\}`)
