package harness

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

// EximBuilds are Debian's two builds of Exim: with and without content scanning.
var EximBuilds = []string{"heavy", "light"}

// EximRoot is where scripts/install-test-deps unpacks them.
func EximRoot() string {
	if dir := os.Getenv("DKIMD_EXIM"); dir != "" {
		return dir
	}
	return "/var/cache/dkimd-test"
}

// NewerExims are the versions of later Debian releases that scripts/install-newer-exim has unpacked.
func NewerExims() []string {
	var list []string
	found, _ := filepath.Glob(filepath.Join(EximRoot(), "debian-*"))
	for _, dir := range found {
		list = append(list, strings.TrimPrefix(filepath.Base(dir), "debian-"))
	}
	return list
}

// EximBinary is the program of a build.
func EximBinary(build string) string { return filepath.Join(EximRoot(), build, "usr/sbin/exim4") }

// NeedExim skips the test where an Exim is missing.
func NeedExim(t *testing.T) {
	t.Helper()
	for _, build := range EximBuilds {
		if _, err := os.Stat(EximBinary(build)); err != nil {
			SkipOrFail(t, fmt.Sprintf("%v; run scripts/install-test-deps", err))
		}
	}
	if _, err := user.Lookup("Debian-exim"); err != nil {
		SkipOrFail(t, fmt.Sprintf("%v; run scripts/install-test-deps", err))
	}
}

// EximWorld is an Exim of its own with a dkimd behind it: configuration, spool
// and log in one directory. packaging/exim is included as it is.
type EximWorld struct {
	*World
	build  string
	port   int
	Socket string
	exim   *Process
	Sink   *Sink
}

// EximSettings is what a test changes.
type EximSettings struct {
	Rules   map[string]string
	NoName  bool   // dkimd.toml has no hostname
	Sign    string // lines of [sign]
	DNS     string // lines of [dns]
	Macros  string // before dkimd's
	main    string // more main options
	Data    string // in the ACL of DATA, before dkimd's
	Routers string // before the last one
	SMTP    string // more options of the signing transport, and more transports
}

// Addresses of clients. Exim relays for the first, and dkimd signs its mail.
const (
	EximInside  = "127.0.0.1"
	EximOutside = "127.0.0.2"
)

