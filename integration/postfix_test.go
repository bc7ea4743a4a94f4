//go:build integration

package integration_test

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
	"syscall"
	"testing"
	"time"
)

// postfix is a Postfix instance of its own: configuration, queue, data and log
// in one directory, master(8) in the foreground as our child. No other Postfix
// on the machine notices it.
type postfix struct {
	dir    string
	master *process
	lanes  map[laneKind]chan *lane
	plain  int // port without milters
}

// lane is one milter address and the SMTP ports whose mail Postfix shows to it.
// A test has a lane to itself.
type lane struct {
	postfix     *postfix
	milter      string // as dkimd's milter.listen has it
	outside     int    // port for the world: clients are named by XCLIENT
	submission  int    // port with AUTH
	originating int    // port with milter_macro_daemon_name=ORIGINATING
	version2    int    // with milter_protocol=2
	accepting   int    // like outside, with milter_default_action=accept
	reinjection int    // port that calls no milter
	chained     int    // like outside, with a second milter
	second      string // that milter's address
}

// laneKind tells lanes apart by how Postfix reaches the milter.
type laneKind uint8

const (
	overTCP  laneKind = iota
	overUnix          // through a unix socket
	andLocal          // over TCP, and the one lane to which local submissions go, too
)

// laneCounts is how many tests can use Postfix at a time.
var laneCounts = map[laneKind]int{overTCP: 4, overUnix: 2, andLocal: 1}

// refused is the recipient that Postfix itself turns away.
const refused = "refused@elsewhere.test"

// mailName is what this Postfix calls itself, and so dkimd's authserv-id.
const mailName = "mx.harness.test"

const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
daemon_directory = %[2]s
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
mail_owner = postfix
setgid_group = postdrop
myhostname = ` + mailName + `
mydomain = harness.test
myorigin = harness.test
mydestination =
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = all
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
relay_transport = smtp:[127.0.0.1]:%[3]d
default_transport = smtp:[127.0.0.1]:%[3]d
smtpd_authorized_xclient_hosts = 127.0.0.0/8
relay_domains = static:all
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access inline:{{` + refused + ` = 550 5.1.1 no such user}}, permit
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
in_flow_delay = 0
message_size_limit = 67108864
header_size_limit = 4194304
milter_protocol = 6
milter_default_action = tempfail
milter_connect_timeout = 10s
non_smtpd_milters = %[4]s
internal_mail_filter_classes = bounce
smtpd_sasl_type = dovecot
smtpd_sasl_path = %[1]s/dovecot/auth
smtpd_sasl_security_options = noanonymous
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
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix starts the instance. Everything it delivers goes to the port of the sink.
func startPostfix(dir string, sinkPort int) (*postfix, error) {
	daemons, err := exec.Command("postconf", "-dh", "daemon_directory").Output()
	if err != nil {
		return nil, fmt.Errorf("ask postconf: %w", err)
	}
	daemonDir := strings.TrimSpace(string(daemons))
	p := &postfix{dir: dir, lanes: map[laneKind]chan *lane{}, plain: freePort()}
	var master strings.Builder
	fmt.Fprintf(&master, "%s127.0.0.1:%d inet n - n - - smtpd\n", masterCF, p.plain)
	var local string
	for kind, count := range laneCounts {
		p.lanes[kind] = make(chan *lane, count)
		for i := range count {
			l := &lane{postfix: p, outside: freePort(), submission: freePort(), originating: freePort(), accepting: freePort(), version2: freePort(), reinjection: freePort(), chained: freePort()}
			l.milter, l.second = fmt.Sprintf("inet:127.0.0.1:%d", freePort()), fmt.Sprintf("inet:127.0.0.1:%d", freePort())
			switch kind {
			case overUnix:
				l.milter = fmt.Sprintf("unix:%s/milters/%d", dir, i)
			case andLocal:
				local = l.milter
			case overTCP:
			}
			fmt.Fprint(&master, l.services())
			p.lanes[kind] <- l
		}
	}
	if err := p.lay(); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(mainCF, dir, daemonDir, sinkPort, local)
	if err := os.WriteFile(p.config()+"/main.cf", []byte(config), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(p.config()+"/master.cf", []byte(master.String()), 0o644); err != nil {
		return nil, err
	}
	p.master, err = startProcess("master", exec.Command(filepath.Join(daemonDir, "master"), "-c", p.config(), "-d"))
	if err != nil {
		return nil, err
	}
	if up := poll(20*time.Second, func() bool { return p.master.ended() || p.greets() }); !up || p.master.ended() {
		err := fmt.Errorf("postfix does not start: %s%s", p.master.log, p.mailLog())
		p.close()
		return nil, err
	}
	return p, nil
}

// greets reports whether an SMTP server answers.
func (p *postfix) greets() bool {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.plain))
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
func (l *lane) services() string {
	service := func(port int, options string) string {
		return fmt.Sprintf("127.0.0.1:%d inet n - n - 60 smtpd -o smtpd_milters=%s %s\n", port, l.milter, options)
	}
	// Postfix completes headers (From, Date) by who connects, before XCLIENT: not for outside clients.
	return service(l.outside, "-o local_header_rewrite_clients=") +
		service(l.submission, "-o smtpd_sasl_auth_enable=yes") +
		service(l.originating, "-o milter_macro_daemon_name=ORIGINATING") +
		service(l.version2, "-o milter_protocol=2") +
		service(l.accepting, "-o milter_default_action=accept") +
		service(l.reinjection, "-o receive_override_options=no_milters") +
		service(l.chained, "-o { smtpd_milters = "+l.milter+", "+l.second+" }")
}

// lay makes the directories that `postfix start` makes, with their owners and modes.
func (p *postfix) lay() error {
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
	for _, name := range []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"} {
		lay("queue/"+name, uid, 0, 0o700)
	}
	lay("queue/maildrop", uid, gid, 0o730|os.ModeSticky)
	lay("queue/public", uid, gid, 0o710|os.ModeSetgid)
	return err
}

func (p *postfix) config() string { return filepath.Join(p.dir, "config") }

// close ends this instance; nothing of it stays.
func (p *postfix) close() {
	if p.master != nil {
		p.master.stop(syscall.SIGTERM, 10*time.Second)
	}
}

// mailLog is everything Postfix has logged so far.
func (p *postfix) mailLog() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, "mail.log"))
	return string(text)
}

// waitLog waits for a line in Postfix's log that has all of these words.
func (p *postfix) waitLog(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("in Postfix's log: %q", words), func() bool {
		for line := range strings.Lines(p.mailLog()) {
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

// takeLane reserves a lane until the test ends.
func (p *postfix) takeLane(t *testing.T, kind laneKind) *lane {
	t.Helper()
	l := <-p.lanes[kind]
	t.Cleanup(func() { p.lanes[kind] <- l })
	return l
}

// sendmail submits a message locally; its recipients stand in its header.
func (p *postfix) sendmail(t *testing.T, data []byte) {
	t.Helper()
	command(t, bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), "sendmail", "-C", p.config(), "-t")
}

// queued tells which queue holds a message; empty: none.
func (p *postfix) queued(t *testing.T, id string) string {
	t.Helper()
	list := json.NewDecoder(bytes.NewReader(command(t, nil, "postqueue", "-c", p.config(), "-j")))
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

// freePort is a port outside the kernel's ephemeral range, so that no outgoing
// connection takes it between now and its use.
func freePort() int {
	for {
		port := 15000 + rand.IntN(17000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
}
