package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"dkimd/internal/safetext"
)

const (
	commandTime = time.Minute
	// exitLater is EX_TEMPFAIL of sysexits.h.
	exitLater = 75
)

// Command has a program make changes. It gets one JSON object on its standard input and no shell is in between.
type Command struct {
	Args []string
	Time time.Duration // 0: one minute
}

func (c Command) String() string { return "by " + c.Args[0] }

// order is what the program reads.
type order struct {
	Op       string `json:"op"` // publish, replace, remove
	Name     string `json:"name"`
	Type     string `json:"type"`
	Value    string `json:"value"` // in one piece; empty: remove
	Old      string `json:"old"`   // what is there
	TTL      int    `json:"ttl"`
	Zone     string `json:"zone"`
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
}

// Apply is Method.
func (c Command) Apply(ctx context.Context, change Change) error {
	stdin, err := json.Marshal(order{
		change.Op(), change.Name, "TXT", change.New, change.Old, int(change.TTL.Seconds()), change.Zone, change.Domain, change.Selector,
	})
	if err != nil {
		return err
	}
	return run(ctx, c.Args, append(stdin, '\n'), c.Time)
}

// run runs a program and makes of its exit status what it means.
func run(ctx context.Context, args []string, stdin []byte, most time.Duration) error {
	if most == 0 {
		most = commandTime
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var stderr tail
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the administrator's program
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it has started ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	said := safetext.Clip(safetext.Printable(strings.TrimSpace(string(stderr))), 300)
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: it did not end in %s", args[0], ErrLater, most)
	case exited && exit.ExitCode() == exitLater:
		return fmt.Errorf("%s: %w: %s", args[0], ErrLater, said)
	case exited:
		return fmt.Errorf("%s: %w: %s", args[0], err, said)
	}
	return fmt.Errorf("run %s: %w", args[0], err)
}

// tail is the end of what a program says.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	*t = append(*t, p[max(0, len(p)-most):]...)
	*t = (*t)[max(0, len(*t)-most):]
	return len(p), nil
}
