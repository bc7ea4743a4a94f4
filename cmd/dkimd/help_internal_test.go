package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func TestHelpFitsATerminal(t *testing.T) {
	t.Parallel()
	std := stdio{strings.NewReader(""), io.Discard, io.Discard}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		var out bytes.Buffer
		if rc := run(t.Context(), append(path, "--help"), stdio{std.in, &out, io.Discard}); rc != exitDone || !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%s --help: status %d, %q", c.CommandPath(), rc, out.String())
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helpWidth {
				t.Errorf("%s --help: %d columns: %s", c.CommandPath(), n, line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(std))
}
