package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The logins that Dovecot knows, and their password.
const (
	Login    = "alice@ours.test"
	password = "correct horse"
)

const dovecotConf = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols =
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
auth_mechanisms = plain login
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%%u %[1]s/users
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}
service auth {
  unix_listener %[1]s/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
`

// startDovecot starts a Dovecot that does nothing but check passwords for Postfix.
func startDovecot(dir string) (*Process, error) {
	if err := os.MkdirAll(filepath.Join(dir, "run"), 0o755); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "dovecot.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, dovecotConf, dir), 0o644); err != nil {
		return nil, err
	}
	users := fmt.Sprintf("%s:{PLAIN}%s\n", Login, password)
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte(users), 0o644); err != nil {
		return nil, err
	}
	p, err := StartProcess("dovecot", exec.Command("dovecot", "-F", "-c", conf))
	if err != nil {
		return nil, err
	}
	up := Poll(20*time.Second, func() bool { return Accepts("unix", filepath.Join(dir, "auth")) || p.Ended() })
	if !up || p.Ended() {
		said, _ := os.ReadFile(filepath.Join(dir, "log"))
		p.Stop(syscall.SIGTERM, 5*time.Second)
		return nil, fmt.Errorf("dovecot does not start: %s%s", p.Log, said)
	}
	return p, nil
}
