package tomlfile

import (
	"bytes"
	"errors"
	"io/fs"

	"dkimd/internal/fault"
	"dkimd/internal/safetext"
)

// Line is a line of a text file that a list names.
type Line struct {
	Text   string // without comment, and white space around it
	Number int
	file   *File
}

// Lines are the lines of the file at path, which an element of a list names; those with nothing but a comment are left
// out, and a # anywhere begins one. What is wrong with them is reported beside the faults of the TOML file.
func (t *Table) Lines(key string, i int, path string) []Line {
	file := empty(path)
	t.file.parts = append(t.file.parts, file)
	data, wrong, err := readRegular(path, "a file with one entry a line")
	switch {
	case err != nil:
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err
		}
		t.FaultItem(key, i, "a file that dkimd can read", err.Error()+"; namei -l "+path+" shows what is there")
		return nil
	case wrong != nil:
		file.fail(*wrong)
		return nil
	case file.tooLarge(data):
		return nil
	}
	var lines []Line
	number := 0
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte(byteOrderMark))) {
		number++
		line, _, _ = bytes.Cut(line, []byte("#"))
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, Line{string(line), number, file})
		}
	}
	return lines
}

// Fault records what is wrong with a line.
func (l Line) Fault(want, hint string) {
	l.file.Add(fault.Fault{Line: l.Number, Got: safetext.Quote(l.Text), Want: want, Hint: hint})
}

// Caution records that a line works, and is likely not what the operator wants.
func (l Line) Caution(want, hint string) {
	l.file.Caution(fault.Fault{Line: l.Number, Got: safetext.Quote(l.Text), Want: want, Hint: hint})
}
