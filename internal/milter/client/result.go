package client

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Action is what a filter wants done.
type Action string

// The actions.
const (
	Continue Action = "continue"
	Accept   Action = "accept"
	Reject   Action = "reject"
	TempFail Action = "tempfail"
	Discard  Action = "discard"

	skipped Action = "skip" // to a piece of the body: no more of them
)

const (
	codeContinue   = 'c'
	codeAccept     = 'a'
	codeReject     = 'r'
	codeTempFail   = 't'
	codeDiscard    = 'd'
	codeReply      = 'y'
	codeProgress   = 'p'
	codeSkip       = 's'
	codeAdd        = 'h'
	codeInsert     = 'i'
	codeChange     = 'm'
	codeQuarantine = 'q'

	codeReplaceBody  = 'b'
	codeAddRcpt      = '+'
	codeAddRcptArgs  = '2'
	codeRemoveRcpt   = '-'
	codeChangeSender = 'e'
)

// EditKind is one way to modify a message.
type EditKind string

// The edits.
const (
	Add    EditKind = "add"    // at the end of the header
	Insert EditKind = "insert" // before the field at Index, counted from 0 over all fields
	Change EditKind = "change" // the Index-th field of that name, counted from 1
	Remove EditKind = "remove" // likewise

	// What dkimd never asks for, and Apply leaves out. Value is the address, or
	// this piece of the new body.
	AddRcpt      EditKind = "add recipient"
	RemoveRcpt   EditKind = "remove recipient"
	ChangeSender EditKind = "change sender"
	ReplaceBody  EditKind = "replace body"
)

// Edit is one modification of the message, mostly of its header.
type Edit struct {
	Kind  EditKind
	Index int
	Name  string
	// Value is all that follows the colon in the message the MTA delivers, with
	// bare LF at its folds.
	Value string
}

// Result is a filter's answer.
type Result struct {
	Action Action
	// Reply is the SMTP reply of a reject or tempfail, if the filter gave one,
	// as an SMTP client would see it.
	Reply string
	Edits []Edit
	// Quarantine is the reason to hold the message; empty: it is not held.
	Quarantine string
	// Progress counts how often the filter asked for patience.
	Progress int
}

// verdict reads modifications up to the answer at end of message.
func (s *Session) verdict() (Result, error) {
	var edits []Edit
	var quarantine string
	progress := 0
	for {
		code, payload, err := s.read()
		if err != nil {
			return Result{}, err
		}
		switch code {
		case codeProgress:
			progress++
		case codeQuarantine:
			if s.Actions&ActionQuarantine == 0 {
				return Result{}, fmt.Errorf("%w: quarantine was not agreed", ErrProtocol)
			}
			quarantine = cString(payload)
		case codeReplaceBody, codeAddRcpt, codeAddRcptArgs, codeRemoveRcpt, codeChangeSender:
			edit, err := s.readOther(code, payload)
			if err != nil {
				return Result{}, err
			}
			edits = append(edits, edit)
		case codeAdd, codeInsert, codeChange:
			edit, err := s.readEdit(code, payload)
			if err != nil {
				return Result{}, err
			}
			edits = append(edits, edit)
		default:
			r, err := readAnswer(code, payload)
			r.Edits, r.Quarantine, r.Progress = edits, quarantine, progress
			if err == nil && r.Action == Continue && s.in.Buffered() > 0 {
				err = fmt.Errorf("%w: more after the answer", ErrProtocol)
			}
			return r, err
		}
	}
}

func (s *Session) readEdit(code byte, payload []byte) (Edit, error) {
	needed := ActionAddHeader
	edit := Edit{Kind: Add}
	if code != codeAdd {
		if len(payload) < 4 {
			return edit, fmt.Errorf("%w: a short edit", ErrProtocol)
		}
		edit.Index = int(binary.BigEndian.Uint32(payload))
		payload = payload[4:]
		edit.Kind = Insert
	}
	if code == codeChange {
		needed = ActionChangeHeader
		edit.Kind = Change
	}
	if s.Actions&needed == 0 {
		return edit, fmt.Errorf("%w: edit %q was not agreed", ErrProtocol, code)
	}
	name, rest, ok := bytes.Cut(payload, []byte{0})
	value, rest, ended := bytes.Cut(rest, []byte{0})
	if !ok || !ended || len(rest) > 0 || len(name) == 0 {
		return edit, fmt.Errorf("%w: a malformed edit %q", ErrProtocol, payload)
	}
	edit.Name, edit.Value = string(name), string(value)
	switch {
	case code == codeChange && edit.Value == "":
		edit.Kind = Remove
	case s.Protocol&LeadingSpace == 0:
		edit.Value = " " + edit.Value
	}
	return edit, nil
}

// readOther reads an edit of the envelope or the body.
func (s *Session) readOther(code byte, payload []byte) (Edit, error) {
	kinds := map[byte]struct {
		kind   EditKind
		needed uint32
	}{
		codeReplaceBody: {ReplaceBody, ActionReplaceBody}, codeAddRcpt: {AddRcpt, ActionAddRcpt}, codeAddRcptArgs: {AddRcpt, ActionAddRcptArgs},
		codeRemoveRcpt: {RemoveRcpt, ActionRemoveRcpt}, codeChangeSender: {ChangeSender, ActionChangeSender},
	}
	edit := Edit{Kind: kinds[code].kind, Value: string(payload)}
	if s.Actions&kinds[code].needed == 0 {
		return edit, fmt.Errorf("%w: edit %q was not agreed", ErrProtocol, code)
	}
	if code != codeReplaceBody {
		if len(payload) == 0 || payload[len(payload)-1] != 0 {
			return edit, fmt.Errorf("%w: a malformed edit %q", ErrProtocol, payload)
		}
		edit.Value = cString(payload)
	}
	return edit, nil
}

func readAnswer(code byte, payload []byte) (Result, error) {
	if code == codeReply {
		return readReply(payload)
	}
	if len(payload) != 0 {
		return Result{}, fmt.Errorf("%w: answer %q with %d bytes", ErrProtocol, code, len(payload))
	}
	switch code {
	case codeContinue:
		return Result{Action: Continue}, nil
	case codeAccept:
		return Result{Action: Accept}, nil
	case codeReject:
		return Result{Action: Reject}, nil
	case codeTempFail:
		return Result{Action: TempFail}, nil
	case codeDiscard:
		return Result{Action: Discard}, nil
	}
	return Result{}, fmt.Errorf("%w: answer %q", ErrProtocol, code)
}

// readReply is as choosy as Postfix: "NNN X.", one class, '%' doubled.
func readReply(payload []byte) (Result, error) {
	text, ok := strings.CutSuffix(string(payload), "\x00")
	if !ok || len(text) < 6 || text[0] != '4' && text[0] != '5' || text[3] != ' ' && text[3] != '-' || text[4] != text[0] {
		return Result{}, fmt.Errorf("%w: reply %q", ErrProtocol, payload)
	}
	single := strings.ReplaceAll(text, "%%", "")
	if strings.ContainsAny(single, "%\r\n\x00") {
		return Result{}, fmt.Errorf("%w: reply %q", ErrProtocol, payload)
	}
	r := Result{Action: Reject, Reply: strings.ReplaceAll(text, "%%", "%")}
	if text[0] == '4' {
		r.Action = TempFail
	}
	return r, nil
}

func cString(p []byte) string {
	before, _, _ := bytes.Cut(p, []byte{0})
	return string(before)
}
