package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Postfix is a Postfix instance of its own: configuration, queue, data and log
// in one directory, master(8) in the foreground as our child. No other Postfix
// on the machine notices it.
type Postfix struct {
	dir    string
	master *Process
	lanes  map[LaneKind]chan *Lane
	Plain  int // port without milters
	// Authority issues the client certificates that Postfix trusts.
	Authority *Authority
}

// Lane is one milter address and the SMTP ports whose mail Postfix shows to it.
// A test has a lane to itself.
type Lane struct {
	Postfix     *Postfix
	Milter      string // as dkimd's milter.listen has it
	Outside     int    // port for the world: clients are named by XCLIENT
	Submission  int    // port with AUTH
	Originating int    // port with milter_macro_daemon_name=ORIGINATING
	Version2    int    // with milter_protocol=2
	Accepting   int    // like outside, with milter_default_action=accept
	Reinjection int    // port that calls no milter
	Chained     int    // like outside, with a second milter
	Second      string // that milter's address
	Encrypted   int    // like outside, with STARTTLS that asks for a certificate
}

// LaneKind tells lanes apart by how Postfix reaches the milter.
type LaneKind uint8

// The kinds of lanes.
const (
	OverTCP   LaneKind = iota // over TCP
	OverUnix                  // through a unix socket
	WithLocal                 // over TCP, and the one lane to which local submissions go, too
)

// laneCounts is how many tests can use Postfix at a time. There must be more than tests that hold one while
// their parallel subtests wait: those wait for the tests that wait for a lane.
var laneCounts = map[LaneKind]int{OverTCP: 12, OverUnix: 2, WithLocal: 1}

// RefusedRecipient is the recipient that Postfix itself turns away.
const RefusedRecipient = "refused@elsewhere.test"

// Domains of which mail goes into the program "report" in the directory Programs: by pipe(8), and for "check" by an alias.
const (
	ReportDomain = "report.test"
	AliasDomain  = "alias.test"
)

// Hostname is what this Postfix calls itself, and so dkimd's authserv-id.
const Hostname = "mx.harness.test"

const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
daemon_directory = %[2]s
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
mail_owner = postfix
setgid_group = postdrop
myhostname = ` + Hostname + `
mydomain = harness.test
myorigin = harness.test
mydestination =
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps = inline:{{check = |%[1]s/programs/report}}
inet_interfaces = 127.0.0.1
inet_protocols = all
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
relay_transport = smtp:[127.0.0.1]:%[3]d
default_transport = smtp:[127.0.0.1]:%[3]d
smtpd_authorized_xclient_hosts = 127.0.0.0/8
relay_domains = static:all
transport_maps = inline:{{` + ReportDomain + ` = report:}, {` + AliasDomain + ` = local:}}
report_destination_recipient_limit = 1
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access inline:{{` + RefusedRecipient + ` = 550 5.1.1 no such user}}, permit
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_recipient_limit = 20000
in_flow_delay = 0
message_size_limit = 67108864
mailbox_size_limit = 0
header_size_limit = 4194304
milter_protocol = 6
milter_default_action = tempfail
milter_connect_timeout = 10s
non_smtpd_milters = %[4]s
internal_mail_filter_classes = bounce
smtpd_sasl_type = dovecot
smtpd_sasl_path = %[1]s/dovecot/auth
smtpd_sasl_security_options = noanonymous
smtpd_tls_CAfile = %[1]s/ca.pem
smtpd_tls_chain_files = %[1]s/server.pem
`

const masterCF = `pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
local unix - n n - - local
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix starts the instance. Everything it delivers goes to the port of the sink.
func startPostfix(dir string, sinkPort int) (*Postfix, error) {
	daemons, err := exec.Command("postconf", "-dh", "daemon_directory").Output()
	if err != nil {
		return nil, fmt.Errorf("ask postconf: %w", err)
	}
	daemonDir := strings.TrimSpace(string(daemons))
	p := &Postfix{dir: dir, lanes: map[LaneKind]chan *Lane{}, Plain: FreePort()}
	var master strings.Builder
	fmt.Fprintf(&master, "%s127.0.0.1:%d inet n - n - - smtpd\n", masterCF, p.Plain)
	fmt.Fprintf(&master, "report unix - n n - 4 pipe\n flags=R user=nobody argv=%s/report --sender=${sender} --client=${client_address} --helo=${client_helo}\n", p.Programs())
	var local string
	for kind, count := range laneCounts {
		p.lanes[kind] = make(chan *Lane, count)
		for i := range count {
			l := &Lane{Postfix: p, Outside: FreePort(), Submission: FreePort(), Originating: FreePort(), Accepting: FreePort(), Version2: FreePort(), Reinjection: FreePort(), Chained: FreePort(), Encrypted: FreePort()}
			l.Milter, l.Second = fmt.Sprintf("inet:127.0.0.1:%d", FreePort()), fmt.Sprintf("inet:127.0.0.1:%d", FreePort())
			switch kind {
			case OverUnix:
				l.Milter = fmt.Sprintf("unix:%s/milters/%d", dir, i)
			case WithLocal:
				local = l.Milter
			case OverTCP:
			}
			fmt.Fprint(&master, l.services())
			p.lanes[kind] <- l
		}
	}
	if err := p.lay(); err != nil {
		return nil, err
	}
	if p.Authority, err = NewAuthority("Harness CA"); err != nil {
		return nil, err
	}
	if err := p.Authority.save(dir+"/ca.pem", dir+"/server.pem"); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(mainCF, dir, daemonDir, sinkPort, local)
	if err := os.WriteFile(p.Config()+"/main.cf", []byte(config), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(p.Config()+"/master.cf", []byte(master.String()), 0o644); err != nil {
		return nil, err
	}
	p.master, err = StartProcess("master", exec.Command(filepath.Join(daemonDir, "master"), "-c", p.Config(), "-d"))
	if err != nil {
		return nil, err
	}
	if up := Poll(20*time.Second, func() bool { return p.master.Ended() || p.greets() }); !up || p.master.Ended() {
		err := fmt.Errorf("postfix does not start: %s%s", p.master.Log, p.MailLog())
		p.close()
		return nil, err
	}
	return p, nil
}

// greets reports whether an SMTP server answers.
func (p *Postfix) greets() bool {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.Plain))
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	greeting := make([]byte, 4)
	_, err = io.ReadFull(conn, greeting)
	return err == nil && string(greeting) == "220 "
}

