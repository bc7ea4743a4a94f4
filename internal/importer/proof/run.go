package proof

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"dkimd/internal/importer"
	"dkimd/internal/resolver/dnstest"
)

// Result is what a proof found.
type Result struct {
	Probes      int          `json:"probes"` // messages that both signers were given
	Differences []Difference `json:"differences"`
}

// Run proves a plan that was written to a directory. Command makes a command of this dkimd.
func Run(ctx context.Context, p *importer.Plan, written string, command func(ctx context.Context, args ...string) *exec.Cmd) (Result, error) {
	result := Result{Differences: []Difference{}}
	if p.OldConfig == nil {
		return result, fmt.Errorf("%s is not run: compare the signatures of some messages yourself", p.Source)
	}
	dir, err := os.MkdirTemp("", "dkprove") // a short path: sockets are in it
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing of it is needed
	probes, zone := Probes(p)
	dns, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		return result, err
	}
	defer dns.Close()
	if err := dns.SetZone(zone); err != nil {
		return result, err
	}
	records, err := p.Records(domains(probes))
	if err != nil {
		return result, err
	}
	v, err := NewVerifier(records)
	if err != nil {
		return result, err
	}
	v.presentOnly = p.Source == "exim"
	old, err := startOld(ctx, p, dir)
	if err != nil {
		return result, err
	}
	defer old.Stop()
	socket := filepath.Join(dir, "dkimd.sock")
	config, err := p.NewConfig(written, dir, socket, dns.Addr())
	if err != nil {
		return result, err
	}
	daemon, err := Start(ctx, command(ctx, "serve", "--config", config), socket)
	if err != nil {
		return result, err
	}
	defer daemon.Stop()
	var now Signer = daemon
	if p.Source == "exim" {
		now = filtered{daemon}
	}
	result.Probes = len(probes)
	differences, err := Compare(ctx, old, now, probes, v)
	result.Differences = append(result.Differences, differences...)
	return result, err
}

// oldSigner is the signer that is compared with.
type oldSigner interface {
	Signer
	Stop()
}

// startOld starts the old signer.
func startOld(ctx context.Context, p *importer.Plan, dir string) (oldSigner, error) {
	if p.Source == "exim" {
		return startExim(ctx, p, dir)
	}
	socket := filepath.Join(dir, "old.sock")
	args, err := p.OldConfig(dir, socket)
	if err != nil {
		return nil, err
	}
	program, err := find(p.Source)
	if err != nil {
		return nil, err
	}
	return Start(ctx, exec.CommandContext(ctx, program, args...), socket) //nolint:gosec // a program of the system
}

// find finds a program of the system, which the PATH of a user may not have.
func find(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/usr/local/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed here: nothing can be proved", name)
	}
	return path, nil
}

// domains are those of the senders of probes.
func domains(probes []Probe) []string {
	var all []string
	for _, p := range probes {
		_, name, _ := strings.Cut(strings.ToLower(p.Mail.Sender), "@")
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
