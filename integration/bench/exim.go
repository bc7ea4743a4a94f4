package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	eximMessages = 200
	eximRounds   = 3
	eximOwn      = "Exim signs"
	eximDkimd    = "dkimd-exim-sign"
)

// eximConf is Exim as Debian runs it, but for what does not matter here: it listens, and delivers all of its mail to one host.
const eximConf = `@TOP@
exim_path = @DIR@/exim
primary_hostname = ` + ownHost + `
spool_directory = @DIR@/spool
log_file_path = @DIR@/log/%slog
pid_file_path = @DIR@/pid
daemon_smtp_ports = @PORT@
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
keep_environment =
smtp_accept_max = 0
queue_run_in_order = false
domainlist local_domains =
hostlist relay_from_hosts = 127.0.0.1
acl_smtp_rcpt = accept
begin routers
@ROUTER@
out:
  driver = manualroute
  route_list = * 127.0.0.1::@SINK@ byname
  self = send
  transport = remote_smtp
begin transports
remote_smtp:
  driver = smtp
  allow_localhost
@TRANSPORT@
begin retry
* * F,1h,1m
`

// eximNative is Exim's own signing, at its cheapest: one domain, one key.
const eximNative = `  dkim_domain = @DOMAIN@
  dkim_selector = ` + selector + `
  dkim_private_key = @DIR@/key.pem
  dkim_canon = relaxed
`

// eximWorld is an Exim that is started anew for each round.
type eximWorld struct {
	build string
	dir   string
	dkimd *server
	sink  *eximSink
	port  int
	mails [][]byte
	known []int // processes that are not Exim's
}

// leavingExim has an Exim send mail, signed by itself and by dkimd, and is the CPU of all processes for it. Each
// delivery starts Exim anew with root's rights, as Debian has it.
func (w *world) leavingExim(ctx context.Context) (lines []scaleLine, err error) {
	for _, build := range []string{"light", "heavy"} {
		more, err := w.leavingBuild(ctx, build)
		if err != nil {
			return nil, fmt.Errorf("exim4-daemon-%s: %w", build, err)
		}
		for _, l := range more {
			fmt.Printf("%-90s %s; wanted: %s\n", l.What, l.Measured, l.Wanted)
		}
		lines = append(lines, more...)
	}
	return lines, nil
}

func (w *world) leavingBuild(ctx context.Context, build string) ([]scaleLine, error) {
	e, err := w.newEximWorld(ctx, build)
	if e == nil || err != nil {
		return nil, err
	}
	defer e.close()
	costs := map[string][]float64{}
	for round := range eximRounds + 1 {
		for _, way := range []string{eximOwn, eximDkimd} {
			cost, err := e.round(ctx, way)
			if err != nil {
				return nil, fmt.Errorf("exim: %s: %w", way, err)
			}
			if round > 0 { // the first one does not count
				costs[way] = append(costs[way], milliseconds(cost)/eximMessages)
			}
		}
	}
	var times []float64
	for i, cost := range costs[eximDkimd] {
		times = append(times, cost/costs[eximOwn][i])
	}
	return []scaleLine{
		{"CPU of a message that leaves through " + e.build + ", signed by Exim", fmt.Sprintf("%.1f ms", median(costs[eximOwn])), ""},
		{"signed by dkimd through dkimd-exim-sign, dkimd's own included", spread(times).String() + " times that", "under 1.25 times"},
	}, nil
}

