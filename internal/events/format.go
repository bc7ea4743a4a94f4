package events

// Format is how a record is written: the key log.format.
type Format string

// The formats of the log stream.
const (
	JSON Format = "json" // one object a line, for programs
	Text Format = "text" // one line, for people
	Exim Format = "exim" // the lines of Exim's main log
)

// Encoder appends a record.
type Encoder func(dst []byte, e *Event) []byte

// Append appends the record without a final line feed.
func (f Format) Append(dst []byte, e *Event) []byte {
	switch f {
	case Text:
		return appendText(dst, e)
	case Exim:
		return appendExim(dst, e)
	case JSON:
	}
	return appendJSON(dst, e)
}

// AppendUntimed is Append for receivers that add a time of their own. It writes Text for JSON: people read
// such lines.
func (f Format) AppendUntimed(dst []byte, e *Event) []byte { return f.untimed(dst, e, maxListBytes) }

// untimed ends each list after listBytes.
func (f Format) untimed(dst []byte, e *Event, listBytes int) []byte {
	if f == Exim {
		return appendEximLines(dst, e, "", listBytes)
	}
	return appendTextLine(dst, e, listBytes)
}
