//go:build integration

package differential_test

import (
	"bufio"
	"encoding/base64"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// debianPython is the interpreter that python3-dkim is installed for.
const debianPython = "/usr/bin/python3"

// A pipe is a foreign program that answers a line with a line.
type pipe struct {
	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
}

func startPipe(t *testing.T, name string, args ...string) *pipe {
	t.Helper()
	cmd := exec.Command(name, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // the end of its input ends it
		_ = cmd.Wait()
		if t.Failed() && complaints.Len() > 0 {
			t.Logf("%s on stderr: %.2000s", name, complaints.String())
		}
	})
	return &pipe{in: in, out: bufio.NewReaderSize(out, 1<<16), cmd: cmd}
}

// ask sends a verb and its arguments, and returns the answer.
func (p *pipe) ask(t *testing.T, verb string, args ...string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	b.WriteString(verb)
	for _, a := range args {
		b.WriteString(" " + base64.StdEncoding.EncodeToString([]byte(a)))
	}
	b.WriteString("\n")
	if _, err := io.WriteString(p.in, b.String()); err != nil {
		t.Fatalf("%s: %v", p.cmd.Path, err)
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", p.cmd.Path, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// request are the arguments of verify.
func (s *sample) request(everyRecord bool) []string {
	now := ""
	if !s.now.IsZero() {
		now = strconv.FormatInt(s.now.Unix(), 10)
	}
	args := []string{string(s.raw), now}
	for name, records := range s.records {
		for i, record := range records {
			if i == 0 || everyRecord {
				args = append(args, name, record)
			}
		}
	}
	return args
}

// python is python3-dkim.
type python struct{ *pipe }

func startPython(t *testing.T) python {
	t.Helper()
	need(t, debianPython, "-c", "import dkim, nacl")
	return python{startPipe(t, debianPython, "testdata/peer.py")}
}

func (python) name() string { return "python3-dkim" }

func (p python) verify(t *testing.T, s *sample) []judgement {
	t.Helper()
	var found []judgement
	for word := range strings.FieldsSeq(p.ask(t, "verify", s.request(false)...)) {
		switch word {
		case "pass":
			found = append(found, judgement{class: pass})
		case "fail":
			found = append(found, judgement{class: broken})
		default:
			found = append(found, judgement{class: broken, detail: word})
		}
	}
	return found
}

// An order is a signature to be made by a foreign program.
type order struct {
	domain, selector string
	header, body     string // canonicalization
	names            []string
	identity         string
	length           bool // l=
	expires          time.Duration
}

// sign is the DKIM-Signature field for a message, with its last CRLF.
func (p python) sign(t *testing.T, raw []byte, o order) []byte {
	t.Helper()
	k := keyring()[o.selector]
	length := "0"
	if o.length {
		length = "1"
	}
	return decodeField(t, p.ask(t, "sign", string(raw), o.domain, o.selector, string(k.pkcs1), k.algorithm,
		o.header, o.body, strings.Join(o.names, ":"), o.identity, length))
}

func decodeField(t *testing.T, answer string) []byte {
	t.Helper()
	field, err := base64.StdEncoding.DecodeString(answer)
	if err != nil || len(field) == 0 {
		t.Fatalf("not signed: %s", answer)
	}
	return field
}

// perl is Mail::DKIM. It knows no Ed25519.
type perl struct{ *pipe }

func startPerl(t *testing.T) perl {
	t.Helper()
	need(t, "perl", "-MMail::DKIM::Verifier", "-e1")
	return perl{startPipe(t, "perl", "testdata/peer.pl")}
}

func (perl) name() string { return "Mail::DKIM" }

func (p perl) verify(t *testing.T, s *sample) []judgement {
	t.Helper()
	answer := p.ask(t, "verify", s.request(true)...)
	if strings.HasPrefix(answer, "error:") {
		return []judgement{{class: broken, detail: answer}}
	}
	var found []judgement
	for word := range strings.FieldsSeq(answer) {
		parts := strings.SplitN(word, ":", 3)
		j := judgement{detail: parts[1], b: parts[2]}
		switch parts[0] {
		case "pass":
			j.class = pass
		case "fail":
			j.class = fail
		case "invalid":
			j.class = permerror
			if strings.Contains(j.detail, "DNS_error") {
				j.class = temperror
			}
		default:
			j.class = broken
		}
		found = append(found, j)
	}
	return found
}

func (p perl) sign(t *testing.T, raw []byte, o order) []byte {
	t.Helper()
	expiration := ""
	if o.expires > 0 {
		expiration = strconv.FormatInt(time.Now().Add(o.expires).Unix(), 10)
	}
	return decodeField(t, p.ask(t, "sign", string(raw), o.domain, o.selector, string(keyring()[o.selector].pkcs1),
		o.header+"/"+o.body, strings.Join(o.names, ":"), o.identity, expiration))
}
