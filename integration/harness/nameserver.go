package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TSIGSecret is that of the key dkimd, of which each name server knows.
const TSIGSecret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"

// Zone is how a name server has a zone.
type Zone struct {
	Name    string
	Address string // of this server
	// Records are those of a primary, with SOA; empty: it is a secondary of Primary.
	Records string
	Primary string
	// Secondaries are notified of changes.
	Secondaries []string
	Signed      bool // by the server
	Static      bool // it takes no updates
}

// NameServer is a real name server with one zone.
type NameServer struct {
	*Process
	Zone

	dir   string
	begin func() *Process
}

// Restart starts a server again that has been stopped.
func (s *NameServer) Restart() { s.Process = s.begin() }

// Down stops a server: nobody answers at its address.
func (s *NameServer) Down() { s.Stop(syscall.SIGTERM, 5*time.Second) }

// Path is a file of the server.
func (s *NameServer) Path(name string) string { return filepath.Join(s.dir, name) }

// newNameServer has a directory for the server, with the records in a file named zone.
func newNameServer(t *testing.T, z Zone, programs ...string) *NameServer {
	t.Helper()
	Need(t, programs...)
	s := &NameServer{Zone: z, dir: t.TempDir()}
	if err := os.WriteFile(s.Path("zone"), []byte(z.Records), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// StartBIND starts a BIND. Its zone is in the file zone; ControlBIND is how rndc reaches it.
func StartBIND(t *testing.T, z Zone) *NameServer {
	t.Helper()
	s := newNameServer(t, z, "named", "rndc", "ip")
	// BIND listens only on what the interfaces of the host list. The kernel takes it away again, whatever becomes of us.
	Run(t, nil, "ip", "address", "replace", z.Address+"/32", "dev", "lo", "valid_lft", "3600", "preferred_lft", "3600")
	t.Cleanup(func() { _ = exec.Command("ip", "address", "delete", z.Address+"/32", "dev", "lo").Run() })
	list := func(addresses []string) string { return strings.Join(append(addresses, ""), "; ") }
	zone := fmt.Sprintf("type secondary; primaries { %s; }; file \"copy\";", z.Primary)
	if z.Primary == "" {
		zone = "type primary; file \"zone\"; also-notify { " + list(z.Secondaries) + "};"
		if !z.Static {
			zone += " update-policy { grant dkimd wildcard *._domainkey." + z.Name + ". TXT; };"
		}
		if z.Signed {
			zone += " dnssec-policy default; inline-signing yes;"
		}
	}
	conf := fmt.Sprintf(`options { directory %q; listen-on port 53 { %s; }; listen-on-v6 { none; };
	query-source address %[2]s; transfer-source %[2]s; notify-source %[2]s; notify explicit; notify-delay 0;
	min-refresh-time 1; min-retry-time 1; allow-transfer { 127.0.0.0/8; }; allow-notify { 127.0.0.0/8; };
	recursion no; dnssec-validation no; pid-file none; session-keyfile none; };
key dkimd { algorithm hmac-sha256; secret %q; };
controls { inet %[2]s port 953 allow { 127.0.0.0/8; } keys { dkimd; }; };
zone %[4]q { %s };
`, s.dir, z.Address, TSIGSecret, z.Name, zone)
	control := fmt.Sprintf("key dkimd { algorithm hmac-sha256; secret %q; };\noptions { default-key dkimd; default-server %s; };\n", TSIGSecret, z.Address)
	if err := os.WriteFile(s.Path("rndc.conf"), []byte(control), 0o600); err != nil {
		t.Fatal(err)
	}
	s.begin = func() *Process {
		return start(t, z.Address, s.Path("named.conf"), conf, "named", "-g", "-n", "1", "-u", "root", "-c", s.Path("named.conf"))
	}
	s.Restart()
	return s
}

// ControlBIND is an rndc of this server.
func (s *NameServer) ControlBIND(command ...string) []string {
	rndc, _ := exec.LookPath("rndc")
	return append([]string{rndc, "-c", s.Path("rndc.conf")}, command...)
}

// StartKnot starts a Knot DNS.
func StartKnot(t *testing.T, z Zone) *NameServer {
	t.Helper()
	s := newNameServer(t, z, "knotd", "knotc")
	zone, remotes := "    file: zone\n    zonefile-load: difference-no-serial\n    journal-content: all\n", z.Secondaries
	switch {
	case z.Primary != "":
		remotes = []string{z.Primary}
		zone = "    file: copy\n    refresh-min-interval: 2\n    retry-min-interval: 2\n    master: " + z.Primary + "\n"
	case z.Signed:
		zone += "    dnssec-signing: on\n"
	}
	if len(z.Secondaries) > 0 {
		zone += "    notify: [" + strings.Join(z.Secondaries, ", ") + "]\n"
	}
	var section strings.Builder
	for i, address := range remotes {
		if i == 0 {
			section.WriteString("remote:\n")
		}
		fmt.Fprintf(&section, "  - id: %s\n    address: %[1]s@53\n    via: %s\n", address, z.Address)
	}
	// The key has the rights that docs/dns.md gives it.
	conf := fmt.Sprintf(`server:
    rundir: %q
    user: root:root
    listen: %s@53
    udp-workers: 1
    tcp-workers: 2
    background-workers: 1
log:
  - target: stderr
    any: info
control:
    listen: %q
database:
    storage: %[1]q
key:
  - id: dkimd
    algorithm: hmac-sha256
    secret: %[4]s
%[5]sacl:
  - id: dkimd
    key: dkimd
    action: update
    update-type: [TXT]
    update-owner: name
    update-owner-match: sub
    update-owner-name: [_domainkey]
  - id: others
    address: 127.0.0.0/8
    action: [transfer, notify]
zone:
  - domain: %[6]s
    storage: %[1]q
    acl: [dkimd, others]
%[7]s`, s.dir, z.Address, s.Path("control"), TSIGSecret, section.String(), z.Name, zone)
	s.begin = func() *Process {
		return start(t, z.Address, s.Path("knot.conf"), conf, "knotd", "-c", s.Path("knot.conf"))
	}
	s.Restart()
	return s
}

// ControlKnot tells a Knot to do something with its zone. Between zone-freeze and zone-thaw a secondary does not follow.
func (s *NameServer) ControlKnot(t *testing.T, command string) {
	t.Helper()
	Run(t, nil, "knotc", "-s", s.Path("control"), command, s.Name)
}

// StartPowerDNS starts a PowerDNS with a backend of SQLite. It is always a primary.
func StartPowerDNS(t *testing.T, z Zone) *NameServer {
	t.Helper()
	s := newNameServer(t, z, "pdns_server", "pdnsutil", "python3")
	Run(t, nil, "python3", "-c", `import sqlite3,sys; sqlite3.connect(sys.argv[1]).executescript(open(sys.argv[2]).read())`,
		s.Path("pdns.sqlite3"), "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql")
	conf := fmt.Sprintf(`launch=gsqlite3
gsqlite3-database=%s
gsqlite3-dnssec=yes
local-address=%s
local-port=53
socket-dir=%s
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
config-dir=%[3]s
receiver-threads=1
distributor-threads=1
guardian=no
security-poll-suffix=
`, s.Path("pdns.sqlite3"), z.Address, s.dir)
	if err := os.WriteFile(s.Path("pdns.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"load-zone", z.Name, s.Path("zone")},
		{"import-tsig-key", "dkimd", "hmac-sha256", TSIGSecret},
		{"set-meta", z.Name, "TSIG-ALLOW-DNSUPDATE", "dkimd"},
		{"set-meta", z.Name, "ALLOW-DNSUPDATE-FROM", "127.0.0.0/8"},
	} {
		Run(t, nil, "pdnsutil", append([]string{"--config-dir=" + s.dir}, args...)...)
	}
	s.begin = func() *Process {
		return start(t, z.Address, s.Path("pdns.conf"), conf, "pdns_server", "--config-dir="+s.dir, "--daemon=no", "--write-pid=no")
	}
	s.Restart()
	return s
}
