package exim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"dkimd/internal/exim/filter"
	"dkimd/internal/pipeline"
	"dkimd/internal/safetext"
	"dkimd/internal/smtpreply"
	"dkimd/internal/socket"
)

// maxRawHeader is where Exim cuts $message_headers_raw, without a word.
const maxRawHeader = 65536

// exchange is one connection: a request and its answer.
type exchange struct {
	server *Server
	ctx    context.Context // ends when the connection is closed by force
	wire   *wire
	msg    Message
	id     string
	conn   *socket.Conn // idle until the first byte has come
}

func newExchange(ctx context.Context, s *Server, conn *socket.Conn) *exchange {
	return &exchange{server: s, ctx: ctx, conn: conn, wire: newWire(conn, s.cfg)}
}

// Serve serves the connection. Whatever goes wrong, Exim gets no answer, and
// takes that for "try later".
func (x *exchange) Serve(done func()) {
	defer done()
	defer x.wire.release()
	err := x.guarded(x.serve)
	if err == nil {
		return
	}
	level := slog.LevelWarn
	if errors.Is(err, errSilent) || errors.Is(err, errStopping) {
		level = slog.LevelDebug
	}
	if errors.Is(err, errNoMemory) {
		x.wire.held.Deferred()
	}
	x.log(level, "request of Exim not answered", "reason", err.Error())
	if x.msg != nil {
		_ = x.guarded(func() error { x.msg.Abort(err.Error()); return nil })
	}
}

// guarded turns a panic into an error of this request alone.
func (x *exchange) guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			x.log(slog.LevelError, "panic in the Exim front door", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return f()
}

func (x *exchange) log(level slog.Level, text string, args ...any) {
	args = append(args, "local", socket.Local(x.wire.conn), "peer", x.wire.conn.RemoteAddr().String())
	if x.id != "" {
		args = append(args, "queue_id", x.id)
	}
	x.server.cfg.Logger.Log(x.ctx, level, text, args...) //nolint:sloglint // all callers pass constants
}

func (x *exchange) serve() error {
	if _, err := x.wire.in.Peek(1); err != nil {
		return x.wire.readError(err)
	}
	if !x.conn.Busy() {
		return errStopping
	}
	req, err := readRequest(x.wire)
	if err != nil {
		return err
	}
	if req.dialect == dialectPing {
		return x.reply("PONG\n")
	}
	x.id = req.env.QueueID
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	x.msg = x.server.cfg.Begin(req.env)
	m := newMail(ctx, x.msg, req)
	switch req.dialect {
	case dialectCheck:
		// Exim keeps its side open: the length alone says where the end is.
		if err = x.wire.readN(req.length, m.write); err == nil {
			err = x.wire.rejectExtra()
		}
	case dialectSign:
		if err = x.wire.readN(req.length, m.write); err == nil {
			err = x.wire.expectEOF()
		}
	case dialectVerify:
		err = x.takeSized(req, m)
	case dialectPing:
	}
	switch {
	case err != nil:
		return err
	case req.headersSize >= maxRawHeader:
		return x.refuseCutHeader(req)
	}
	if err := m.close(); err != nil && !x.wire.held.Exceeded() { // otherwise the pipeline defers it
		return err
	}
	return x.finish(ctx, req)
}

// takeSized reads header and body of VERIFY, which must be as long as they say:
// else a second From could hide where Exim cut the header.
func (x *exchange) takeSized(req *request, m *mail) error {
	if err := x.wire.readN(req.headersSize, m.write); err != nil {
		return err
	}
	if m.err == nil && !m.atLineStart() && req.headersSize < maxRawHeader {
		return fmt.Errorf("the header does not end after Headers-Size: %d", req.headersSize)
	}
	if err := x.wire.readN(1, m.write); err != nil {
		return err
	}
	if m.err == nil && !m.body && req.headersSize < maxRawHeader {
		return fmt.Errorf("no empty line after Headers-Size: %d", req.headersSize)
	}
	if err := x.wire.readN(req.bodySize, m.write); err != nil {
		return err
	}
	if err := x.wire.expectEOF(); err != nil {
		return err
	}
	var why string
	switch {
	case req.bodySize < req.trueSize:
		why = fmt.Sprintf("Exim gave %d of its %d bytes", req.bodySize, req.trueSize)
		x.log(slog.LevelWarn, "Exim cut the body: its signatures cannot be judged", "given", req.bodySize, "size", req.trueSize,
			"hint", "set message_body_visible at least as high as message_size_limit")
	case req.bodySize > req.trueSize:
		return fmt.Errorf("a body of %d bytes, of which %d are given", req.trueSize, req.bodySize)
	case req.nul > 0:
		why = "Exim replaced NUL bytes in it"
	}
	if why != "" {
		x.msg.BodyUnseen(why)
	}
	return nil
}

const cutHeader = "Exim cut the header at 65536 bytes"

// refuseCutHeader answers for a header of which Exim kept a part to itself.
func (x *exchange) refuseCutHeader(req *request) error {
	x.log(slog.LevelWarn, cutHeader, "hint", "set header_maxsize = 60000 in Exim")
	x.msg.Abort(cutHeader)
	x.msg = nil
	return x.reply(report(req, answer{action: "defer", reply: smtpreply.Reply{
		Code: 451, Enhanced: "4.7.5", Text: "The header of this message is too long to be checked",
	}}))
}

// finish asks the message for its outcome and answers it.
func (x *exchange) finish(ctx context.Context, req *request) error {
	ctx, cancel := context.WithTimeout(ctx, x.server.cfg.FinishTimeout)
	defer cancel()
	outcome := x.msg.Finish(ctx)
	if req.dialect == dialectSign {
		return x.reply(signatures(outcome))
	}
	a := answerOf(outcome)
	if a.badReply != nil {
		x.log(slog.LevelError, "an SMTP reply that the MTA would not take was replaced", "error", a.badReply.Error())
	}
	for _, name := range a.refused {
		x.log(slog.LevelError, "a field with an impossible name was not added", "field", name)
	}
	return x.reply(report(req, a))
}

// reply writes the answer. An answer that Exim no longer waits for is worth a line:
// the record says what became of the message here, Exim asks its sender again.
func (x *exchange) reply(text string) error {
	_ = x.wire.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := x.wire.conn.Write([]byte(text)); err != nil {
		return fmt.Errorf("the peer did not wait for the answer: %w", err)
	}
	return nil
}

// signatures is the answer to SIGN: fields for the top of the message, and those that were folded.
func signatures(o pipeline.Outcome) string {
	a := answerOf(o)
	if a.action != "accept" {
		return filter.ReplyDefer
	}
	var b strings.Builder
	for _, add := range o.Add {
		value := strings.TrimRight(safetext.FieldValue(add.Value), "\n \t")
		b.WriteString(add.Name + ":" + value + "\n")
	}
	signed := b.Len()
	for _, f := range o.Replace {
		b.WriteString(f.Name + ":" + strings.ReplaceAll(f.Value, "\r\n", "\n") + "\n")
	}
	if b.Len() == signed {
		return fmt.Sprintf("%s%d\n%s", filter.ReplyOK, signed, b.String())
	}
	return fmt.Sprintf("%s%d %d\n%s", filter.ReplyOK, signed, b.Len()-signed, b.String())
}
