//go:build integration

package integration_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// reportWorld is a mail server that pipes mail for check@report.test into dkimd report --reply.
type reportWorld struct {
	t       *testing.T
	dir     string // of the programs
	send    func(sender string, data []byte) (id string)
	deliver func() // hands answers on that wait for somebody who may
	waitLog func(words ...string)
	answers func(to string) []harness.Delivery
}

const (
	reportAddress = "check@" + harness.ReportDomain
	reportLimit   = 4 // answers for a domain
)

// lay writes the program, and the configuration that it reads.
func (w *reportWorld) lay(dns, sendmail string) {
	w.t.Helper()
	for name, text := range map[string]string{
		"report.toml": fmt.Sprintf("hostname = %q\n[dns]\nservers = [%q]\n", harness.Hostname, dns),
		"sendmail":    "#!/bin/sh\necho >>" + w.dir + "/calls\n" + sendmail,
		"report": fmt.Sprintf("#!/bin/sh\nexec %s report --reply --config %[2]s/report.toml --state %[2]s/state/report --sendmail %[2]s/sendmail --from %s --per-domain %d \"$@\"\n",
			harness.Binary(w.t), w.dir, reportAddress, reportLimit),
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	w.state(0o777)
}

// state makes the directory of the state, with a mode.
func (w *reportWorld) state(mode os.FileMode) {
	w.t.Helper()
	dir := filepath.Join(w.dir, "state")
	_ = os.RemoveAll(dir)
	if err := os.Mkdir(dir, mode); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		w.t.Fatal(err)
	}
}

// signedBy is a message that gmail signed.
func signedBy(t *testing.T, from string) []byte {
	t.Helper()
	return byGmail.sign(t, harness.NewMail(from, harness.Unique("a test")).Bytes())
}

// sent is how many answers the program has given to sendmail.
func (w *reportWorld) sent() int {
	calls, _ := os.ReadFile(filepath.Join(w.dir, "calls"))
	return bytes.Count(calls, []byte("\n"))
}

// expect sends a message, and says whether it is answered at once.
func (w *reportWorld) expect(what, sender string, data []byte, answers int) {
	w.t.Helper()
	before := w.sent()
	id := w.send(sender, data)
	w.waitLog(id, "check@") // delivered: the program has exited with 0
	if got := w.sent() - before; got != answers {
		w.t.Errorf("%s: %d answers, want %d", what, got, answers)
	}
}

// received waits for the answers to an address.
func (w *reportWorld) received(to string, count int) []harness.Delivery {
	w.t.Helper()
	w.deliver()
	harness.Eventually(w.t, harness.WaitLimit, fmt.Sprintf("%d answers to %s", count, to), func() bool { return len(w.answers(to)) == count })
	return w.answers(to)
}

