package client

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxChunk is the largest body packet of both MTAs (MILTER_CHUNK_SIZE).
const maxChunk = 65535

// Stages of macro lists (SMFIM_*).
const (
	stageConnect uint32 = iota
	stageHelo
	stageMail
	stageRcpt
	stageData
	stageEOM
	stageEOH
)

func stageName(stage uint32) string {
	names := [...]string{"connect", "helo", "mail", "rcpt", "data", "end of message", "end of header"}
	if int(stage) < len(names) {
		return names[stage]
	}
	return "stage " + strconv.FormatUint(uint64(stage), 10)
}

// Connect reports a client.
func (s *Session) Connect(p Peer) (Result, error) {
	s.client = p
	if s.Protocol&NoConnect != 0 {
		return Result{Action: Continue}, nil
	}
	text := s.addressText(p)
	client := p.Name + " [" + text + "]"
	if s.o.MTA == Sendmail {
		s.sendMacros('C', stageConnect, "j", s.o.Hostname, "_", client, "{daemon_name}", s.o.DaemonName, "{if_name}", "localhost")
	} else {
		s.sendMacros('C', stageConnect,
			"j", s.o.Hostname, "{daemon_name}", s.o.DaemonName, "{daemon_addr}", "127.0.0.1", "v", "Postfix 3.7.11", "_", client)
	}
	family := byte('U')
	var rest []byte
	if p.Addr.IsValid() || p.Address != "" {
		family = '4'
		if p.Addr.Is6() {
			family = '6'
		}
		rest = binary.BigEndian.AppendUint16(nil, p.Port)
		rest = append(append(rest, text...), 0)
	}
	s.packet('C', []byte(p.Name), []byte{0, family}, rest)
	return s.answer(NoReplyConnect)
}

// Helo reports a HELO or EHLO command.
func (s *Session) Helo(name string) (Result, error) {
	s.greeted = true
	if s.Protocol&NoHelo != 0 {
		return Result{Action: Continue}, nil
	}
	if s.o.MTA == Sendmail {
		s.sendMacros('H', stageHelo) // those are about TLS
	}
	s.packet('H', []byte(name), []byte{0})
	return s.answer(NoReplyHelo)
}

// Mail reports a MAIL command: the address without brackets, and its ESMTP
// parameters. Macros are pairs of names and values, sent in addition to the MTA's own.
func (s *Session) Mail(sender string, parameters []string, macros ...string) (Result, error) {
	s.rcpts = 0
	if s.Protocol&NoMail != 0 {
		return Result{Action: Continue}, nil
	}
	own := []string{"{mail_addr}", sender, "{mail_mailer}", "esmtp"}
	if s.o.MTA == Sendmail {
		own = []string{"i", s.queueID}
		macros = append(macros, "{mail_mailer}", "esmtp", "{mail_host}", hostOf(sender), "{mail_addr}", sender)
	}
	s.sendMacros('M', stageMail, append(own, macros...)...)
	s.packet('M', addressArgs(sender, parameters))
	return s.answer(NoReplyMail)
}

// Rcpt reports a RCPT command.
func (s *Session) Rcpt(recipient string, parameters ...string) (Result, error) {
	if s.Protocol&NoRcpt != 0 {
		return Result{Action: Continue}, nil
	}
	own := []string{"{rcpt_addr}", recipient, "{rcpt_mailer}", "local"}
	switch {
	case s.o.MTA == Sendmail:
		own = []string{"{rcpt_mailer}", "esmtp", "{rcpt_host}", hostOf(recipient), "{rcpt_addr}", recipient}
	case s.rcpts > 0:
		own = append(own, "i", s.queueID)
	}
	s.rcpts++
	s.sendMacros('R', stageRcpt, own...)
	s.packet('R', addressArgs(recipient, parameters))
	return s.answer(NoReplyRcpt)
}

func addressArgs(address string, parameters []string) []byte {
	args := []byte("<" + address + ">\x00")
	for _, p := range parameters {
		args = append(append(args, p...), 0)
	}
	return args
}

// Data reports a DATA command.
func (s *Session) Data() (Result, error) {
	if s.Protocol&NoData != 0 {
		return Result{Action: Continue}, nil
	}
	s.sendMacros('T', stageData, s.postfixID()...)
	s.packet('T')
	return s.answer(NoReplyData)
}

// Header reports a field. The value is all that follows the colon.
func (s *Session) Header(name, value string) (Result, error) {
	if s.Protocol&NoHeader != 0 {
		return Result{Action: Continue}, nil
	}
	// Both MTAs drop white space before the colon and CR before LF.
	name = strings.TrimRight(name, " \t")
	if strings.IndexByte(value, '\r') >= 0 {
		value = strings.ReplaceAll(value, "\r\n", "\n")
	}
	if s.Protocol&LeadingSpace == 0 {
		value = strings.TrimPrefix(value, " ")
	}
	if s.o.MTA == Postfix {
		// This one comes from the list for the end of the message.
		s.sendMacros('L', stageEOM, "i", s.queueID)
	}
	s.buf = append(append(append(append(s.buf[:0], name...), 0), value...), 0)
	s.packet('L', s.buf)
	return s.answer(NoReplyHeader)
}

