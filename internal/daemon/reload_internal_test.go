package daemon

import (
	"strings"
	"testing"

	"dkimd/internal/logtest"
)

// A panic while files are read refuses the reload; it does not end the process, and with it all mail under way.
func TestPanicInAReloadRefusesIt(t *testing.T) {
	t.Parallel()
	var log logtest.Lines
	d := newDaemon(Options{Config: t.TempDir() + "/dkimd.toml", Stderr: &log})
	next, err := d.rebuild(t.Context(), nil, false) // nothing in force: whatever asks for it panics
	if next != nil || err == nil || !strings.Contains(err.Error(), "a fault of dkimd while it read the configuration: ") {
		t.Errorf("%v %v", next, err)
	}
	log.Wait(t, 1, `level=ERROR msg="panic in a reload" panic=.* stack=.*rebuild`)
}
