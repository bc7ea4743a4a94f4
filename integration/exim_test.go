//go:build integration

package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eximBuilds are Debian's two builds of Exim: with and without content scanning.
var eximBuilds = []string{"heavy", "light"}

// eximRoot is where scripts/install-test-deps unpacks them.
func eximRoot() string {
	if dir := os.Getenv("DKIMD_EXIM"); dir != "" {
		return dir
	}
	return "/var/cache/dkimd-test"
}

func eximBinary(build string) string { return filepath.Join(eximRoot(), build, "usr/sbin/exim4") }

func needExim(t *testing.T) {
	t.Helper()
	for _, build := range eximBuilds {
		if _, err := os.Stat(eximBinary(build)); err != nil {
			missing(t, fmt.Sprintf("%v; run scripts/install-test-deps", err))
		}
	}
	if _, err := user.Lookup("Debian-exim"); err != nil {
		missing(t, fmt.Sprintf("%v; run scripts/install-test-deps", err))
	}
}

// eximWorld is an Exim of its own with a dkimd behind it: configuration, spool
// and log in one directory. packaging/exim is included as it is.
type eximWorld struct {
	*world
	build  string
	dir    string
	port   int
	socket string
	exim   *process
	sink   *chunkSink
}

// eximSettings is what a test changes.
type eximSettings struct {
	rules   map[string]string
	sign    string // lines of [sign]
	dns     string // lines of [dns]
	macros  string // before dkimd's
	main    string // more main options
	data    string // in the ACL of DATA, before dkimd's
	routers string // before the last one
	smtp    string // more options of the signing transport
}

// Addresses of clients. Exim relays for the first, and dkimd signs its mail.
const (
	eximInside  = "127.0.0.1"
	eximOutside = "127.0.0.2"
)

const eximConfig = `DKIMD_SOCKET = %[1]s/exim.sock
DKIMD_PROGRAM = %[2]s
%[3]s
.include %[1]s/dkimd/main
exim_path = %[4]s
primary_hostname = ` + mailName + `
qualify_domain = ours.test
spool_directory = %[1]s/spool
log_file_path = %[1]s/log/%%slog
pid_file_path = %[1]s/pid
log_selector = +all -pid -millisec
daemon_smtp_ports = %[5]d
local_interfaces = 127.0.0.1
deliver_drop_privilege = true
keep_environment =
add_environment = <; PATH=/bin
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
recipients_max = 0
remote_max_parallel = 1
domainlist local_domains = inbox.test : forward.test
hostlist relay_from_hosts = 127.0.0.1
acl_smtp_rcpt = rcpt
acl_smtp_data = data
%[6]s

begin acl
rcpt:
.include %[1]s/dkimd/acl_rcpt
  accept
data:
%[7]s
.include %[1]s/dkimd/acl_data
  accept

begin routers
.include %[1]s/dkimd/router
%[8]s
inbox:
  driver = manualroute
  domains = inbox.test
  route_list = * 127.0.0.1::%[9]d byname
  self = send
  transport = inbox
forward:
  driver = redirect
  domains = forward.test
  data = $local_part@elsewhere.test
out:
  driver = manualroute
  route_list = * 127.0.0.1::%[9]d byname
  self = send
  transport = remote_smtp

begin transports
inbox:
  driver = smtp
  allow_localhost
  hosts_try_chunking =
  message_linelength_limit = 1G
remote_smtp:
  driver = smtp
  allow_localhost
.include %[1]s/dkimd/transport
%[10]s

begin retry
* * F,1h,1s

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if eq{$auth3}{` + password + `}}
  server_set_id = $auth2
  server_advertise_condition = *
`

