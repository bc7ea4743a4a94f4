package milter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	gomilter "github.com/emersion/go-milter"

	"dkimd/internal/message"
)

// codeUnknown carries an SMTP command the MTA does not know (SMFIC_UNKNOWN);
// go-milter has no name for it.
const codeUnknown gomilter.Code = 'U'

const (
	// maxAddress is the longest envelope address taken: longer than an SMTP
	// command line of Postfix or Sendmail can be.
	maxAddress = 4096
	// maxName is what is kept of host names.
	maxName = 1024
)

var (
	errOutside      = errors.New("a packet of a message where there is no message")
	errLateEnvelope = errors.New("a recipient after the header began")
	errLateHeader   = errors.New("a header field after the end of the header")
	errBadField     = errors.New("a malformed header field")
	errBadAddress   = errors.New("a malformed envelope address")
	errNoAddress    = errors.New("an empty envelope address")
	errBadMacros    = errors.New("malformed macros")
	errBadConnect   = errors.New("a malformed connect packet")
)

// step reads one packet. What go-milter has to answer is forwarded to it without
// its payload, which is kept here: go-milter would cut or lose parts of it. The
// rest is handled here: go-milter collects the macros and header fields of all
// messages of a connection, knows neither U nor K, drops data in an
// end-of-body packet, and answers DATA even where no answer may be sent.
func (s *session) step() error {
	if err := s.markIdle(); err != nil {
		return err
	}
	command, err := s.wire.next()
	if err != nil {
		return err
	}
	code := gomilter.Code(command)
	if code == gomilter.CodeBody || code == gomilter.CodeEOB {
		if err := s.wire.stream(s.body); err != nil {
			return err
		}
		if code == gomilter.CodeEOB {
			s.forward(code, nil)
		} else {
			s.acknowledge(gomilter.OptNoBodyReply)
		}
		return nil
	}
	payload, err := s.wire.payload()
	switch {
	case errors.Is(err, errNoMemory) && code == gomilter.CodeHeader && s.current != nil:
		s.current.held.Exceed() // the message is deferred at its end
		s.acknowledge(gomilter.OptNoHeaderReply)
		return nil
	case err != nil:
		return err
	}
	defer s.wire.shrink()
	return s.handle(code, payload)
}

// handle takes one packet whose payload is complete.
func (s *session) handle(code gomilter.Code, payload []byte) error {
	switch code {
	case gomilter.CodeMacro:
		if !s.macros.define(payload) {
			s.outOfOrder(errBadMacros)
		}
	case gomilter.CodeConn:
		return s.connected(payload)
	case gomilter.CodeHelo:
		s.helo = truncate(cString(payload), maxName)
		s.forward(code, nil)
	case gomilter.CodeMail:
		if err := s.markBusy(); err != nil {
			return err
		}
		s.address, s.addressErr = readAddress(payload)
		if errors.Is(s.addressErr, errNoAddress) {
			// Postfix has no brackets around the null sender of its own bounces.
			s.addressErr = nil
		}
		s.forward(code, nil)
	case gomilter.CodeRcpt:
		s.address, s.addressErr = readAddress(payload)
		s.forward(code, nil)
	case gomilter.CodeData:
		s.acknowledge(gomilter.OptNoDataReply)
	case gomilter.CodeHeader:
		s.field(payload)
		s.acknowledge(gomilter.OptNoHeaderReply)
	case gomilter.CodeEOH:
		s.forward(code, nil)
	case codeUnknown:
		s.acknowledge(gomilter.OptNoUnknownReply)
	case gomilter.CodeAbort:
		s.abandon("the MTA aborted the message")
	case gomilter.CodeQuitNewConn:
		s.abandon(errQuit.Error())
		s.macros.endConnection()
		s.client, s.helo = message.Client{}, ""
	case gomilter.CodeQuit:
		return errQuit
	case gomilter.CodeOptNeg:
		return errors.New("a second option negotiation")
	case gomilter.CodeBody, gomilter.CodeEOB: // read by step
		fallthrough
	default:
		// It is not known whether it wants an answer.
		return fmt.Errorf("an unknown packet %q", byte(code))
	}
	return nil
}

// acknowledge says "continue", unless it was agreed that this goes without saying.
func (s *session) acknowledge(unless gomilter.OptProtocol) {
	if s.grant.protocol&unless == 0 {
		_, _ = s.wire.Write([]byte{0, 0, 0, 1, byte(gomilter.ActContinue)})
	}
}

