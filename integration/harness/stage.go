package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Stage is what the tests share: one Postfix with its Dovecot, one sink behind
// it, and the dkimd binary.
type Stage struct {
	once    sync.Once
	missing string // what keeps the tests from running here
	err     error

	dir     string
	Sink    *Sink
	Postfix *Postfix
	dovecot *Process
}

var shared Stage

// Main runs the tests of a package and takes down whatever they set up.
func Main(m *testing.M) {
	defer shared.close()
	m.Run()
}

// OnStage sets the stage at its first use, and skips where it cannot be set.
func OnStage(t *testing.T) *Stage {
	t.Helper()
	Need(t, "postfix", "dovecot")
	shared.once.Do(shared.set)
	if shared.missing != "" {
		SkipOrFail(t, shared.missing)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return &shared
}

func (s *Stage) set() {
	if os.Geteuid() != 0 {
		s.missing = "Postfix must be started by root"
		return
	}
	s.err = func() (err error) {
		if s.dir, err = ownDir(); err != nil {
			return err
		}
		if s.Sink, err = startSink("127.0.0.1:0", "8BITMIME", "SMTPUTF8"); err != nil {
			return err
		}
		if s.Postfix, err = startPostfix(s.dir, s.Sink.addr().Port); err != nil {
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

func (s *Stage) close() {
	if s.Postfix != nil {
		s.Postfix.close()
	}
	if s.dovecot != nil {
		s.dovecot.Stop(syscall.SIGTERM, 5*time.Second)
	}
	if s.Sink != nil {
		s.Sink.close()
	}
	if os.Getenv("DKIMD_KEEP") == "" {
		if dir, _ := ownDir(); dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
}

// ownDir is the directory of this run.
var ownDir = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "dkimd-")
	if err != nil {
		return "", err
	}
	return dir, traversable(dir)
})

// builtBinary builds dkimd once; under the race detector if the tests are, too.
// DKIMD_BINARY names one to be tested as it is.
var builtBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("DKIMD_BINARY"); path != "" {
		return path, nil
	}
	dir, err := ownDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "dkimd")
	args := []string{"build", "-o", path}
	if RaceEnabled {
		args = append(args, "-race")
	}
	return path, build(os.Environ(), append(args, "./cmd/dkimd")...)
})

// builtEximSign builds dkimd-exim-sign once.
var builtEximSign = sync.OnceValues(func() (string, error) {
	dir, err := ownDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "dkimd-exim-sign")
	return path, build(append(os.Environ(), "CGO_ENABLED=0"), "build", "-o", path, "./cmd/dkimd-exim-sign")
})

// build runs the go command in the repository.
func build(env []string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = Repository("")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("go %s: %w", strings.Join(args, " "), err), errors.New(string(out)))
	}
	return nil
}

// Repository is where a file of the repository is, whichever package is being tested.
func Repository(name string) string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, name)
		}
		if dir == "/" {
			panic("the tests do not run in the repository")
		}
		dir = filepath.Dir(dir)
	}
}

// testdata is where a file of the harness itself is.
func testdata(name string) string { return Repository("integration/harness/testdata/" + name) }
