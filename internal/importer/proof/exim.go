package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"dkimd/internal/exim/filter"
	"dkimd/internal/importer"
	"dkimd/internal/milter/client"
)

// eximSigner has Exim deliver each message, which it signs then, to a server of the proof's own.
type eximSigner struct {
	program string
	args    []string
	sink    *sink
	// signed are messages by sender and text, where no option asks for the client; else nil.
	signed map[string][]byte
}

// ofClient are the names of what an option may ask of a client: $sender_host_address, $authenticated_id and so on.
var ofClient = regexp.MustCompile(`(?m)^ +dkim_.*(authenticated|host|received|helo|tls|acl_|interface|ident|perl|run)`)

// startExim writes Exim's configuration and starts the server it delivers to.
func startExim(ctx context.Context, p *importer.Plan, dir string) (*eximSigner, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("exim delivers for root only: prove as root")
	}
	program, err := find("exim4")
	if err != nil {
		if program, err = find("exim"); err != nil {
			return nil, err
		}
	}
	s, err := newSink()
	if err != nil {
		return nil, err
	}
	x := &eximSigner{program: program, sink: s}
	if x.args, err = p.OldConfig(dir, s.listener.Addr().String()); err == nil {
		err = errors.Join(x.callsItself(), x.owned(ctx, dir))
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return x, nil
}

// callsItself has Exim run this program where it runs itself, and looks whether it signs mail of all clients alike.
func (x *eximSigner) callsItself() error {
	path := x.args[len(x.args)-1]
	content, err := os.ReadFile(path) //nolint:gosec // just written
	if err != nil {
		return err
	}
	if !ofClient.Match(content) {
		x.signed = map[string][]byte{}
	}
	return os.WriteFile(path, append([]byte("exim_path = "+x.program+"\n"), content...), 0o600) //nolint:gosec // a file of the proof's own
}

// owned gives what Exim reads and writes to its user.
func (x *eximSigner) owned(ctx context.Context, dir string) error {
	output, err := exec.CommandContext(ctx, x.program, append(slices.Clone(x.args), "-bP", "exim_user")...).CombinedOutput() //nolint:gosec // a program of the system
	_, name, found := strings.Cut(string(output), "=")
	if err != nil || !found {
		return fmt.Errorf("%s -bP exim_user: %s", x.program, bytes.TrimSpace(output))
	}
	u, err := user.Lookup(strings.TrimSpace(name))
	if err != nil {
		if u, err = user.LookupId(strings.TrimSpace(name)); err != nil {
			return err
		}
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	config := x.args[len(x.args)-1]
	if err := errors.Join(errUID, errGID, os.Chown(config, 0, gid), os.Chmod(config, 0o640), os.Chmod(dir, 0o711)); err != nil { //nolint:gosec // what is in dir has modes of its own
		return err
	}
	return filepath.WalkDir(filepath.Join(dir, "exim"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid) //nolint:gosec // nobody else can write there yet
	})
}

// Sign is Signer.
func (x *eximSigner) Sign(ctx context.Context, p Probe) (raw []byte, verdict string, err error) {
	m := p.Mail
	alike := strings.Join(append([]string{m.Sender, string(m.Raw)}, m.Recipients...), "\n")
	if raw, known := x.signed[alike]; known {
		return raw, string(client.Accept), nil
	}
	args := append(slices.Clone(x.args), "-odi", "-oi", "-oMa", m.Peer.Addr.String(), "-oMs", m.Peer.Name, "-oMr", protocol(m), "-f", m.Sender)
	if m.AuthUser != "" {
		args = append(args, "-oMai", m.AuthUser)
	}
	c := exec.CommandContext(ctx, x.program, append(args, m.Recipients...)...) //nolint:gosec // a program of the system
	c.Stdin = bytes.NewReader(bytes.ReplaceAll(m.Raw, []byte("\r\n"), []byte("\n")))
	if output, err := c.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("%s: %w: %s", x.program, err, bytes.TrimSpace(output))
	}
	if raw = x.sink.taken(); raw == nil {
		return m.Raw, string(client.TempFail), nil
	}
	if x.signed != nil {
		x.signed[alike] = raw
	}
	return raw, string(client.Accept), nil
}

// Stop is stopper.
func (x *eximSigner) Stop() { x.sink.Stop() }

// protocol is Exim's word for how a message came.
func protocol(m client.Mail) string {
	if m.AuthUser != "" {
		return "esmtpa"
	}
	return "esmtp"
}

// filtered is dkimd as Exim asks it: by its transport filter.
type filtered struct{ *Process }

// Sign is Signer.
func (f filtered) Sign(_ context.Context, p Probe) (raw []byte, verdict string, err error) {
	m := p.Mail
	var out bytes.Buffer
	filter := filter.Filter{Socket: f.socket, QueueID: "1xV2Ha-0006jv-2l", Client: m.Peer.Addr.String(), Protocol: protocol(m)}
	if filter.Run(bytes.NewReader(bytes.ReplaceAll(m.Raw, []byte("\r\n"), []byte("\n"))), &out) != nil {
		return m.Raw, string(client.TempFail), nil // Exim keeps the message then
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("\n"), []byte("\r\n")), string(client.Accept), nil
}

// sink is a mail server that keeps the last message.
type sink struct {
	listener net.Listener
	served   sync.WaitGroup
	mutex    sync.Mutex
	last     []byte
}

func newSink() (*sink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with Stop
	if err != nil {
		return nil, err
	}
	s := &sink{listener: l}
	s.served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(conn)
		}
	})
	return s, nil
}

// Stop ends the server; a connection that is open ends first.
func (s *sink) Stop() {
	_ = s.listener.Close()
	s.served.Wait()
}

// taken is the message that came last, once.
func (s *sink) taken() []byte {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	raw := s.last
	s.last = nil
	return raw
}

func (s *sink) serve(conn net.Conn) {
	c := textproto.NewConn(conn)
	defer c.Close() //nolint:errcheck // nothing is lost
	say := func(line string) bool { return c.PrintfLine("%s", line) == nil }
	bounce := false // what Exim sends where it could not sign
	for up := say("220 proof.example ESMTP"); up; {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch verb {
		case "DATA":
			if !say("354 go on") {
				return
			}
			raw, err := io.ReadAll(c.DotReader())
			if err != nil {
				return
			}
			s.mutex.Lock()
			if s.last = bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")); bounce {
				s.last = nil
			}
			s.mutex.Unlock()
			up = say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		case "MAIL":
			bounce = strings.HasPrefix(strings.ToUpper(line), "MAIL FROM:<>")
			up = say("250 yes")
		default:
			up = say("250 yes")
		}
	}
}