const eximConfig = `DKIMD_SOCKET = %[1]s/exim.sock
DKIMD_PROGRAM = %[2]s
%[3]s
.include %[1]s/dkimd/main
exim_path = %[4]s
primary_hostname = ` + Hostname + `
qualify_domain = ours.test
spool_directory = %[1]s/spool
log_file_path = %[1]s/log/%%slog
pid_file_path = %[1]s/pid
log_selector = +all -pid -millisec
daemon_smtp_ports = %[5]d
local_interfaces = <; 127.0.0.1 %[11]s
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

// NewEximWorld starts an Exim of one build, and a dkimd behind it.
func NewEximWorld(t *testing.T, build string, s EximSettings) *EximWorld {
	t.Helper()
	NeedExim(t)
	stage := OnStage(t)
	dir, err := os.MkdirTemp(stage.dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	e := &EximWorld{build: build, port: FreePort(), Socket: dir + "/exim.sock", Sink: StartSink(t, "127.0.0.1:0")}
	e.World = &World{Stage: stage, DNS: StartDNS(t), Dir: dir, Lane: &Lane{Milter: "unix:" + dir + "/milter.sock"}}
	keys := ours(t)
	if err := e.DNS.SetZone(keys.zone); err != nil {
		t.Fatal(err)
	}
	hostname := Hostname
	if s.NoName {
		hostname = ""
	}
	e.Write(t, "dkimd.toml", fmt.Sprintf(`hostname = %q
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
`, hostname, e.Milter, e.Socket, keys.dir, s.Sign, e.DNS.Addr(), s.DNS, dir+"/rules"))
	if err := os.Mkdir(dir+"/rules", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range s.Rules {
		e.Rule(t, name, text)
	}
	e.Start(t)
	e.lay(t, s)
	e.exim, err = StartProcess("exim", exec.Command(EximBinary(build), "-C", dir+"/exim.conf", "-bdf", "-q1h"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.exim.Stop(syscall.SIGTERM, 5*time.Second)
		e.Stop(t)
		if t.Failed() {
			e.tell(t)
			t.Logf("exim said:\n%s\n%s\n%s", e.exim.Log, e.mainLog(), e.read("log/paniclog"))
		}
		for line := range strings.Lines(e.read("log/paniclog")) {
			// Exim finds it worth a panic when "spam =" gets no answer.
			if !strings.Contains(line, "spam acl condition: ") {
				t.Errorf("in Exim's paniclog: %s", line)
			}
		}
	})
	if up := Poll(20*time.Second, func() bool { return Accepts("tcp", fmt.Sprintf("127.0.0.1:%d", e.port)) || e.exim.Ended() }); !up || e.exim.Ended() {
		t.Fatalf("exim does not start: %s", e.exim.Log)
	}
	return e
}

// lay writes Exim's configuration, and makes its directories.
func (e *EximWorld) lay(t *testing.T, s EximSettings) {
	t.Helper()
	files, err := filepath.Glob(Repository("packaging/exim/dkimd/*"))
	if err != nil || len(files) != 5 {
		t.Fatalf("packaging/exim/dkimd has %q: %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e.Write(t, "dkimd/"+filepath.Base(file), string(text))
	}
	interface6 := ""
	if hasIPv6() {
		interface6 = "; ::1"
	}
	e.Write(t, "exim.conf", fmt.Sprintf(eximConfig, e.Dir, EximSignBinary(t), s.Macros, EximBinary(e.build), e.port, s.main, s.Data, s.Routers, e.Sink.addr().Port, s.SMTP, interface6))
	owner, err := user.Lookup("Debian-exim")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	if err := os.Chmod(e.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"spool", "log"} {
		path := filepath.Join(e.Dir, name)
		if err := os.Mkdir(path, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
}

func (e *EximWorld) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(e.Dir, name))
	return string(text)
}

func (e *EximWorld) mainLog() string { return e.read("log/mainlog") }

// WaitLog waits for a line in Exim's log that has all of these words.
func (e *EximWorld) WaitLog(t *testing.T, words ...string) {
	t.Helper()
	Eventually(t, 20*time.Second, fmt.Sprintf("in Exim's log: %q", words), func() bool { return HasLine(e.mainLog(), words...) })
}

// Run runs this Exim as a command.
func (e *EximWorld) Run(t *testing.T, input []byte, args ...string) string {
	t.Helper()
	return string(Run(t, input, EximBinary(e.build), append([]string{"-C", e.Dir + "/exim.conf"}, args...)...))
}

// Dial connects to Exim from an address.
func (e *EximWorld) Dial(t *testing.T, from string) *Session {
	t.Helper()
	to := "127.0.0.1"
	if strings.Contains(from, ":") {
		to = "::1"
	}
	return DialFrom(t, from, net.JoinHostPort(to, strconv.Itoa(e.port)))
}

// Outsiders are the addresses of clients that dkimd does not sign for: of IPv6 only where this host has it.
func (e *EximWorld) Outsiders() []string {
	if hasIPv6() {
		return []string{EximOutside, "::1"}
	}
	return []string{EximOutside}
}

func hasIPv6() bool {
	listener, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		_ = listener.Close()
	}
	return err == nil
}

// EximID is the id in Exim's "250 OK id=...".
func (r Reply) EximID() string {
	_, id, _ := strings.Cut(r.Text, "id=")
	return id
}

// Verified waits for the record of a message that came in, by its sender.
func (e *EximWorld) Verified(t *testing.T, sender string) Record {
	t.Helper()
	return e.Daemon.Stream.Wait(t, "verified from "+sender, func(r Record) bool { return r.Mode == "verify" && r.Sender == sender })
}

// RecordOf waits for the record of a mode that has this queue id.
func (e *EximWorld) RecordOf(t *testing.T, mode, id string) Record {
	t.Helper()
	return e.Daemon.Stream.Wait(t, mode+" of "+id, func(r Record) bool { return r.Mode == mode && r.ID == id })
}

// BDAT sends a message in chunks (RFC 3030), after MAIL and RCPT.
func (s *Session) BDAT(data []byte) Reply {
	s.T.Helper()
	half := len(data) / 2
	var last Reply
	for i, chunk := range [][]byte{data[:half], data[half:]} {
		line := fmt.Sprintf("BDAT %d", len(chunk))
		if i == 1 {
			line += " LAST"
		}
		if _, err := s.Conn.Write(append([]byte(line+"\r\n"), chunk...)); err != nil {
			s.T.Fatal(err)
		}
		r, err := s.Read()
		if err != nil {
			s.T.Fatal(err)
		}
		last = r
	}
	return last
}
