// Package filter is exim-sign, Exim's transport_filter: it puts the signatures of a message
// on top of it. Exim starts it at each delivery, so it imports little, and asks the system itself: package net
// alone would be a fifth of what a start costs. It signs nothing itself; the daemon does, behind the Exim socket.
package filter

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// Sign is the first line of a request for signatures. The answer begins with ReplyOK and the size of the
// fields that follow or, where header fields were folded before they were signed, their size and that of
// the folded fields behind them; or it is ReplyDefer.
const (
	Sign       = "DKIMD/1 SIGN"
	ReplyOK    = "DKIMD/1 OK "
	ReplyDefer = "DKIMD/1 DEFER\n"
)

// maxFields bounds the fields of an answer, and atOnce what is copied to be written in one piece.
const (
	maxFields = 1 << 20
	atOnce    = 64 << 10
)

// Filter puts the signatures of the message it reads in front of it. It loses no mail: nothing is written before the
// daemon's whole answer is in, and Exim keeps a message whose filter fails.
type Filter struct {
	// Socket is where the daemon listens, as socket.ParseDial reads it, but for the names of hosts.
	Socket string
	// QueueID is $message_exim_id, Client $sender_host_address (empty: local
	// submission), Protocol $received_protocol.
	QueueID, Client, Protocol string
	// FailOpen lets a message go unsigned that the daemon does not answer for.
	FailOpen bool
	// Deadline is for the asking; zero: DefaultTimeout from now. The caller must bound reading and writing.
	Deadline time.Time
}

// Run filters one message.
func (f Filter) Run(in io.Reader, out io.Writer) error {
	if f.Deadline.IsZero() {
		f.Deadline = time.Now().Add(DefaultTimeout)
	}
	msg, err := readAll(in)
	if err != nil {
		return failed("read the message", err)
	}
	if len(msg) == 0 {
		// Exim was interrupted, or something is wrong with it; a message has a header.
		return errors.New("read the message: it is empty")
	}
	pieces := [][]byte{msg}
	a, err := f.ask(msg)
	if err == nil {
		pieces, err = a.apply(msg)
	}
	switch {
	case err != nil && f.FailOpen:
		pieces = [][]byte{msg}
	case err != nil:
		return failed("ask dkimd at "+f.Socket, err)
	}
	return write(out, pieces)
}

// readAll is io.ReadAll with a larger first buffer: most messages fit.
func readAll(in io.Reader) ([]byte, error) {
	b := make([]byte, 0, 16<<10)
	for {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, 4*cap(b)), b...)
		}
		n, err := in.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, err
		}
	}
}

// write writes a small message in one piece: each one wakes Exim up.
func write(out io.Writer, pieces [][]byte) error {
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	if size <= atOnce {
		pieces = [][]byte{bytes.Join(pieces, nil)}
	}
	for _, p := range pieces {
		if n, err := out.Write(p); err != nil || n != len(p) {
			return errors.Join(errors.New("write the signed message"), err)
		}
	}
	return nil
}

// ask returns the daemon's answer for a message.
func (f Filter) ask(msg []byte) (answer, error) {
	c, err := dial(f.Socket, f.Deadline)
	if err != nil {
		return answer{}, err
	}
	defer c.close()
	request := []byte(Sign + "\nQueue-Id: " + oneWord(f.QueueID) + "\nLength: " + strconv.Itoa(len(msg)) + "\nIP: " + oneWord(f.Client) +
		"\nProtocol: " + oneWord(f.Protocol) + "\nFold: yes\n\n")
	if err := write(c, [][]byte{request, msg}); err != nil {
		return answer{}, err
	}
	if err := c.closeWrite(); err != nil {
		return answer{}, err
	}
	text, err := readAll(io.LimitReader(c, maxFields+100))
	if err != nil {
		return answer{}, failed("no answer", err)
	}
	return readAnswer(text)
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

func failed(what string, err error) error { return errors.New(what + ": " + err.Error()) }
