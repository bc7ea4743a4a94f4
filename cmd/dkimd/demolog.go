package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// demoLog prints the log stream as it goes, one line a record.
type demoLog struct {
	out   io.Writer
	lines chan string
	count atomic.Int64
}

func newDemoLog(out io.Writer) *demoLog { return &demoLog{out: out, lines: make(chan string, 16)} }

// Write takes whole lines from the daemon.
func (l *demoLog) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		select {
		case l.lines <- string(bytes.TrimSuffix(line, []byte("\n"))):
		default:
		}
	}
	return len(p), nil
}

// wait prints the next record.
func (l *demoLog) wait(ctx context.Context) error {
	select {
	case line := <-l.lines:
		_, err := fmt.Fprintf(l.out, "   log:     %s\n", line)
		return err
	case <-ctx.Done():
		return errors.New("the message left no record")
	}
}
