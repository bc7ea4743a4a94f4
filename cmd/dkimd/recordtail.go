package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// followFile opens a file at its end, or from the beginning.
func followFile(ctx context.Context, path string, whole bool) (io.ReadCloser, error) {
	if err := isRegular(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err == nil && !whole {
		_, err = f.Seek(0, io.SeekEnd)
	}
	return &tail{ctx: ctx, path: path, file: f}, err
}

// tail is a file that grows, and that may be renamed with a new one in its place.
type tail struct {
	ctx  context.Context //nolint:containedctx // an io.Reader has none
	path string
	file *os.File
}

// tailInterval is how often a file that is followed is looked at.
const tailInterval = 200 * time.Millisecond

// Read waits for more. It returns io.EOF once the context is done.
func (t *tail) Read(p []byte) (int, error) {
	tick := time.NewTicker(tailInterval)
	defer tick.Stop()
	for {
		n, err := t.file.Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if t.renew() {
			continue
		}
		select {
		case <-t.ctx.Done():
			return 0, io.EOF
		case <-tick.C:
		}
	}
}

// Close closes the file.
func (t *tail) Close() error { return t.file.Close() }

// renew opens the file anew where another one has come to its place, and goes
// back to its beginning where it was cut.
func (t *tail) renew() bool {
	ours, err := t.file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(t.path)
	if err != nil {
		return false // between the renaming and the new file
	}
	if os.SameFile(ours, now) {
		at, err := t.file.Seek(0, io.SeekCurrent)
		if err == nil && now.Size() < at {
			_, err = t.file.Seek(0, io.SeekStart)
			return err == nil
		}
		return false
	}
	next, err := os.Open(t.path)
	if err != nil {
		return false
	}
	_ = t.file.Close()
	t.file = next
	return true
}
