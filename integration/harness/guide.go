package harness

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// GuideStep is one fenced block of a guide: commands, or a file to write.
type GuideStep struct {
	Where string // file and line
	Shell string // commands, or
	Path  string // the file's name and
	Text  string // its content
	macro bool   // lines for a sendmail.mc that is there
}

// fileFences mark blocks that are files.
var fileFences = []string{"toml", "conf", "yaml", "m4"}

var quotedPath = regexp.MustCompile("`(/[^`]+)`")

// ReadGuide takes the steps out of a chapter of a document. Blocks fenced as sh are commands; others go into
// the file that the text before them names last, those fenced as m4 before the MAILER lines of the sendmail.mc
// that is there. A block fenced as text is none to follow.
func ReadGuide(t *testing.T, file, chapter string) []GuideStep {
	t.Helper()
	text, err := os.ReadFile(Repository(file))
	if err != nil {
		t.Fatal(err)
	}
	var steps []GuideStep
	var named, fence string
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case fence == "" && strings.HasPrefix(line, "## "):
			inside = line == "## "+chapter
		case !inside:
		case fence == "" && strings.HasPrefix(line, "```"):
			fence = strings.TrimPrefix(line, "```")
			step := GuideStep{Where: fmt.Sprintf("%s:%d", file, i+1), macro: fence == "m4"}
			switch {
			case fence == "text":
				continue
			case fence == "sh":
			case slices.Contains(fileFences, fence) && named != "":
				step.Path = named
			default:
				t.Fatalf("%s: a block of %q; want sh, text, or one of %v after the file's name in backquotes", step.Where, fence, fileFences)
			}
			steps = append(steps, step)
		case fence != "" && line == "```":
			fence = ""
		case fence == "sh":
			steps[len(steps)-1].Shell += line + "\n"
		case fence != "" && fence != "text":
			steps[len(steps)-1].Text += line + "\n"
		case fence == "":
			if found := quotedPath.FindAllStringSubmatch(line, -1); found != nil {
				named = found[len(found)-1][1]
			}
		}
	}
	if len(steps) == 0 {
		t.Fatalf("%s has no steps under %q", file, chapter)
	}
	return steps
}

// Script is a step as a shell script.
func (s GuideStep) Script() string {
	const here = "cat >'%s' <<'END-OF-FILE'\n%sEND-OF-FILE\n"
	switch {
	case s.Path == "":
		return s.Shell
	case s.macro:
		return fmt.Sprintf(here+"grep -q '^MAILER_DEFINITIONS' %[3]s\nsed -i '/^MAILER_DEFINITIONS/e cat %[1]s' '%[3]s'\n", "/root/lines.m4", s.Text, s.Path)
	default:
		return fmt.Sprintf("mkdir -p '%s'\n"+here, path.Dir(s.Path), s.Path, s.Text)
	}
}
