//go:build integration

package integration_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stage is what the tests share: one Postfix with its Dovecot, one sink behind
// it, and the dkimd binary.
type stage struct {
	once    sync.Once
	missing string // what keeps the tests from running here
	err     error

	dir     string
	sink    *sink
	postfix *postfix
	dovecot *process
}

var shared stage

func TestMain(m *testing.M) {
	defer shared.close()
	m.Run()
}

// onStage sets the stage at its first use, and skips where it cannot be set.
func onStage(t *testing.T) *stage {
	t.Helper()
	need(t, "postfix", "dovecot")
	shared.once.Do(shared.set)
	if shared.missing != "" {
		missing(t, shared.missing)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return &shared
}

func (s *stage) set() {
	if os.Geteuid() != 0 {
		s.missing = "Postfix must be started by root"
		return
	}
	s.err = func() (err error) {
		if s.dir, err = os.MkdirTemp("", "dkimd-"); err != nil {
			return err
		}
		if err := traversable(s.dir); err != nil {
			return err
		}
		if s.sink, err = startSink(); err != nil {
			return err
		}
		if s.postfix, err = startPostfix(s.dir, s.sink.addr().Port); err != nil {
			return err
		}
		s.dovecot, err = startDovecot(filepath.Join(s.dir, "dovecot"))
		return err
	}()
}

// traversable opens the stage's own directory to Postfix's users, and says
// which directory above it shuts them out.
func traversable(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("postfix cannot enter %s (mode %s); set TMPDIR to a directory that everybody can enter", dir, info.Mode())
		}
	}
	return nil
}

func (s *stage) close() {
	if s.postfix != nil {
		s.postfix.close()
	}
	if s.dovecot != nil {
		s.dovecot.stop(syscall.SIGTERM, 5*time.Second)
	}
	if s.sink != nil {
		s.sink.close()
	}
	if s.dir != "" && os.Getenv("DKIMD_KEEP") == "" {
		_ = os.RemoveAll(s.dir)
	}
}

// builtBinary builds dkimd once; under the race detector if the tests are, too.
// DKIMD_BINARY names one to be tested as it is.
var builtBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("DKIMD_BINARY"); path != "" {
		return path, nil
	}
	path := filepath.Join(shared.dir, "dkimd")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/dkimd")...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build dkimd: %w", err), errors.New(string(out)))
	}
	return path, nil
})
