package importer

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"dkimd/internal/fault"
)

// maxFile is the size of the largest file that is read: a table of a million lines has less.
const maxFile = 64 << 20

// noSuchFile is what the fault of an absent file says.
const noSuchFile = "no such file"

// root is where the files of the old configuration are: a directory whose paths begin there, or "/".
type root string

// path is where a file is that the configuration names.
func (r root) path(named string) string {
	if r == "" || r == "/" {
		return filepath.Clean(named)
	}
	return filepath.Join(string(r), named)
}

// read is the content of a file that the configuration names; by says where.
func (r root) read(named string, by Place) ([]byte, error) {
	path := r.path(named)
	wrong := fault.Fault{Path: path, Want: "a file to import"}
	if by.Path != "" {
		wrong.Hint = by.Path + ":" + strconv.Itoa(by.Line) + " names it"
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the file
	switch {
	case errors.Is(err, fs.ErrNotExist):
		wrong.Got = noSuchFile
		return nil, wrong
	case err != nil:
		wrong.Got = err.Error()
		return nil, wrong
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		wrong.Got = "a directory"
		return nil, wrong
	case !info.Mode().IsRegular():
		wrong.Got = "something that is not a regular file"
		return nil, wrong
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		wrong.Got = err.Error()
		return nil, wrong
	case len(data) > maxFile:
		wrong.Got = "more than 64 MiB"
		return nil, wrong
	case bytes.IndexByte(data[:min(len(data), 1<<16)], 0) >= 0:
		wrong.Got = "something binary"
		return nil, wrong
	}
	return data, nil
}

// line is one line of a file without its comment.
type line struct {
	Place
	text string
}

// lines are those of a text that are not empty, without comments: all after a #, wherever it stands. A CR ends a line too,
// as OpenDKIM has it.
func lines(path string, data []byte) []line {
	var all []line
	n := 0
	for text := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
		n++
		if end := strings.IndexAny(text, "#\r\n"); end >= 0 {
			text = text[:end]
		}
		if text = strings.TrimSpace(text); text != "" {
			all = append(all, line{Place{path, n}, text})
		}
	}
	return all
}
