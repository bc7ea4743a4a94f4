package resolver

import (
	"context"
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

// errForged: too many packets that are no answer came to our socket.
var errForged = errors.New("forged answers")

// exchange sends a query to one server and waits for the answer to it until ctx
// ends. The socket is connected and new, so its port is random and other
// sources are not heard (RFC 5452 sections 4.5 and 9.1).
func (r *Resolver) exchange(ctx context.Context, network, address string, query *dns.Msg) (reply, error) {
	packed, err := query.Pack()
	if err != nil {
		return reply{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	conn, err := r.dial(ctx, network, address)
	if err != nil {
		return reply{}, cause(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is lost: we have the answer or no use for it
	defer unblock(ctx, conn)()

	question := question{id: query.Id, name: query.Question[0].Name}
	if network == "tcp" {
		return askStream(conn, packed, question)
	}
	return askPacket(conn, packed, question)
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

// askPacket waits for the answer among whatever packets come.
func askPacket(conn net.Conn, query []byte, q question) (reply, error) {
	if _, err := conn.Write(query); err != nil {
		return reply{}, cause(err)
	}
	buffer := make([]byte, maxUDP+1)
	for range maxStrangers {
		n, err := conn.Read(buffer)
		if err != nil {
			return reply{}, cause(err)
		}
		if !q.answeredBy(buffer[:n]) {
			continue
		}
		if n > maxUDP {
			return reply{}, ErrMalformed
		}
		return parseReply(buffer[:n], q.name)
	}
	return reply{}, errForged
}

// askStream asks over TCP (RFC 1035 section 4.2.2). What comes is from the
// server, so what is no answer is a fault of the server.
func askStream(conn net.Conn, query []byte, q question) (reply, error) {
	if len(query) > dns.MaxMsgSize {
		return reply{}, ErrMalformed
	}
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(query))) //nolint:gosec // checked above
	if _, err := conn.Write(append(framed, query...)); err != nil {
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
	rep, err := parseReply(message, q.name)
	if err == nil && rep.truncated {
		return reply{}, ErrMalformed
	}
	return rep, err
}