func newEximWorld(t *testing.T, build string, s eximSettings) *eximWorld {
	t.Helper()
	needExim(t)
	stage := onStage(t)
	dir, err := os.MkdirTemp(stage.dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	e := &eximWorld{build: build, dir: dir, port: freePort(), socket: dir + "/exim.sock", sink: startChunkSink(t)}
	e.world = &world{stage: stage, dns: startDNS(t), dir: dir, lane: &lane{milter: "unix:" + dir + "/milter.sock"}}
	keys := ours(t)
	if err := e.dns.SetZone(keys.zone); err != nil {
		t.Fatal(err)
	}
	e.write(t, "dkimd.toml", fmt.Sprintf(`hostname = %q
[milter]
listen = [%q]
[exim]
listen = ["unix:%s"]
socket_group = "Debian-exim"
[sign]
directory = %q
networks = ["127.0.0.1"]
%s
[dns]
servers = [%q]
%s
[policy]
directory = %q
`, mailName, e.milter, e.socket, keys.dir, s.sign, e.dns.Addr(), s.dns, dir+"/rules"))
	if err := os.Mkdir(dir+"/rules", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range s.rules {
		e.rule(t, name, text)
	}
	e.start(t)
	e.lay(t, s)
	e.exim, err = startProcess("exim", exec.Command(eximBinary(build), "-C", dir+"/exim.conf", "-bdf", "-q1h"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.exim.stop(syscall.SIGTERM, 5*time.Second)
		e.stop(t)
		if t.Failed() {
			t.Logf("dkimd said:\n%s", e.daemon.log)
			for _, r := range e.daemon.stream.all() {
				t.Logf("record: %+v", r)
			}
			t.Logf("exim said:\n%s\n%s\n%s", e.exim.log, e.mainLog(), e.read("log/paniclog"))
		}
		for line := range strings.Lines(e.read("log/paniclog")) {
			// Exim finds it worth a panic when "spam =" gets no answer.
			if !strings.Contains(line, "spam acl condition: ") {
				t.Errorf("in Exim's paniclog: %s", line)
			}
		}
	})
	if up := poll(20*time.Second, func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", e.port))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil || e.exim.ended()
	}); !up || e.exim.ended() {
		t.Fatalf("exim does not start: %s", e.exim.log)
	}
	return e
}

// lay writes Exim's configuration, and makes its directories.
func (e *eximWorld) lay(t *testing.T, s eximSettings) {
	t.Helper()
	files, err := filepath.Glob("../packaging/exim/dkimd/*")
	if err != nil || len(files) != 5 {
		t.Fatalf("packaging/exim/dkimd has %q: %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e.write(t, "dkimd/"+filepath.Base(file), string(text))
	}
	e.write(t, "exim.conf", fmt.Sprintf(eximConfig, e.dir, dkimdBinary(t), s.macros, eximBinary(e.build), e.port, s.main, s.data, s.routers, e.sink.port(), s.smtp))
	owner, err := user.Lookup("Debian-exim")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	if err := os.Chmod(e.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"spool", "log"} {
		path := filepath.Join(e.dir, name)
		if err := os.Mkdir(path, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
}

func (e *eximWorld) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(e.dir, name))
	return string(text)
}

func (e *eximWorld) mainLog() string { return e.read("log/mainlog") }

// waitLog waits for a line in Exim's log that has all of these words.
func (e *eximWorld) waitLog(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("in Exim's log: %q", words), func() bool {
		for line := range strings.Lines(e.mainLog()) {
			all := true
			for _, w := range words {
				all = all && strings.Contains(line, w)
			}
			if all {
				return true
			}
		}
		return false
	})
}

// run runs this Exim as a command.
func (e *eximWorld) run(t *testing.T, input []byte, args ...string) string {
	t.Helper()
	return string(command(t, input, eximBinary(e.build), append([]string{"-C", e.dir + "/exim.conf"}, args...)...))
}

// dial connects to Exim from an address.
func (e *eximWorld) dial(t *testing.T, from string) *session {
	t.Helper()
	return dialFrom(t, from, fmt.Sprintf("127.0.0.1:%d", e.port))
}

// eximID is the id in Exim's "250 OK id=...".
func (r reply) eximID() string {
	_, id, _ := strings.Cut(r.text, "id=")
	return id
}

// verified waits for the record of a message that came in, by its sender.
func (e *eximWorld) verified(t *testing.T, sender string) record {
	t.Helper()
	return e.daemon.stream.wait(t, "verified from "+sender, func(r record) bool { return r.Mode == "verify" && r.Sender == sender })
}

// recordOf waits for the record of a mode that has this queue id.
func (e *eximWorld) recordOf(t *testing.T, mode, id string) record {
	t.Helper()
	return e.daemon.stream.wait(t, mode+" of "+id, func(r record) bool { return r.Mode == mode && r.ID == id })
}

// bdat sends a message in chunks (RFC 3030), after MAIL and RCPT.
func (s *session) bdat(data []byte) reply {
	s.t.Helper()
	half := len(data) / 2
	var last reply
	for i, chunk := range [][]byte{data[:half], data[half:]} {
		line := fmt.Sprintf("BDAT %d", len(chunk))
		if i == 1 {
			line += " LAST"
		}
		if _, err := s.conn.Write(append([]byte(line+"\r\n"), chunk...)); err != nil {
			s.t.Fatal(err)
		}
		r, err := s.read()
		if err != nil {
			s.t.Fatal(err)
		}
		last = r
	}
	return last
}