// connected reads who the SMTP client is: host name, NUL, family, then, but for
// an unknown family, port and address.
func (s *session) connected(payload []byte) error {
	host, rest, ok := bytes.Cut(payload, []byte{0})
	if !ok || len(rest) == 0 {
		return errBadConnect
	}
	s.abandon("the MTA reported another client")
	s.macros.startConnection()
	s.helo = ""
	s.client = readClient(truncate(string(host), maxName), gomilter.ProtoFamily(rest[0]), rest[1:])
	s.forward(gomilter.CodeConn, []byte{0, byte(gomilter.FamilyUnknown)})
	return nil
}

// readClient tells a client without an address, which is local, from one whose address
// is unreadable, which is trusted with nothing.
func readClient(host string, family gomilter.ProtoFamily, rest []byte) message.Client {
	unreadable := message.Client{Kind: message.ClientUnreadable, Name: host}
	switch family {
	case gomilter.FamilyUnix:
		return message.NewClient(host, "")
	case gomilter.FamilyUnknown:
		// Sendmail reports local mail so, as localhost. Postfix reports so a client
		// whose address was withheld (XCLIENT), as unknown: that one is not local.
		if len(bytes.Trim(rest, "\x00")) == 0 && !strings.EqualFold(host, "unknown") {
			return message.NewClient(host, "")
		}
	case gomilter.FamilyInet, gomilter.FamilyInet6:
		if len(rest) < 2 {
			return unreadable
		}
		if address := cString(rest[2:]); address != "" && len(address) <= maxName {
			return message.NewClient(host, address)
		}
	}
	return unreadable
}

// readAddress reads the address of a MAIL or RCPT packet: an address in angle
// brackets, which its ESMTP parameters follow.
func readAddress(payload []byte) (string, error) {
	address, _, ok := bytes.Cut(payload, []byte{0})
	switch {
	case !ok || len(address) > maxAddress:
		return "", errBadAddress
	case len(address) == 0:
		return "", errNoAddress
	}
	if len(address) >= 2 && address[0] == '<' && address[len(address)-1] == '>' {
		address = address[1 : len(address)-1]
	}
	return string(address), nil
}

// field takes a header field: name, NUL, value, NUL.
func (s *session) field(payload []byte) {
	switch cur := s.current; {
	case cur == nil:
		s.outOfOrder(errOutside)
	case cur.phase == phaseBody:
		s.giveUp(errLateHeader)
	default:
		name, value, ok := s.splitField(payload)
		if !ok {
			s.giveUp(errBadField)
			return
		}
		if cur.phase == phaseEnvelope {
			cur.phase = phaseHeader
			s.complete(cur)
		}
		s.call("header", func(m Message) { m.Header(name, value) })
	}
}

// splitField gives the value its leading space. An MTA that was not asked to
// keep it has cut exactly one space, wherever there was one.
func (s *session) splitField(payload []byte) (name, value string, ok bool) {
	// One string for both: there are many fields.
	name, value, ok = strings.Cut(string(payload), "\x00")
	if !ok || !isFieldName(name) {
		return "", "", false
	}
	// A NUL inside the value stays, it was part of the message.
	value, ended := strings.CutSuffix(value, "\x00")
	if !ended {
		return "", "", false
	}
	if s.grant.protocol&gomilter.OptHeaderLeadingSpace == 0 {
		value = " " + value
	}
	return name, value, true
}

// isFieldName is wider than RFC 5322 section 3.6.8, as MTAs are: what is left
// out could end the name or the field for a program that reads the message later.
func isFieldName(name string) bool {
	for _, c := range []byte(name) {
		if c < ' ' && c != '\t' || c == ':' || c == 0x7f {
			return false
		}
	}
	return strings.TrimSpace(name) != ""
}

// body takes a piece of the body.
func (s *session) body(p []byte) {
	cur := s.current
	if cur == nil {
		s.outOfOrder(errOutside)
		return
	}
	if cur.phase != phaseBody {
		s.endOfHeader()
	}
	s.call("body", func(m Message) { m.Body(p) })
}

// cString is what stands before the first NUL.
func cString(payload []byte) string {
	before, _, _ := bytes.Cut(payload, []byte{0})
	return string(before)
}

func truncate(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}