// EndOfHeader reports the end of the header.
func (s *Session) EndOfHeader() (Result, error) {
	if s.Protocol&NoEOH != 0 {
		return Result{Action: Continue}, nil
	}
	s.sendMacros('N', stageEOH, s.postfixID()...)
	s.packet('N')
	return s.answer(NoReplyEOH)
}

// Body reports a piece of the body, in packets of at most 65535 bytes, until the
// filter has had enough of it.
func (s *Session) Body(p []byte) (Result, error) {
	if s.Protocol&NoBody != 0 {
		return Result{Action: Continue}, nil
	}
	for chunk := range slices.Chunk(p, maxChunk) {
		if s.o.MTA == Postfix {
			s.sendMacros('B', stageEOM, "i", s.queueID)
		}
		s.packet('B', chunk)
		switch r, err := s.answer(NoReplyBody, codeSkip); {
		case err == nil && r.Action == skipped:
			return Result{Action: Continue}, nil
		case err != nil || r.Action != Continue:
			return r, err
		}
	}
	return Result{Action: Continue}, nil
}

// Unknown reports an SMTP command the MTA does not know.
func (s *Session) Unknown(command string) (Result, error) {
	if s.Protocol&NoUnknown != 0 {
		return Result{Action: Continue}, nil
	}
	s.packet('U', []byte(command), []byte{0})
	return s.answer(NoReplyUnknown)
}

// EndOfMessage reports the end of the body, with a last piece of it if the MTA
// were one that puts it there, and returns the filter's verdict.
func (s *Session) EndOfMessage(last ...byte) (Result, error) {
	if s.o.MTA == Postfix {
		s.sendMacros('E', stageEOM, "i", s.queueID)
	} else {
		s.sendMacros('E', stageEOM, "{msg_id}", "<1@example.org>")
	}
	s.packet('E', last)
	return s.verdict()
}

// Abort ends the message without a verdict.
func (s *Session) Abort() error {
	s.packet('A')
	return s.Flush()
}

// NewConnection ends the SMTP connection but keeps the one to the filter
// (SMFIC_QUIT_NC).
func (s *Session) NewConnection() error {
	s.client, s.greeted = Peer{}, false
	s.packet('K')
	return s.Flush()
}

// answer reads the answer to an event, unless none was agreed. It may be one of
// those that only this event has.
func (s *Session) answer(unless uint32, also ...byte) (Result, error) {
	if s.Protocol&unless != 0 {
		if s.in.Buffered() > 0 {
			return Result{}, fmt.Errorf("%w: an answer nobody asked for", ErrProtocol)
		}
		return Result{Action: Continue}, nil
	}
	for {
		code, payload, err := s.read()
		if err != nil {
			return Result{}, err
		}
		if code == codeProgress {
			continue
		}
		if slices.Contains(also, code) && s.Protocol&Skip != 0 && len(payload) == 0 {
			return Result{Action: skipped}, nil
		}
		return readAnswer(code, payload)
	}
}

// postfixID is the queue id as Postfix has it at every stage; Sendmail tells it
// with MAIL, and elsewhere only a filter that asks for it.
func (s *Session) postfixID() []string {
	if s.o.MTA == Sendmail {
		return nil
	}
	return []string{"i", s.queueID}
}

// sendMacros sends pairs of names and values ahead of an event. What the filter
// chose for the stage replaces the MTA's choice; values it has not are not sent.
func (s *Session) sendMacros(event byte, stage uint32, pairs ...string) {
	chosen, choice := s.symbols[stage]
	if s.o.MTA == Sendmail && stage > stageMail && slices.Contains(chosen, "i") {
		pairs = append([]string{"i", s.queueID}, pairs...)
	}
	s.macros = append(s.macros[:0], event)
	for i := 0; i+1 < len(pairs); i += 2 {
		name, value := pairs[i], pairs[i+1]
		if value == "" || choice && !slices.Contains(chosen, name) {
			continue
		}
		s.macros = append(append(append(append(s.macros, name...), 0), value...), 0)
	}
	// Sendmail says that it has none only where it has a list: it has one for HELO.
	if len(s.macros) == 1 && s.o.MTA == Sendmail && event != 'H' {
		return
	}
	s.packet('D', s.macros)
}

// Raw queues any packet at all, for tests.
func (s *Session) Raw(code byte, payload []byte) { s.packet(code, bytes.Clone(payload)) }
