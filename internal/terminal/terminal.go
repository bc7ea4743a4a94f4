// Package terminal prints for people: colours where they are welcome, tables,
// counts in words, and text of strangers that cannot act on the terminal.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"dkimd/internal/safetext"

	"golang.org/x/sys/unix"
	eastasian "golang.org/x/text/width"
)

// Colour is a graphic rendition of ECMA-48 section 8.3.117.
type Colour string

// The colours in use.
const (
	Plain  Colour = ""
	Bold   Colour = "1"
	Red    Colour = "31"
	Green  Colour = "32"
	Yellow Colour = "33"
)

// Palette says whether an output has colours.
type Palette bool

// PaletteOf is the palette of an output: a terminal has colours unless its user does
// not want them (https://no-color.org).
func PaletteOf(w io.Writer) Palette {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

// Columns is how many characters a line of a terminal has; 0: it is none.
func Columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// Paint colours a text that went through Safe.
func (p Palette) Paint(c Colour, s string) string {
	if !p || c == Plain {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// Safe is text of strangers, harmless on a terminal. Tabs stay.
func Safe(s string) string {
	cells := strings.Split(s, "\t")
	for i := range cells {
		cells[i] = safetext.Printable(cells[i])
	}
	return strings.Join(cells, "\t")
}

// Clip shortens a text to so many columns, which are three at least.
func Clip(s string, limit int) string {
	if width(s) <= limit {
		return s
	}
	used := 0
	for i, r := range s {
		if used += columns(r); used > limit-len("...") {
			return s[:i] + "..."
		}
	}
	return s
}

// columns is how many columns of a terminal a character takes (UAX 11): none if it goes over the one before it.
func columns(r rune) int {
	switch kind := eastasian.LookupRune(r).Kind(); {
	case r < utf8.RuneSelf:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case kind == eastasian.EastAsianWide, kind == eastasian.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Plural counts things: 1 key, 2 keys.
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// Width is how many characters a line has that people can read anywhere.
const Width = 80

// Wrap breaks a text at spaces into lines of at most Width characters, each with an indent. A longer word stays whole.
func Wrap(s, indent string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(s) {
		switch {
		case column == 0:
			b.WriteString(indent)
			column = width(indent)
		case column+1+width(word) > Width:
			b.WriteString("\n" + indent)
			column = width(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += width(word)
	}
	return b.String()
}

// Table prints rows in columns. Its first row prints the head before it.
type Table struct {
	w       io.Writer
	palette Palette
	head    []string
	widths  []int
	numbers int // columns from this one on are set right
	begun   bool
}

// NewTable returns a table with these columns, all of words.
func NewTable(w io.Writer, palette Palette, head ...string) *Table {
	t := &Table{w: w, palette: palette, head: head, widths: make([]int, len(head)), numbers: len(head)}
	t.Fit(head...)
	return t
}

// Numbers sets the columns from the given one on right. They are as wide as the
// word messages, so that tables of the same columns look alike.
func (t *Table) Numbers(from int) {
	t.numbers = from
	for i := from; i < len(t.widths); i++ {
		t.widths[i] = max(t.widths[i], len("messages"))
	}
}

// Fit makes room for a row that comes later. Columns fit the head, and what they were fitted to.
func (t *Table) Fit(cells ...string) {
	for i, cell := range cells {
		t.widths[i] = max(t.widths[i], width(cell))
	}
}

// Width is how many characters the columns before this one take, and the space after them.
func (t *Table) Width(column int) int {
	n := 0
	for _, width := range t.widths[:column] {
		n += width + len("  ")
	}
	return n
}

// Row prints a row; cells at its end may be left out.
func (t *Table) Row(cells ...string) error {
	if !t.begun {
		t.begun = true
		if _, err := fmt.Fprintln(t.w, t.palette.Paint(Bold, t.line(t.head))); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(t.w, t.line(cells))
	return err
}

// Rows prints rows in columns that fit them all.
func (t *Table) Rows(rows [][]string) error {
	for _, row := range rows {
		t.Fit(row...)
	}
	for _, row := range rows {
		if err := t.Row(row...); err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) line(cells []string) string {
	padded := make([]string, len(cells))
	for i, cell := range cells {
		space := strings.Repeat(" ", max(0, t.widths[i]-width(cell)))
		if padded[i] = cell + space; i >= t.numbers {
			padded[i] = space + cell
		}
	}
	return strings.TrimRight(strings.Join(padded, "  "), " ")
}

// width is how many columns a cell takes, without what Paint adds.
func width(cell string) int {
	n := 0
	for _, r := range cell {
		n += columns(r)
	}
	for rest := cell; ; {
		_, after, found := strings.Cut(rest, "\x1b[")
		if !found {
			return n
		}
		code, after, _ := strings.Cut(after, "m")
		n, rest = n-len("\x1b[m")-len(code), after
	}
}
