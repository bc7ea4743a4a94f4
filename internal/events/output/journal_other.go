//go:build !linux

package output

import (
	"errors"
	"io"
	"net"
)

// hasJournal says that this system may have a journal.
const hasJournal = false

// Journaled reports whether w leads into systemd's journal.
func Journaled(io.Writer) bool { return false }

func sendJournal(*net.UnixConn, []byte) error { return errors.ErrUnsupported }
