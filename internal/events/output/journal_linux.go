package output

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// hasJournal says that this system may have a journal.
const hasJournal = true

// Journaled reports whether w leads into systemd's journal: $JOURNAL_STREAM then holds its device and
// inode (systemd.exec(5)).
func Journaled(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	device, inode, ok := strings.Cut(os.Getenv("JOURNAL_STREAM"), ":")
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && device == strconv.FormatUint(stat.Dev, 10) && inode == strconv.FormatUint(stat.Ino, 10)
}

// sendJournal sends an entry. One that is too large for a datagram goes as a sealed
// file in memory, as the protocol says.
func sendJournal(conn *net.UnixConn, entry []byte) error {
	_, err := conn.Write(entry)
	if !errors.Is(err, syscall.EMSGSIZE) && !errors.Is(err, syscall.ENOBUFS) {
		return err
	}
	fd, err := unix.MemfdCreate("dkimd-journal", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "dkimd-journal")
	defer file.Close() //nolint:errcheck // it is memory
	if _, err := io.Copy(file, bytes.NewReader(entry)); err != nil {
		return err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return err
	}
	return sendFile(conn, file)
}

// sendFile sends a datagram with nothing but a file. A connected net.UnixConn has no method for it.
func sendFile(conn *net.UnixConn, file *os.File) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	rights := unix.UnixRights(int(file.Fd()))
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), nil, rights, nil, 0)
		return !errors.Is(sent, unix.EAGAIN) // full: Write calls again when there is room
	})
	if err != nil {
		return err
	}
	return sent
}
