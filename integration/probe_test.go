//go:build integration

package integration_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"dkimd/integration/harness"
)

// dkimd probe understands a milter that is not dkimd: OpenDKIM negotiates by
// libmilter, and answers what dkimd does not.
func TestProbeShowsAMessageToOpenDKIM(t *testing.T) {
	t.Parallel()
	harness.OnStage(t)                    // dkimd is built there
	dir, err := os.MkdirTemp("", "probe") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil { // OpenDKIM gives up root before it listens
		t.Fatal(err)
	}
	socket := "unix:" + filepath.Join(dir, "s")
	harness.StartOpenDKIM(t, socket)
	message := append(harness.NewMail("bob@theirs.example", "probe").Bytes(), bytes.Repeat([]byte("a line of it\r\n"), 20_000)...)
	for _, mta := range []string{"postfix", "sendmail"} {
		cmd := exec.CommandContext(t.Context(), harness.Binary(t), "probe", socket, "--mta", mta, "--client", "2001:db8::1")
		cmd.Stdin = bytes.NewReader(message)
		out, err := cmd.CombinedOutput()
		t.Logf("%s:\n%s", mta, out)
		if err != nil {
			t.Error(err)
		}
		for _, want := range []string{
			`(?m)^negotiated version 6 in `,
			`(?m)^  macros at |^  besides: .*may end the body early`,
			`(?m)^end of message .* accept`,
			`(?m)^  Authentication-Results: standin.test; dkim=none`,
			`(?m)^verdict: accept, `,
		} {
			if !regexp.MustCompile(want).Match(out) {
				t.Errorf("%s: no line %s", mta, want)
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), harness.Binary(t), "probe", socket, "-n", "20", "-c", "4")
	cmd.Stdin = bytes.NewReader(message)
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.HasSuffix(out, []byte("    20  accept\n")) {
		t.Errorf("%v:\n%s", err, out)
	}
}