// newEximWorld is nil where Exim is not installed.
func (w *world) newEximWorld(ctx context.Context, build string) (e *eximWorld, err error) {
	root := cmp.Or(os.Getenv("DKIMD_EXIM"), "/var/cache/dkimd-test")
	binary := filepath.Join(root, build, "usr/sbin/exim4")
	owner, err := user.Lookup("Debian-exim")
	if _, missing := os.Stat(binary); missing != nil || err != nil { //nolint:gosec // named by whoever runs us
		fmt.Fprintf(os.Stderr, "bench: %s or its user is not there, and left out: see scripts/install-test-deps\n", binary)
		return nil, nil //nolint:nilnil // as it says
	}
	dir, err := os.MkdirTemp("", "exim")
	if err != nil {
		return nil, err
	}
	e = &eximWorld{dir: dir, build: "exim4-daemon-" + build}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if err := e.lay(ctx, binary, filepath.Join(w.dir, "flat", rsaDomain(0)+".pem"), owner); err != nil {
		return nil, err
	}
	conf, err := w.configure("exim.toml", strings.Replace(strings.Replace(dkimdConf, `listen = ["unix:@DIR@/run/dkimd.sock", "inet:`+tcpAddress+`"]`,
		"listen = []\n[exim]\nlisten = [\"unix:"+dir+"/s\"]\nsocket_group = \"Debian-exim\"", 1), "/log/events", "/log/exim-events", 1))
	if err != nil {
		return nil, err
	}
	if e.dkimd, err = start(ctx, "exim", dir+"/s", filepath.Join(w.dir, "log", "exim"), w.dkimdBin, "serve", "--config", conf); err != nil {
		return nil, err
	}
	if e.sink, err = newEximSink(ctx); err != nil {
		return nil, err
	}
	for i := range 16 {
		e.mails = append(e.mails, text(rsaDomain(0), i, 4<<10))
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e.port = listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	// Exim leaves processes behind that nobody waits for: we do, to know what they took.
	err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	e.known = children()
	return e, err
}

// lay puts Exim's program, its key and its directories in place.
func (e *eximWorld) lay(ctx context.Context, binary, keyFile string, owner *user.User) error {
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	program, err := os.ReadFile(binary) //nolint:gosec // named by whoever runs us
	if err != nil {
		return err
	}
	key, err := os.ReadFile(keyFile) //nolint:gosec // our own
	if err != nil {
		return err
	}
	err = errors.Join(
		os.Chmod(e.dir, 0o755),                                                                    //nolint:gosec // Exim works as another user
		os.WriteFile(e.dir+"/exim", program, 0o755), os.Chmod(e.dir+"/exim", 0o755|os.ModeSetuid), //nolint:gosec // as it is installed
		os.WriteFile(e.dir+"/key.pem", key, 0o600), os.Chown(e.dir+"/key.pem", uid, gid), //nolint:gosec // our own
		os.Mkdir(e.dir+"/spool", 0o750), os.Chown(e.dir+"/spool", uid, gid),
		os.Mkdir(e.dir+"/log", 0o750), os.Chown(e.dir+"/log", uid, gid))
	if err != nil {
		return err
	}
	compile := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", e.dir+"/dkimd-exim-sign", "./cmd/dkimd-exim-sign") //nolint:gosec // our own
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func (e *eximWorld) close() {
	if e.dkimd != nil {
		e.dkimd.stop()
	}
	if e.sink != nil {
		e.sink.close()
	}
	_ = os.RemoveAll(e.dir)
}

func packaged(name string) string {
	path, _ := filepath.Abs("packaging/exim/dkimd/" + name)
	return ".include " + path
}

// configure writes the configuration of one way.
func (e *eximWorld) configure(way string) error {
	top, router, transport := "", "", eximNative
	if way == eximDkimd {
		top = "DKIMD_SOCKET = @DIR@/s\nDKIMD_PROGRAM = @DIR@/dkimd-exim-sign\n" + packaged("main")
		router, transport = packaged("router"), packaged("transport")
	}
	text := strings.NewReplacer("@TOP@", top, "@ROUTER@", router, "@TRANSPORT@", transport).Replace(eximConf)
	text = strings.NewReplacer("@DIR@", e.dir, "@DOMAIN@", rsaDomain(0), "@PORT@", strconv.Itoa(e.port), "@SINK@", strconv.Itoa(e.sink.port())).Replace(text)
	return os.WriteFile(e.dir+"/exim.conf", []byte(text), 0o644) //nolint:gosec // Exim reads it as another user
}

// round sends the messages one way, and is the CPU of all processes for it.
func (e *eximWorld) round(ctx context.Context, way string) (time.Duration, error) {
	if err := e.configure(way); err != nil {
		return 0, err
	}
	before, err := e.dkimd.cpu()
	if err != nil {
		return 0, err
	}
	spent := childrenCPU()
	cmd := exec.CommandContext(ctx, e.dir+"/exim", "-C", e.dir+"/exim.conf", "-bdf") //nolint:gosec // the program to be measured
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	sendErr := e.send(ctx)
	if sendErr == nil {
		sendErr = e.sink.wait(eximMessages)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	e.reap()
	if sendErr != nil {
		log, _ := os.ReadFile(e.dir + "/log/mainlog")
		return 0, fmt.Errorf("%w\n%.3000s", sendErr, log)
	}
	after, err := e.dkimd.cpu()
	return childrenCPU() - spent + after - before, err
}

func (e *eximWorld) send(ctx context.Context) error {
	address := "127.0.0.1:" + strconv.Itoa(e.port)
	for i := range eximMessages {
		var c *smtp.Client
		var err error
		for end := time.Now().Add(20 * time.Second); ; pause(5 * time.Millisecond) {
			if c, err = smtp.Dial(address); err == nil || time.Now().After(end) || ctx.Err() != nil {
				break
			}
		}
		if err != nil {
			return err
		}
		if err := errors.Join(c.Mail("sender@"+rsaDomain(0)), c.Rcpt("someone@example.net")); err != nil {
			return err
		}
		data, err := c.Data()
		if err != nil {
			return err
		}
		_, err = data.Write(e.mails[i%len(e.mails)])
		if err := errors.Join(err, data.Close(), c.Quit()); err != nil {
			return err
		}
	}
	return nil
}

// children are the processes that are ours.
func children() []int {
	var list []int
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, task := range tasks {
		text, _ := os.ReadFile(task) //nolint:gosec // of this process
		for child := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(child); err == nil {
				list = append(list, pid)
			}
		}
	}
	return list
}

// reap waits for all that Exim left to us.
func (e *eximWorld) reap() {
	for {
		list := children()
		left := slices.DeleteFunc(list, func(pid int) bool { return slices.Contains(e.known, pid) })
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
	}
}

// childrenCPU is that of all processes that have been waited for.
func childrenCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_CHILDREN, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