// services are the lane's lines in master.cf.
func (l *Lane) services() string {
	service := func(port int, options string) string {
		return fmt.Sprintf("127.0.0.1:%d inet n - n - 60 smtpd -o smtpd_milters=%s %s\n", port, l.Milter, options)
	}
	// Postfix completes headers (From, Date) by who connects, before XCLIENT: not for outside clients.
	return service(l.Outside, "-o local_header_rewrite_clients=") +
		service(l.Submission, "-o smtpd_sasl_auth_enable=yes") +
		service(l.Originating, "-o milter_macro_daemon_name=ORIGINATING") +
		service(l.Version2, "-o milter_protocol=2") +
		service(l.Accepting, "-o milter_default_action=accept") +
		service(l.Reinjection, "-o receive_override_options=no_milters") +
		service(l.Chained, "-o { smtpd_milters = "+l.Milter+", "+l.Second+" }") +
		service(l.Encrypted, "-o smtpd_tls_security_level=may -o smtpd_tls_ask_ccert=yes")
}

// lay makes the directories that `postfix start` makes, with their owners and modes.
func (p *Postfix) lay() error {
	owner, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	group, err := user.LookupGroup("postdrop")
	if err != nil {
		return err
	}
	uid, err1 := strconv.Atoi(owner.Uid)
	gid, err2 := strconv.Atoi(group.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	lay := func(name string, uid, gid int, mode os.FileMode) {
		path := filepath.Join(p.dir, name)
		err = errors.Join(err, os.MkdirAll(path, 0o755), os.Chown(path, uid, gid), os.Chmod(path, mode))
	}
	lay("config", 0, 0, 0o755)
	lay("queue", 0, 0, 0o755)
	lay("queue/pid", 0, 0, 0o755)
	lay("milters", uid, 0, 0o755)
	lay("data", uid, 0, 0o700)
	lay("programs", 0, 0, 0o777)
	for _, name := range []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"} {
		lay("queue/"+name, uid, 0, 0o700)
	}
	lay("queue/maildrop", uid, gid, 0o730|os.ModeSticky)
	lay("queue/public", uid, gid, 0o710|os.ModeSetgid)
	return err
}

// Programs is the directory of what mail is piped into. The user nobody may write in it.
func (p *Postfix) Programs() string { return filepath.Join(p.dir, "programs") }

// Config is the directory of main.cf.
func (p *Postfix) Config() string { return filepath.Join(p.dir, "config") }

// close ends this instance; nothing of it stays.
func (p *Postfix) close() {
	if p.master != nil {
		p.master.Stop(syscall.SIGTERM, 10*time.Second)
	}
}

// MailLog is everything Postfix has logged so far.
func (p *Postfix) MailLog() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, "mail.log"))
	return string(text)
}

// WaitLog waits for a line in Postfix's log that has all of these words.
func (p *Postfix) WaitLog(t *testing.T, words ...string) {
	t.Helper()
	Eventually(t, 20*time.Second, fmt.Sprintf("in Postfix's log: %q", words), func() bool { return HasLine(p.MailLog(), words...) })
}

// TakeLane reserves a lane until the test ends.
func (p *Postfix) TakeLane(t *testing.T, kind LaneKind) *Lane {
	t.Helper()
	l := <-p.lanes[kind]
	t.Cleanup(func() { p.lanes[kind] <- l })
	return l
}

// Sendmail submits a message locally; its recipients stand in its header.
func (p *Postfix) Sendmail(t *testing.T, data []byte) {
	t.Helper()
	Run(t, bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), "sendmail", "-C", p.Config(), "-t")
}

// Queued tells which queue holds a message; empty: none.
func (p *Postfix) Queued(t *testing.T, id string) string {
	t.Helper()
	list := json.NewDecoder(bytes.NewReader(Run(t, nil, "postqueue", "-c", p.Config(), "-j")))
	for {
		var entry struct {
			QueueName string `json:"queue_name"`
			QueueID   string `json:"queue_id"`
		}
		if list.Decode(&entry) != nil {
			return ""
		}
		if entry.QueueID == id {
			return entry.QueueName
		}
	}
}

// Ports are counted on from a place drawn by lot: no two tests of a process are given the same.
var (
	firstPort  = rand.Uint32N(17000)
	portsGiven atomic.Uint32
)

// FreePort is a port outside the kernel's ephemeral range, so that no outgoing
// connection takes it between now and its use.
func FreePort() int {
	for {
		port := 15000 + int(firstPort+portsGiven.Add(1))%17000
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
}
