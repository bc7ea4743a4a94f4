package events

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"dkimd/internal/domain"
)

// maxRecord is the longest line that is read as a record. None that is written is longer.
const maxRecord = 1 << 20

// blockSize is how much is decoded by one goroutine at a time.
const blockSize = 256 << 10

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
		if e := read(line); e != nil {
			return e, nil
		}
		r.skipped += lost(line)
	}
}

// read is the record in a line; nil: it is none.
func read(line []byte) *Event {
	e := new(Event)
	if len(line) > maxRecord {
		return nil
	}
	if line = bytes.TrimSuffix(line, []byte("\n")); !e.decode(string(line)) {
		*e = Event{}
		if json.Unmarshal(line, e) != nil {
			return nil
		}
	}
	if !e.isRecord() {
		return nil
	}
	return e
}

// lost is 1 for a line that should have been a record.
func lost(line []byte) int { return min(1, len(bytes.TrimSpace(line))) }

// Each is Next as a loop, for a stream that grows.
func (r *Reader) Each() iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) || !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// All are the records up to the end of the stream, in order: Next, for a stream that ends. All processors decode them.
func (r *Reader) All() iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		jobs := make(chan *block, 2*runtime.GOMAXPROCS(0))
		var workers sync.WaitGroup
		defer workers.Wait()
		defer close(jobs)
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				for b := range jobs {
					b.decode()
				}
			})
		}
		var queue []*block // that jobs has, or has had
		var err error
		b := new(block)
		for {
			for err == nil && len(queue) < cap(jobs) {
				err = b.read(r)
				jobs <- b
				queue = append(queue, b)
				b = new(block)
			}
			if len(queue) == 0 {
				break
			}
			b, queue = queue[0], queue[1:]
			<-b.done
			r.skipped += b.skipped
			for _, e := range b.records {
				if !yield(e, nil) {
					return
				}
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(nil, err)
		}
	}
}

// block is some lines, and the records in them.
type block struct {
	lines   []byte
	records []*Event
	skipped int
	done    chan struct{} // closed when they are decoded
}

// read takes the next lines, whole ones.
func (b *block) read(r *Reader) error {
	b.records, b.skipped, b.done = b.records[:0], 0, make(chan struct{})
	b.lines = slices.Grow(b.lines[:0], blockSize+blockSize/16)[:blockSize]
	n, err := 0, error(nil)
	for n < len(b.lines) && err == nil { // io.ReadFull has one error for the end and for a compressed file that was cut
		var more int
		more, err = r.in.Read(b.lines[n:])
		n += more
	}
	if b.lines = b.lines[:n]; err != nil {
		return err
	}
	last, err := r.line()
	b.lines = append(b.lines, last...)
	return err
}

func (b *block) decode() {
	defer close(b.done)
	for line := range bytes.Lines(b.lines) {
		if e := read(line); e != nil {
			b.records = append(b.records, e)
		} else {
			b.skipped += lost(line)
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

// Senders are the domains of From and MAIL FROM.
func (e *Event) Senders() []domain.Name {
	list := []domain.Name{domain.Name(domainOf(e.Sender))}
	for _, address := range e.From {
		list = append(list, domain.Name(domainOf(address)))
	}
	for _, name := range e.Originator.Domains {
		list = append(list, domain.Name(name))
	}
	return list
}

// Names reports whether the message has to do with a domain: in From or MAIL FROM, or as that of a signature.
func (e *Event) Names(name domain.Name) bool {
	return domainOf(e.Sender) == string(name) ||
		slices.ContainsFunc(e.From, func(address string) bool { return domainOf(address) == string(name) }) ||
		slices.ContainsFunc(e.Signatures, func(s Signature) bool { return s.Domain == string(name) }) ||
		slices.ContainsFunc(e.Signed, func(s Signed) bool { return s.Domain == string(name) })
}
