//go:build integration

package integration_test

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// Of rc.subr, what the scripts call: with the functions and variables that a script sets, it carries out a word.
const (
	freebsdSubr = `load_rc_config() { :; }
run_rc_command() {
	case $1 in
	start) $start_precmd && exec $command $command_args ;;
	reload) $reload_cmd ;;
	configtest) $configtest_cmd ;;
	esac
}
`
	// daemon(8) takes its options, and starts a program as another user.
	freebsdDaemon = `#!/bin/sh
while getopts frSP:T:u: option; do :; done
shift $((OPTIND - 1))
exec "$@"
`
	openbsdSubr = `rc_cmd() {
	case $1 in
	start) rc_pre && rc_configtest && exec $daemon $daemon_flags ;;
	reload) rc_configtest && rc_reload ;;
	configtest) rc_configtest ;;
	esac
}
`
)

// TestServiceScriptsOfBSD carries out packaging/freebsd and packaging/openbsd with a rc.subr of three functions.
func TestServiceScriptsOfBSD(t *testing.T) {
	t.Parallel()
	us, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for system, subr := range map[string]string{"freebsd": freebsdSubr, "openbsd": openbsdSubr} {
		t.Run(system, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(name, text string) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
				return path
			}
			script, err := os.ReadFile(harness.Repository("packaging/" + system + "/dkimd"))
			if err != nil {
				t.Fatal(err)
			}
			paths := strings.NewReplacer(
				"/usr/local/bin/dkimd", harness.Binary(t), "/usr/sbin/daemon", write("daemon", freebsdDaemon),
				"/etc/rc.subr", write("rc.subr", subr), "/etc/rc.d/rc.subr", write("rc.subr", subr),
				"/usr/local/etc/dkimd", dir, "/etc/dkimd", dir, "/var/run", dir,
				`"${dkimd_runas:=dkimd}"`, `"${dkimd_runas:=`+us.Username+`}"`, `daemon_user="dkimd"`, `daemon_user="`+us.Username+`"`,
			)
			program := write("rc", paths.Replace(string(script)))
			run := func(word string) error {
				out, err := exec.CommandContext(t.Context(), "sh", program, word).CombinedOutput()
				t.Logf("%s: %v\n%s", word, err, out)
				return err
			}
			good := "[milter]\nlisten = [\"unix:" + dir + "/milter.sock\"]\n[control]\nlisten = [\"unix:" + dir + "/dkimd/control.sock\"]\n"
			write("dkimd.toml", good)
			daemon, err := harness.StartProcess(system, exec.Command("sh", program, "start"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { daemon.Stop(syscall.SIGTERM, 10*time.Second) })
			harness.Eventually(t, 10*time.Second, "the daemon listens", func() bool { return harness.Accepts("unix", dir+"/milter.sock") })
			for _, word := range []string{"configtest", "reload"} {
				if err := run(word); err != nil {
					t.Errorf("%s: %v", word, err)
				}
			}
			write("dkimd.toml", good+"[sign]\nheaders = 3\n")
			for _, word := range []string{"configtest", "reload", "start"} {
				if err := run(word); err == nil {
					t.Errorf("%s succeeds with a broken configuration", word)
				}
			}
			daemon.Signal(syscall.SIGTERM)
			if status, err := daemon.Exit(10 * time.Second); status != 0 || err != nil {
				t.Errorf("the daemon ends with %d, %v", status, err)
			}
		})
	}
}