// test is what every mail server must get right.
func (w *reportWorld) test() {
	t := w.t
	from := harness.Unique("ann") + "@gmail.com"
	signed := signedBy(t, from)
	w.expect("a signed message", from, signed, 1)
	w.expect("the same, sent again by anybody", "x@evil.test", signed, 0)
	answer := w.received(from, 1)[0]
	if answer.Sender != "" {
		t.Errorf("the answer has the return path %q", answer.Sender)
	}
	for name, want := range map[string]string{"From": "<" + reportAddress + ">", "To": "<" + from + ">", "Auto-Submitted": "auto-replied"} {
		if got := harness.FieldValues(answer.Data, name); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !bytes.Contains(answer.Data, []byte("Signature 1: pass")) {
		t.Errorf("the answer does not report:\n%s", answer.Data)
	}
	plain := harness.NewMail(from, "a test")
	for what, data := range map[string][]byte{
		"unsigned":          plain.Bytes(),
		"tampered":          tampered(signedBy(t, from)),
		"signed by another": byEvil.sign(t, plain.Bytes()),
		"a program's":       byGmail.sign(t, plain.With("Auto-Submitted: auto-generated").Bytes()),
		"a list's":          byGmail.sign(t, harness.NewMail(from, "a test").With("List-Id: <l.gmail.com>").Bytes()),
		"our own answer":    answer.Data,
		"answer, signed":    byGmail.sign(t, harness.NewMail(from, "re").With("References: "+strings.Join(harness.FieldValues(answer.Data, "Message-ID"), " ")).Bytes()),
	} {
		w.expect(what, from, data, 0)
	}
	w.expect("a bounce", "", signedBy(t, from), 0)
	// A flood, from all addresses of one domain.
	var ids []string
	for range 3 * reportLimit {
		ids = append(ids, w.send(from, signedBy(t, from)))
	}
	for _, id := range ids {
		w.waitLog(id, "check@")
	}
	if got := w.sent(); got != reportLimit {
		t.Errorf("a flood: %d answers, want %d", got, reportLimit)
	}
	w.received(from, reportLimit)
}

func TestReportThroughPostfix(t *testing.T) {
	t.Parallel()
	world := harness.NewWorld(t, harness.Settings{Lane: harness.WithLocal})
	harness.PublishForeignKeys(world.DNS, "gmail.com")
	harness.PublishForeignKeys(world.DNS, "evil.test")
	postfix := world.Stage.Postfix
	w := &reportWorld{t: t, dir: postfix.Programs()}
	// Postfix's sendmail takes another configuration than the system's from root alone.
	w.lay(world.DNS.Addr(), fmt.Sprintf("d=$(mktemp -d %[1]s/new.XXXXXX) && printf '%%s\\n' \"$@\" >$d/args && cat >$d/message && chmod 755 $d && mv $d %[1]s/out.${d##*.}\n", w.dir))
	to := reportAddress
	w.send = func(sender string, data []byte) string {
		r := harness.Dial(t, world.Outside).As("mail-sor-f41.google.com", "209.85.220.41").Send(sender, to, data)
		if r.Code != 250 {
			t.Fatalf("Postfix answers %q", r)
		}
		return r.QueueID()
	}
	w.deliver = func() {
		out, _ := filepath.Glob(w.dir + "/out.*")
		for _, dir := range out {
			args, err := os.ReadFile(dir + "/args")
			message, err2 := os.ReadFile(dir + "/message")
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			harness.Run(t, message, "sendmail", append([]string{"-C", postfix.Config()}, strings.Split(strings.TrimSuffix(string(args), "\n"), "\n")...)...)
			_ = os.RemoveAll(dir)
		}
	}
	w.waitLog = func(words ...string) { postfix.WaitLog(t, append(words, "status=sent")...) }
	w.answers = world.Stage.Sink.Find
	w.test()

	// What is wrong on our side makes no bounce.
	w.state(0o755)
	from := harness.Unique("bob") + "@gmail.com"
	id := w.send(from, signedBy(t, from))
	postfix.WaitLog(t, id, "status=deferred")
	harness.Eventually(t, harness.WaitLimit, "the message in the queue deferred", func() bool { return postfix.Queued(t, id) == "deferred" })
	w.state(0o777)
	harness.Run(t, nil, "postqueue", "-c", postfix.Config(), "-i", id)
	w.waitLog(id, "check@")
	if answer := w.received(from, 1)[0]; answer.Sender != "" || !bytes.Contains(answer.Data, []byte("209.85.220.41")) {
		t.Errorf("from %q:\n%s", answer.Sender, answer.Data)
	}

	// An alias: Postfix says in the environment who sent the message.
	to = "check@" + harness.AliasDomain
	from = harness.Unique("joe") + "@gmail.com"
	w.expect("through an alias", from, signedBy(t, from), 1)
	if answer := w.received(from, 1)[0]; !bytes.Contains(answer.Data, []byte("Client 209.85.220.41, HELO mail-sor-f41.google.com, by the mail server.")) {
		t.Errorf("%s", answer.Data)
	}
	w.expect("a bounce through an alias", "", signedBy(t, from), 0)
}

func TestReportThroughExim(t *testing.T) {
	t.Parallel()
	for _, build := range harness.EximBuilds {
		t.Run(build, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "dkimd-report-")
			if err != nil || os.Chmod(dir, 0o777) != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			w := &reportWorld{t: t, dir: dir}
			e := harness.NewEximWorld(t, build, harness.EximSettings{
				Routers: "report:\n  driver = accept\n  domains = " + harness.ReportDomain + "\n  transport = report\n",
				SMTP: "report:\n  driver = pipe\n  user = Debian-exim\n  return_output\n" +
					"  command = " + dir + "/report\n" + // Exim takes no sender as an argument (it is tainted), and puts it into the environment
					"  environment = <; CLIENT_ADDRESS=$sender_host_address ; CLIENT_HELO=${sg{$sender_helo_name}{[^A-Za-z0-9.:-]}{}}\n",
			})
			harness.PublishForeignKeys(e.DNS, "gmail.com")
			harness.PublishForeignKeys(e.DNS, "evil.test")
			w.lay(e.DNS.Addr(), fmt.Sprintf("exec %s -C %s/exim.conf \"$@\"\n", harness.EximBinary(build), e.Dir))
			w.send = func(sender string, data []byte) string {
				r := e.Dial(t, harness.EximOutside).Send(sender, reportAddress, data)
				if r.Code != 250 {
					t.Fatalf("Exim answers %q", r)
				}
				return r.EximID()
			}
			w.deliver = func() {}
			w.waitLog = func(words ...string) { e.WaitLog(t, append(words, "=> ")...) }
			w.answers = e.Sink.Find
			w.test()

			w.state(0o755)
			from := harness.Unique("bob") + "@gmail.com"
			id := w.send(from, signedBy(t, from))
			e.WaitLog(t, id, "== ") // deferred
			w.state(0o777)
			e.Run(t, nil, "-M", id)
			w.received(from, 1)

			// The environment says who sent it, as docs/report.md has it.
			from = harness.Unique("joe") + "@gmail.com"
			e.Run(t, signedBy(t, from), "-oMa", "209.85.220.41", "-oMr", "esmtp", "-f", from, reportAddress)
			if answer := w.received(from, 1)[0]; !bytes.Contains(answer.Data, []byte("Client 209.85.220.41, HELO , by the mail server.")) {
				t.Errorf("%s", answer.Data)
			}
		})
	}
}
