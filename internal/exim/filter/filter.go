// Package filter is exim-sign, Exim's transport_filter: it puts the signatures of a message
// on top of it. Exim starts it at each delivery, so it imports little: no TLS, no metrics, no
// command line library. It signs nothing itself; the daemon does, behind the Exim socket.
package filter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"dkimd/internal/socket"
)

// Sign is the first line of a request for signatures. The answer begins with ReplyOK and the size of
// the fields that follow, or is ReplyDefer.
const (
	Sign       = "DKIMD/1 SIGN"
	ReplyOK    = "DKIMD/1 OK "
	ReplyDefer = "DKIMD/1 DEFER\n"
)

// maxFields bounds the fields that a daemon may ask to have put on top.
const maxFields = 1 << 20

// Filter puts the signatures of the message it reads in front of it. It loses no mail: nothing is written before the
// daemon's whole answer is in, and Exim keeps a message whose filter fails.
type Filter struct {
	// Socket is where the daemon listens, in any form that socket.ParseDial reads.
	Socket string
	// QueueID is $message_exim_id, Client $sender_host_address (empty: local
	// submission), Protocol $received_protocol.
	QueueID, Client, Protocol string
	// FailOpen lets a message go unsigned that the daemon does not answer for.
	FailOpen bool
}

// Run filters one message. ctx bounds the asking; the caller must bound
// reading and writing.
func (f Filter) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	msg, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	if len(msg) == 0 {
		// Exim was interrupted, or something is wrong with it; a message has a header.
		return errors.New("read the message: it is empty")
	}
	fields, err := f.ask(ctx, msg)
	switch {
	case err != nil && f.FailOpen:
		fields = nil
	case err != nil:
		return fmt.Errorf("ask dkimd at %s: %w", f.Socket, err)
	}
	for _, p := range [][]byte{fields, msg} {
		if n, err := out.Write(p); err != nil || n != len(p) {
			return errors.Join(errors.New("write the signed message"), err)
		}
	}
	return nil
}

// ask returns the fields to put on top of a message, with LF at line ends.
func (f Filter) ask(ctx context.Context, msg []byte) ([]byte, error) {
	address, err := socket.ParseDial(f.Socket)
	if err != nil {
		return nil, err
	}
	conn, err := address.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // the answer is in, or there is none
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	request := fmt.Sprintf("%s\nQueue-Id: %s\nLength: %d\nIP: %s\nProtocol: %s\n\n",
		Sign, oneWord(f.QueueID), len(msg), oneWord(f.Client), oneWord(f.Protocol))
	buffers := net.Buffers{[]byte(request), msg}
	if _, err := buffers.WriteTo(conn); err != nil {
		return nil, err
	}
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return nil, fmt.Errorf("%T cannot be closed for writing", conn)
	}
	if err := half.CloseWrite(); err != nil {
		return nil, err
	}
	return readFields(bufio.NewReader(conn))
}

// oneWord keeps an argument from becoming another line of the request.
func oneWord(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// readFields reads the answer, and takes only one that is whole.
func readFields(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("no answer: %w", err)
	}
	size, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), ReplyOK)
	if !ok {
		if string(line) == ReplyDefer {
			return nil, errors.New("it cannot sign this message now; its log says why")
		}
		return nil, fmt.Errorf("an answer %.60q", line)
	}
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 || n > maxFields {
		return nil, fmt.Errorf("an answer of %.60q bytes", size)
	}
	fields := make([]byte, n)
	if _, err := io.ReadFull(r, fields); err != nil {
		return nil, fmt.Errorf("half an answer: %w", err)
	}
	switch _, err := r.ReadByte(); {
	case err == nil:
		return nil, errors.New("a longer answer than it says")
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("no end of the answer: %w", err)
	}
	return fields, checkFields(fields)
}

// checkFields lets nothing through that is not a block of signatures: it
// would end the header, or double the CR that Exim puts at each line end.
func checkFields(fields []byte) error {
	if len(fields) == 0 {
		return nil
	}
	if fields[0] == ' ' || fields[0] == '\t' || fields[len(fields)-1] != '\n' || bytes.ContainsAny(fields, "\r\x00") {
		return errors.New("an answer that is not a header field")
	}
	for line := range bytes.Lines(fields) {
		continues := line[0] == ' ' || line[0] == '\t'
		switch {
		case continues && len(bytes.TrimSpace(line)) == 0:
			return errors.New("a blank line in the answer") // some take it for the end of the header
		case !continues && !bytes.HasPrefix(line, []byte("DKIM-Signature:")):
			return fmt.Errorf("a line in the answer that is not a signature: %.60q", line)
		}
	}
	return nil
}
