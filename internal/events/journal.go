package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Journaled reports whether what is written to w ends in systemd's journal:
// then $JOURNAL_STREAM holds its device and inode (systemd.exec(5)).
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

// journalFormat makes an entry of a record, in the journal's own protocol
// (systemd.io/JOURNAL_NATIVE_PROTOCOL): what message writes, and fields to search for.
// Fields that are empty are left out; lists are fields that occur several times.
func journalFormat(message func([]byte, *Event) []byte) func([]byte, *Event) []byte {
	return func(dst []byte, e *Event) []byte {
		dst = appendMessage(dst, message(nil, e))
		dst = append(dst, "SYSLOG_IDENTIFIER="+appName+"\nSYSLOG_FACILITY="...)
		dst = strconv.AppendInt(dst, facilityMail, 10)
		dst = append(dst, "\nPRIORITY="...)
		dst = strconv.AppendInt(dst, int64(e.severity()), 10)
		dst = append(dst, '\n')
		for _, f := range [...]struct{ name, value string }{
			{"ID", e.ID},
			{"MESSAGE_ID", e.MessageID},
			{"FRONT", e.Front},
			{"MODE", e.Mode},
			{"REASON_CODE", e.ReasonCode},
			{"REASON", e.Reason},
			{"CLIENT", e.Client},
			{"HELO", e.Helo},
			{"AUTH", e.Auth},
			{"SENDER", e.Sender},
			{"VERDICT", e.Verdict},
			{"ERROR", e.Error},
		} {
			dst = appendField(dst, f.name, f.value)
		}
		dst = appendFields(dst, "FROM", e.From, func(address *string) string { return *address })
		dst = appendFields(dst, "SIGNATURE", e.Signatures, func(s *Signature) string { return s.Domain })
		dst = appendFields(dst, "RESULT", e.Signatures, func(s *Signature) string { return s.Result })
		dst = appendFields(dst, "SIGNED", e.Signed, func(s *Signed) string { return s.Domain })
		dst = appendFields(dst, "RULES_FILE", e.Policy, func(d *Decision) string { return d.File })
		dst = appendFields(dst, "RULE", e.Policy, func(d *Decision) string { return d.Rule })
		return dst
	}
}

// appendMessage appends MESSAGE with its length, not up to a line end: the
// format exim has several lines.
func appendMessage(dst, message []byte) []byte {
	dst = append(dst, "MESSAGE\n"...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(message)))
	dst = append(dst, message...)
	return append(dst, '\n')
}

// appendField appends DKIMD_name. The value is escaped like those of the text
// format, so that it ends where its line ends.
func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, "DKIMD_"...)
	dst = append(dst, name...)
	dst = append(dst, '=')
	dst = appendPlain(dst, value, "\"\\")
	return append(dst, '\n')
}

// appendFields appends a field for each element of a list. What is too much of
// it MESSAGE leaves out as well, and says so.
func appendFields[T any](dst []byte, name string, list []T, value func(*T) string) []byte {
	start := len(dst)
	for i := range list {
		if i >= MaxList || len(dst)-start > maxListBytes {
			break
		}
		dst = appendField(dst, name, value(&list[i]))
	}
	return dst
}

// sendJournal sends an entry; one that is too large for a datagram as a sealed
// file in memory, as the protocol has it.
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

// sendFile sends a datagram of nothing but a file. net.UnixConn has no way to
// do so once it is connected.
func sendFile(conn *net.UnixConn, file *os.File) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	rights := unix.UnixRights(int(file.Fd()))
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), nil, rights, nil, 0)
		return !errors.Is(sent, unix.EAGAIN) // full: called again when there is room
	})
	if err != nil {
		return err
	}
	return sent
}
