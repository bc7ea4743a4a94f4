// Package client is the MTA's side of the milter protocol, as Postfix 3.7 and
// Sendmail 8.17 were seen to speak it. It serves tests, the demo, and as a load
// generator. It is stricter than those MTAs: an answer that does not fit is an error.
package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// MTA is whose habits a Session has.
type MTA uint8

// The MTAs.
const (
	// Postfix sends an abort after each message and before it quits, its queue
	// id from the second recipient on, and macros before every packet.
	Postfix MTA = iota
	// Sendmail sends no abort between messages, its queue id with MAIL only unless
	// the filter asks for it elsewhere, and writes IPv6 addresses in full, with a prefix.
	Sendmail
)

// Actions a filter may take (SMFIF_*).
const (
	ActionAddHeader    uint32 = 1 << 0
	ActionReplaceBody  uint32 = 1 << 1
	ActionAddRcpt      uint32 = 1 << 2
	ActionRemoveRcpt   uint32 = 1 << 3
	ActionChangeHeader uint32 = 1 << 4
	ActionQuarantine   uint32 = 1 << 5
	ActionChangeSender uint32 = 1 << 6
	ActionAddRcptArgs  uint32 = 1 << 7
	ActionSetSymList   uint32 = 1 << 8
	// AllActions are those of protocol version 6, OldActions those of version 2
	// in Sendmail 8.12, which could neither quarantine nor change the sender.
	AllActions uint32 = 0x1ff
	OldActions uint32 = 0x1f
)

// Protocol bits (SMFIP_*).
const (
	NoConnect      uint32 = 1 << 0
	NoHelo         uint32 = 1 << 1
	NoMail         uint32 = 1 << 2
	NoRcpt         uint32 = 1 << 3
	NoBody         uint32 = 1 << 4
	NoHeader       uint32 = 1 << 5
	NoEOH          uint32 = 1 << 6
	NoReplyHeader  uint32 = 1 << 7
	NoUnknown      uint32 = 1 << 8
	NoData         uint32 = 1 << 9
	Skip           uint32 = 1 << 10 // the filter may have had enough of a body
	RejectedRcpt   uint32 = 1 << 11
	NoReplyConnect uint32 = 1 << 12
	NoReplyHelo    uint32 = 1 << 13
	NoReplyMail    uint32 = 1 << 14
	NoReplyRcpt    uint32 = 1 << 15
	NoReplyData    uint32 = 1 << 16
	NoReplyUnknown uint32 = 1 << 17
	NoReplyEOH     uint32 = 1 << 18
	NoReplyBody    uint32 = 1 << 19
	LeadingSpace   uint32 = 1 << 20
	// NoReplies are all flags by which a filter says it will not answer.
	NoReplies = NoReplyHeader | NoReplyConnect | NoReplyHelo | NoReplyMail | NoReplyRcpt | NoReplyData |
		NoReplyUnknown | NoReplyEOH | NoReplyBody
	// NoEvents are all flags by which a filter says that it need not hear of an event.
	NoEvents = NoConnect | NoHelo | NoMail | NoRcpt | NoBody | NoHeader | NoEOH | NoUnknown | NoData
	// AllProtocol are the bits of version 6, OldProtocol those of version 2.
	AllProtocol uint32 = 0x1fffff
	OldProtocol uint32 = 0x7f
)

// Options say what a Session offers and how it behaves.
type Options struct {
	MTA MTA
	// Version, Actions and Protocol are offered; all zero: 6, AllActions, AllProtocol.
	Version, Actions, Protocol uint32
	Hostname                   string        // macro j; default mx.example.org
	DaemonName                 string        // macro {daemon_name}; default smtpd
	Timeout                    time.Duration // for each answer; default 30 s
	// Step is called for each step of a message that Send reports; nil: nothing is.
	Step func(Step)
}

// ErrProtocol is wrapped by errors about answers that do not fit.
var ErrProtocol = errors.New("milter protocol")

// Session is one SMTP connection as the filter sees it. It is not safe for
// concurrent use.
type Session struct {
	// Version, Actions and Protocol are what was agreed.
	Version, Actions, Protocol uint32

	o       Options
	conn    net.Conn
	in      *bufio.Reader
	out     *bufio.Writer
	symbols map[uint32][]string // macros the filter chose, by stage
	buf     []byte
	macros  []byte

	client  Peer
	greeted bool
	queueID string
	rcpts   int
}

