package terminal_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"dkimd/internal/terminal"
)

func TestTable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		palette terminal.Palette
		rows    func(terminal.Palette) [][]string
		numbers int
		want    string
	}{
		"words": {
			false, func(terminal.Palette) [][]string {
				return [][]string{{"a", "b", "c"}, {"longer than head", "ü", ""}, {"x"}}
			}, 3,
			"one               two  three\na                 b    c\nlonger than head  ü\nx\n",
		},
		"numbers": {
			false, func(terminal.Palette) [][]string { return [][]string{{"a", "1", "-"}, {"b", "1234567890", "2"}} }, 1,
			"one         two     three\na             1         -\nb    1234567890         2\n",
		},
		"colours take no room": {
			true, func(p terminal.Palette) [][]string {
				return [][]string{{p.Paint(terminal.Red, "fail"), p.Paint(terminal.Plain, "x"), "y"}, {"longer", p.Paint(terminal.Green, "pass"), "z"}}
			}, 3,
			"\x1b[1mone     two   three\x1b[0m\n\x1b[31mfail\x1b[0m    x     y\nlonger  \x1b[32mpass\x1b[0m  z\n",
		},
		"nothing": {true, func(terminal.Palette) [][]string { return nil }, 3, ""},
	} {
		var out strings.Builder
		table := terminal.NewTable(&out, test.palette, "one", "two", "three")
		if test.numbers < 3 {
			table.Numbers(test.numbers)
		}
		if err := table.Rows(test.rows(test.palette)); err != nil {
			t.Error(err)
		}
		if out.String() != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, out.String(), test.want)
		}
	}
}

type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestTableTellsOfAnErrorOfItsOutput(t *testing.T) {
	t.Parallel()
	if err := terminal.NewTable(full{}, false, "one").Rows([][]string{{"x"}}); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}

// What strangers write cannot act on the terminal, whatever the colours.
func TestSafe(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain, ünïcode": "plain, ünïcode",
		"a\tb":           "a\tb",
		`a\tb`:           `a\tb`,
		"\x1b[31mred":    `\x1b[31mred`,
		"a\r\nb":         `a\r\nb`,
		"\u202eabc":      `\u202eabc`,
		"\xff":           `\xff`,
	} {
		if got := terminal.Safe(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestClipAndPlural(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		terminal.Clip("äöü", 3): "äöü", terminal.Clip("äöüßx", 4): "ä...",
		terminal.Clip("日本語", 6): "日本語", terminal.Clip("日本語", 5): "日...", terminal.Clip("a日本語", 5): "a...",
		terminal.Clip("a\u0308o\u0308u\u0308", 3): "a\u0308o\u0308u\u0308", terminal.Clip("a\u0308bcde", 4): "a\u0308...", terminal.Clip("abcd", 3): "...",
		terminal.Plural(1, "key"): "1 key", terminal.Plural(0, "key"): "0 keys", terminal.Plural(12, "rules file"): "12 rules files",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A file, a buffer and a device that is no terminal get no colours.
func TestPaletteOfWhatIsNoTerminal(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close() //nolint:errcheck // nothing is written
	if terminal.PaletteOf(null) || terminal.PaletteOf(&strings.Builder{}) {
		t.Error("colours")
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 90)
	for text, want := range map[string]string{
		"":                              "",
		"one  two":                      "  one two",
		strings.Repeat("ü", 76) + " a":  "  " + strings.Repeat("ü", 76) + " a",
		strings.Repeat("ü", 76) + " ab": "  " + strings.Repeat("ü", 76) + "\n  ab",
		"a " + long + " b":              "  a\n  " + long + "\n  b",
	} {
		if got := terminal.Wrap(text, "  "); got != want {
			t.Errorf("%q:\n%s\nwant\n%s", text, got, want)
		}
	}
}
