package resolver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is the UDP answer we ask for: what passes unfragmented, so that no
	// forged fragment gets in (DNS flag day 2020).
	udpSize = 1232
	// maxUDP is the UDP answer we take from servers that do not care.
	maxUDP = 4096
	// maxStrangers is how many packets that are no answer to our query we let
	// pass before we ask over TCP: somebody has found the port and guesses ids
	// (RFC 5452 section 9.2). A few may be late or broken answers.
	maxStrangers = 16
)

var (
	// errForged: too many packets that are no answer came to our socket.
	errForged = errors.New("forged answers")
	// errFolded: what came would be the answer, but for the case of the name in its question.
	errFolded = errors.New("answer to the name in another case")
)

// query is a question as it goes out.
type query struct {
	question
	extended []byte // with EDNS0
	plain    []byte // without, and else the same
}

// newQuery is a query with a random id (RFC 5452 section 4.3) and, where mixed, a
// name in random case: an answer that repeats both has seen it. AD asks for the AD
// bit in the answer (RFC 6840 section 5.7).
func newQuery(set rrset, mixed bool) (q query, err error) {
	msg := new(dns.Msg).SetQuestion(set.name+".", uint16(set.rrtype))
	msg.AuthenticatedData = true
	q.question = question{id: msg.Id, name: msg.Question[0].Name, rrtype: set.rrtype}
	if mixed {
		msg.Question[0].Name = mixCase(msg.Question[0].Name)
	}
	if q.plain, err = msg.Pack(); err != nil {
		return query{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if mixed {
		q.sent = q.plain[headerSize : len(q.plain)-questionTail]
	}
	if q.extended, err = msg.SetEdns0(udpSize, false).Pack(); err != nil {
		return query{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return q, nil
}

// mixCase turns half of the letters of a name in lower case into capitals.
func mixCase(name string) string {
	mixed, coins := []byte(name), make([]byte, len(name))
	_, _ = rand.Read(coins) // it never fails
	for i, c := range mixed {
		if 'a' <= c && c <= 'z' && coins[i]&1 == 0 {
			mixed[i] = c - 'a' + 'A'
		}
	}
	return string(mixed)
}

// manner is how a server is asked.
type manner struct {
	network string // udp or tcp
	edns    bool
	mixed   bool          // the case of the name is random
	repeats int           // how many packets go out over UDP, and at last one without EDNS0
	pause   time.Duration // before the next packet goes out
}

// exchange asks one server and waits for the answer until ctx ends. The socket is
// connected and new, so its port is random and other sources are not heard (RFC
// 5452 sections 4.5 and 9.1).
func (r *Resolver) exchange(ctx context.Context, address string, set rrset, how manner) (reply, error) {
	q, err := newQuery(set, how.mixed)
	if err != nil {
		return reply{}, err
	}
	conn, err := r.dial(ctx, how.network, address)
	if err != nil {
		return reply{}, cause(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is lost: we have the answer or no use for it
	defer unblock(ctx, conn)()

	if how.network == "tcp" {
		return askStream(conn, q, how)
	}
	return askPacket(ctx, conn, q, how)
}

// unblock ends reads and writes on a socket when ctx ends. The function it
// returns ends that, and leaves nothing running.
func unblock(ctx context.Context, conn net.Conn) func() {
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(over)
		// An error means that the socket is closed: nothing blocks then.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-over
		}
	}
}

// askPacket sends packets until an answer comes among whatever comes.
func askPacket(ctx context.Context, conn net.Conn, q query, how manner) (reply, error) {
	listener := listener{conn: conn, buffer: make([]byte, maxUDP+1)}
	for sent := 1; ; sent++ {
		packet, last := q.plain, sent == how.repeats
		if how.edns {
			last = sent > how.repeats
			if !last {
				packet = q.extended
			}
		}
		if _, err := conn.Write(packet); err != nil {
			return reply{}, cause(err)
		}
		until := time.Now().Add(how.pause)
		if last {
			until = time.Time{} // ctx ends it
		}
		_ = conn.SetReadDeadline(until)
		if ctx.Err() != nil { // it may have ended before that deadline was set
			return reply{}, ErrTimeout
		}
		rep, err := listener.answer(q.question)
		if errors.Is(err, ErrTimeout) && !last && ctx.Err() == nil {
			continue
		}
		rep.without = how.edns && last && !rep.extended
		return rep, err
	}
}

// listener hears what comes to a UDP socket.
type listener struct {
	conn      net.Conn
	buffer    []byte
	strangers int // packets that are no answer
}

// answer waits for the answer.
func (l *listener) answer(q question) (reply, error) {
	for l.strangers < maxStrangers {
		n, err := l.conn.Read(l.buffer)
		if err != nil {
			return reply{}, cause(err)
		}
		packet := l.buffer[:n]
		switch {
		case !q.answeredBy(packet):
			l.strangers++
		case n > maxUDP:
			return reply{}, ErrMalformed
		case q.foldedIn(packet):
			return reply{}, errFolded
		default:
			return parseReply(packet, q)
		}
	}
	return reply{}, errForged
}

// askStream asks over TCP (RFC 1035 section 4.2.2). What comes is from the
// server, so what is no answer is a fault of the server.
func askStream(conn net.Conn, q query, how manner) (reply, error) {
	packet := q.plain
	if how.edns {
		packet = q.extended
	}
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(packet))) //nolint:gosec // a name has 255 octets
	if _, err := conn.Write(append(framed, packet...)); err != nil {
		return reply{}, cause(err)
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return reply{}, cause(err)
	}
	// Memory grows with what comes, not with what is announced.
	announced := int(binary.BigEndian.Uint16(length[:]))
	message, err := io.ReadAll(io.LimitReader(conn, int64(announced)))
	if err != nil {
		return reply{}, cause(err)
	}
	if len(message) < announced {
		return reply{}, cause(io.ErrUnexpectedEOF)
	}
	if !q.answeredBy(message) {
		return reply{}, ErrMalformed
	}
	rep, err := parseReply(message, q.question)
	if err == nil && rep.truncated {
		return reply{}, ErrMalformed
	}
	rep.folded = q.foldedIn(message)
	return rep, err
}

// foldedIn reports whether an answer repeats the name in another case than it was sent.
func (q question) foldedIn(answer []byte) bool {
	return q.sent != nil && binary.BigEndian.Uint16(answer[4:]) == 1 && !bytes.HasPrefix(answer[headerSize:], q.sent)
}
