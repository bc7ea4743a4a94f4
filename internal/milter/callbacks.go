package milter

import (
	"net"
	"net/textproto"

	gomilter "github.com/emersion/go-milter"
)

// callbacks are what go-milter calls for the packets it is shown. They never
// return an error, which would close the connection without an answer, and never
// RespAccept, which would end dkimd's view of the SMTP connection.
type callbacks struct{ s *session }

var _ gomilter.Milter = callbacks{}

// proceed answers "continue", or not at all where the MTA does not wait for it:
// any answer there would be read as the one to the next event.
func (c callbacks) proceed(unless gomilter.OptProtocol) (gomilter.Response, error) {
	if c.s.grant.protocol&unless != 0 {
		return nil, nil
	}
	return gomilter.RespContinue, nil
}

func (c callbacks) Connect(string, string, uint16, net.IP, *gomilter.Modifier) (gomilter.Response, error) {
	return c.proceed(gomilter.OptNoConnReply)
}

func (c callbacks) Helo(string, *gomilter.Modifier) (gomilter.Response, error) {
	return c.proceed(gomilter.OptNoHeloReply)
}

func (c callbacks) MailFrom(string, *gomilter.Modifier) (gomilter.Response, error) {
	c.s.begin()
	return c.proceed(gomilter.OptNoMailReply)
}

func (c callbacks) RcptTo(string, *gomilter.Modifier) (gomilter.Response, error) {
	c.s.recipient()
	return c.proceed(gomilter.OptNoRcptReply)
}

// Header is never called: fields are not shown to go-milter.
func (c callbacks) Header(string, string, *gomilter.Modifier) (gomilter.Response, error) {
	return c.proceed(gomilter.OptNoHeaderReply)
}

// Headers is the end of the header.
func (c callbacks) Headers(textproto.MIMEHeader, *gomilter.Modifier) (gomilter.Response, error) {
	c.s.endOfHeader()
	return c.proceed(gomilter.OptNoEOHReply)
}

// BodyChunk is never called: bodies are not shown to go-milter.
func (c callbacks) BodyChunk([]byte, *gomilter.Modifier) (gomilter.Response, error) {
	return c.proceed(gomilter.OptNoBodyReply)
}

// Body is the end of the message.
func (c callbacks) Body(m *gomilter.Modifier) (response gomilter.Response, err error) {
	outcome, ok := c.s.finish()
	if !ok {
		return gomilter.RespTempFail, nil
	}
	if !c.s.protect("answer", func() { response = c.s.answer(m, outcome) }) {
		return gomilter.RespTempFail, nil
	}
	return response, nil
}

// Abort is never called: aborts are not shown to go-milter.
func (c callbacks) Abort(*gomilter.Modifier) error { return nil }
