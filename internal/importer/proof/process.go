package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"time"

	"dkimd/internal/milter/client"
)

// startTimeout is how long a signer may take until it serves its socket: rspamd compiles patterns before.
const startTimeout = 2 * time.Minute

// Process is a signer that runs as a milter on a socket of its own.
type Process struct {
	socket string
	cmd    *exec.Cmd
	said   *bytes.Buffer
	ended  chan struct{}
}

// Start runs a signer and waits until it serves the unix socket. It ends with Stop.
func Start(ctx context.Context, cmd *exec.Cmd, socket string) (*Process, error) {
	p := &Process{socket: socket, cmd: cmd, said: new(bytes.Buffer), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.said, p.said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // what it said is more than its status
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "unix", socket); err == nil {
			return p, conn.Close()
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("%s ends: %s", cmd.Path, bytes.TrimSpace(p.said.Bytes()))
		case <-ctx.Done():
			p.Stop()
			return nil, fmt.Errorf("%s does not serve its socket: %s", cmd.Path, bytes.TrimSpace(p.said.Bytes()))
		case <-tick.C:
		}
	}
}

// Stop ends the process.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// Sign is Signer.
func (p *Process) Sign(ctx context.Context, probe Probe) (raw []byte, verdict string, err error) {
	s, err := client.Dial(ctx, "unix", p.socket, client.Options{DaemonName: probe.Daemon})
	if err != nil {
		return nil, "", err
	}
	r, err := s.Send(ctx, probe.Mail)
	if err != nil {
		return nil, "", errors.Join(err, s.Conn().Close())
	}
	verdict = string(r.Action)
	switch {
	case r.Quarantine != "":
		verdict = "quarantine"
	case r.Action == client.Continue:
		verdict = string(client.Accept)
	}
	return client.Apply(client.Postfix, probe.Mail.Raw, r.Edits), verdict, s.Close()
}
