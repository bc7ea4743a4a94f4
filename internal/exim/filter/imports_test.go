package filter_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What exim-sign imports is started at each delivery: none of these is needed to ask a socket.
func TestProgramIsSmall(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "dkimd/cmd/dkimd-exim-sign").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if !slices.Contains(packages, "dkimd/internal/exim/filter") {
		t.Fatalf("no list of imports: %s", out)
	}
	for _, name := range packages {
		if name == "net" || name == "context" || name == "fmt" {
			t.Errorf("dkimd-exim-sign imports %s, whose start costs more than the program", name)
		}
		for _, heavy := range []string{
			"net/http", "crypto/", "golang.org/x/net/", "golang.org/x/text/",
			"github.com/", "dkimd/internal/message", "dkimd/internal/pipeline",
		} {
			if strings.HasPrefix(name, heavy) {
				t.Errorf("dkimd-exim-sign imports %s", name)
			}
		}
	}
}
