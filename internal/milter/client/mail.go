package client

import (
	"bytes"
	"cmp"
	"context"
	"strconv"
	"time"
)

// Mail is a message with its envelope.
type Mail struct {
	Peer       Peer
	Helo       string
	Sender     string // without brackets; empty: the null sender
	Recipients []string
	Parameters []string // ESMTP parameters of MAIL
	AuthType   string   // {auth_type}; empty: not authenticated
	AuthUser   string   // {auth_authen}
	QueueID    string
	// Raw is the message as it comes after DATA, with CRLF line ends.
	Raw []byte
}

// Send reports a whole message and returns the first answer that is not
// "continue", or the one at its end. The client is reported with the first
// message of a session, and again when it is another one.
func (s *Session) Send(ctx context.Context, m Mail) (Result, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	r, err := s.send(m)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return r, err
}

func (s *Session) send(m Mail) (Result, error) {
	r, err := s.introduce(m)
	if err != nil || r.Action != Continue {
		return r, err
	}
	r, ended, err := s.transaction(m)
	if err == nil && (s.o.MTA == Postfix || !ended) {
		// Sent together with what comes next.
		s.packet('A')
	}
	return r, err
}

// transaction reports all of a message from MAIL on, and whether the filter saw its end.
func (s *Session) transaction(m Mail) (r Result, ended bool, err error) {
	fields, body := split(m.Raw)
	s.queueID = m.QueueID
	r, err = s.step("mail", "<"+m.Sender+">", NoMail, NoReplyMail, func() (Result, error) {
		return s.Mail(m.Sender, m.Parameters, "{auth_type}", m.AuthType, "{auth_authen}", m.AuthUser)
	})
	if err != nil || r.Action != Continue {
		return r, false, err
	}
	for _, to := range m.Recipients {
		r, err = s.step("rcpt", "<"+to+">", NoRcpt, NoReplyRcpt, func() (Result, error) { return s.Rcpt(to) })
		if err != nil || r.Action != Continue {
			return r, false, err
		}
	}
	for _, next := range []struct {
		name, detail string
		no, noReply  uint32
		do           func() (Result, error)
	}{
		{"data", "", NoData, NoReplyData, s.Data},
		{"header", count(len(fields), "field"), NoHeader, NoReplyHeader, func() (Result, error) { return s.header(fields) }},
		{"end of header", "", NoEOH, NoReplyEOH, s.EndOfHeader},
		{"body", count(len(body), "byte"), NoBody, NoReplyBody, func() (Result, error) { return s.Body(body) }},
	} {
		if r, err = s.step(next.name, next.detail, next.no, next.noReply, next.do); err != nil || r.Action != Continue {
			return r, false, err
		}
	}
	r, err = s.step("end of message", "", 0, 0, func() (Result, error) { return s.EndOfMessage() })
	return r, true, err
}

func (s *Session) header(fields []field) (Result, error) {
	for _, f := range fields {
		if r, err := s.Header(f.name, f.value); err != nil || r.Action != Continue {
			return r, err
		}
	}
	return Result{Action: Continue}, nil
}

func (s *Session) introduce(m Mail) (Result, error) {
	if s.greeted && s.client == m.Peer {
		return Result{Action: Continue}, nil
	}
	if s.greeted {
		if err := s.NewConnection(); err != nil {
			return Result{}, err
		}
	}
	address := "no address"
	if m.Peer.Addr.IsValid() || m.Peer.Address != "" {
		address = "[" + cmp.Or(m.Peer.Address, m.Peer.Addr.String()) + "]"
	}
	r, err := s.step("connect", m.Peer.Name+" "+address, NoConnect, NoReplyConnect, func() (Result, error) { return s.Connect(m.Peer) })
	if err != nil || r.Action != Continue {
		return r, err
	}
	helo := m.Helo
	if helo == "" {
		helo = "client.example.net"
	}
	return s.step("helo", helo, NoHelo, NoReplyHelo, func() (Result, error) { return s.Helo(helo) })
}

// field is a header field; the value is all that follows the colon, without
// the final line end.
type field struct{ name, value string }

// split separates a message into its fields and its body.
func split(raw []byte) ([]field, []byte) {
	var fields []field
	for len(raw) > 0 {
		line, rest, _ := bytes.Cut(raw, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			return fields, rest
		}
		if (line[0] == ' ' || line[0] == '\t') && len(fields) > 0 {
			last := &fields[len(fields)-1]
			last.value += "\r\n" + string(line)
			raw = rest
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			// No field: for an MTA the body begins here.
			return fields, raw
		}
		fields = append(fields, field{string(name), string(value)})
		raw = rest
	}
	return fields, nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
