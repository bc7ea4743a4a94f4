package events

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"dkimd/internal/domain"
)

// maxRecord is the longest line that is read as a record. None that is written is longer.
const maxRecord = 1 << 20

// Reader reads a log stream in format json. What is no record in it, such as
// what a supervisor writes between, is skipped and counted.
type Reader struct {
	in      *bufio.Reader
	skipped int
}

// NewReader reads records from r.
func NewReader(r io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(r, 64<<10)} }

// Skipped is how many lines were no records.
func (r *Reader) Skipped() int { return r.skipped }

// Next is the next record; io.EOF at the end.
func (r *Reader) Next() (*Event, error) {
	for {
		line, err := r.line()
		if len(line) == 0 && err != nil {
			return nil, err
		}
		e := new(Event)
		if len(line) <= maxRecord && json.Unmarshal(line, e) == nil && e.isRecord() {
			return e, nil
		}
		if len(bytes.TrimSpace(line)) > 0 {
			r.skipped++
		}
	}
}

// line is the next line; of one that is too long, no more than shows it to be.
func (r *Reader) line() ([]byte, error) {
	var line []byte
	for {
		piece, err := r.in.ReadSlice('\n')
		if len(line) <= maxRecord {
			line = append(line, piece...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// isRecord reports whether the event has what every record has.
func (e *Event) isRecord() bool { return !e.Time.IsZero() && e.Mode != "" && e.Verdict != "" }

// UnmarshalJSON reads a record of the stream. Keys it does not know it leaves out.
func (e *Event) UnmarshalJSON(data []byte) error {
	type plain Event
	record := struct {
		*plain

		DNS   float64 `json:"dns_ms"` // in the stream spans are milliseconds
		Total float64 `json:"total_ms"`
	}{plain: (*plain)(e)}
	if err := json.Unmarshal(data, &record); err != nil {
		return err
	}
	e.DNS, e.Total = span(record.DNS), span(record.Total)
	return nil
}

func span(milliseconds float64) time.Duration {
	return time.Duration(milliseconds * float64(time.Millisecond)).Round(time.Microsecond)
}

// Text is the record as the format text has it, without a line end.
func (e *Event) Text() string { return string(appendText(nil, e)) }

// Author is the domain that a summary counts the message for: that of the first
// From address, else of MAIL FROM; empty if there is none.
func (e *Event) Author() string {
	address := e.Sender
	if len(e.From) > 0 {
		address = e.From[0]
	}
	return domainOf(address)
}

// About reports whether the event is about a message with this queue id or
// Message-ID, which may be given without its angle brackets.
func (e *Event) About(id string) bool {
	return id != "" && (e.ID == id || e.MessageID == id || e.MessageID == "<"+id+">")
}

// Names reports whether the message has to do with a domain: in From or MAIL FROM, or as that of a signature.
func (e *Event) Names(name domain.Name) bool {
	return domainOf(e.Sender) == string(name) ||
		slices.ContainsFunc(e.From, func(address string) bool { return domainOf(address) == string(name) }) ||
		slices.ContainsFunc(e.Signatures, func(s Signature) bool { return s.Domain == string(name) }) ||
		slices.ContainsFunc(e.Signed, func(s Signed) bool { return s.Domain == string(name) })
}