// Dial connects to a filter and negotiates.
func Dial(ctx context.Context, network, address string, o Options) (*Session, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s, err := New(conn, o)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// New negotiates on a connection that is there already.
func New(conn net.Conn, o Options) (*Session, error) {
	if o.Version == 0 && o.Actions == 0 && o.Protocol == 0 {
		o.Version, o.Actions, o.Protocol = 6, AllActions, AllProtocol
	}
	if o.Hostname == "" {
		o.Hostname = "mx.example.org"
	}
	if o.DaemonName == "" {
		o.DaemonName = "smtpd"
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	s := &Session{o: o, conn: conn, in: bufio.NewReader(conn), out: bufio.NewWriter(conn)}
	return s, s.negotiate()
}

func (s *Session) negotiate() error {
	offer := binary.BigEndian.AppendUint32(nil, s.o.Version)
	offer = binary.BigEndian.AppendUint32(offer, s.o.Actions)
	offer = binary.BigEndian.AppendUint32(offer, s.o.Protocol)
	s.packet('O', offer)
	code, answer, err := s.read()
	if err != nil {
		return err
	}
	if code != 'O' || len(answer) < 12 {
		return fmt.Errorf("%w: answer %q of %d bytes to the offer", ErrProtocol, code, len(answer))
	}
	s.Version = binary.BigEndian.Uint32(answer)
	s.Actions = binary.BigEndian.Uint32(answer[4:])
	s.Protocol = binary.BigEndian.Uint32(answer[8:])
	switch {
	case s.Version > s.o.Version || s.Version < 2:
		return fmt.Errorf("%w: version %d for %d offered", ErrProtocol, s.Version, s.o.Version)
	case s.Actions&^s.o.Actions != 0:
		return fmt.Errorf("%w: actions %#x beyond the offered %#x", ErrProtocol, s.Actions, s.o.Actions)
	case s.Protocol&^s.o.Protocol != 0:
		return fmt.Errorf("%w: protocol %#x beyond the offered %#x", ErrProtocol, s.Protocol, s.o.Protocol)
	}
	return s.readSymbols(answer[12:])
}

// readSymbols reads the macros a filter wants: stage, names separated by
// spaces, NUL, and again.
func (s *Session) readSymbols(list []byte) error {
	if len(list) > 0 && s.Actions&ActionSetSymList == 0 {
		return fmt.Errorf("%w: a list of macros that was not agreed", ErrProtocol)
	}
	s.symbols = make(map[uint32][]string)
	for len(list) > 0 {
		end := slices.Index(list[min(4, len(list)):], 0)
		if end < 0 {
			return fmt.Errorf("%w: a list of macros without its end", ErrProtocol)
		}
		s.symbols[binary.BigEndian.Uint32(list)] = strings.Fields(string(list[4 : 4+end]))
		list = list[4+end+1:]
	}
	return nil
}

// packet queues a packet; it is sent when an answer is waited for, or when the
// buffer is full, as Postfix does.
func (s *Session) packet(code byte, parts ...[]byte) {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	var head [5]byte
	binary.BigEndian.PutUint32(head[:], uint32(n))
	head[4] = code
	_, _ = s.out.Write(head[:]) // an error stays with the writer until Flush
	for _, p := range parts {
		_, _ = s.out.Write(p)
	}
}

// read sends what is queued and waits for a packet. The payload is valid until
// the next call.
func (s *Session) read() (byte, []byte, error) {
	_ = s.conn.SetDeadline(time.Now().Add(s.o.Timeout))
	if err := s.out.Flush(); err != nil {
		return 0, nil, err
	}
	var head [5]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > 1<<20 {
		return 0, nil, fmt.Errorf("%w: an answer of %d bytes", ErrProtocol, n)
	}
	if int(n-1) > cap(s.buf) {
		s.buf = make([]byte, n-1)
	}
	s.buf = s.buf[:n-1]
	if _, err := io.ReadFull(s.in, s.buf); err != nil {
		return 0, nil, err
	}
	return head[4], s.buf, nil
}

// Flush sends what is queued.
func (s *Session) Flush() error {
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.o.Timeout))
	return s.out.Flush()
}

// Macros are those the filter asked for, by stage; a stage it did not name is missing.
func (s *Session) Macros() map[string][]string {
	chosen := map[string][]string{}
	for stage, names := range s.symbols {
		chosen[stageName(stage)] = names
	}
	return chosen
}

// Conn is the connection, for tests that break it.
func (s *Session) Conn() net.Conn { return s.conn }

// Quit ends the session as the MTA would, and closes the connection.
func (s *Session) Quit() error {
	if s.o.MTA == Postfix {
		s.packet('A')
	}
	s.packet('Q')
	err := s.Flush()
	if s.in.Buffered() > 0 {
		err = errors.Join(err, fmt.Errorf("%w: an answer nobody asked for", ErrProtocol))
	}
	return errors.Join(err, s.conn.Close())
}

// Close closes the connection without a word.
func (s *Session) Close() error { return s.conn.Close() }
