package events

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// decode reads a record as jsonWriter writes it: its keys, in its order, without white space between. It reports false for
// any other JSON, which takes encoding/json ten times as long. Keys may be missing, as they are in older records.
func (e *Event) decode(line string) bool {
	r := jsonReader{rest: line}
	r.record(e)
	return !r.broken && r.rest == "" && utf8.ValidString(line)
}

// jsonReader takes members of an object, each with its comma: jsonWriter the other way round. Texts are parts of the line.
type jsonReader struct {
	rest   string
	broken bool
}

func (r *jsonReader) record(e *Event) {
	r.must(`{"time":`)
	if e.Time.UnmarshalText([]byte(r.value())) != nil {
		r.fail()
	}
	r.text(`,"id":`, &e.ID)
	r.text(`,"message_id":`, &e.MessageID)
	r.text(`,"front":`, &e.Front)
	r.text(`,"mode":`, &e.Mode)
	r.text(`,"reason_code":`, &e.ReasonCode)
	r.text(`,"reason":`, &e.Reason)
	r.text(`,"client":`, &e.Client)
	r.text(`,"helo":`, &e.Helo)
	r.text(`,"auth":`, &e.Auth)
	r.text(`,"sender":`, &e.Sender)
	r.texts(`,"from":[`, &e.From)
	if r.literal(`,"originator":{`) {
		r.texts(`"faults":[`, &e.Originator.Faults)
		r.texts(`,"domains":[`, &e.Originator.Domains)
		r.texts(`,"sender":[`, &e.Originator.Sender)
		r.text(`,"shows":`, &e.Originator.Shows)
		r.must(`}`)
	}
	r.texts(`,"rcpt_to":[`, &e.RcptTo)
	recipients := int64(0)
	r.number(`,"recipients":`, &recipients)
	e.Recipients = int(recipients)
	r.truth(`,"list":`, &e.List)
	r.number(`,"bytes":`, &e.Bytes)
	list(r, `,"signatures":[`, &e.Signatures, r.signature)
	if r.literal(`,"spf":{`) {
		r.text(`"result":`, &e.SPF.Result)
		r.text(`,"domain":`, &e.SPF.Domain)
		r.text(`,"reason":`, &e.SPF.Reason)
		r.must(`}`)
	}
	if r.literal(`,"dmarc":{`) {
		r.dmarc(&e.DMARC)
	}
	list(r, `,"signed":[`, &e.Signed, r.signed)
	stripped := int64(0)
	r.number(`,"stripped":`, &stripped)
	e.Stripped = int(stripped)
	list(r, `,"policy":[`, &e.Policy, r.decision)
	r.text(`,"verdict":`, &e.Verdict)
	r.milliseconds(`,"dns_ms":`, &e.DNS)
	r.milliseconds(`,"total_ms":`, &e.Total)
	r.texts(`,"warnings":[`, &e.Warnings)
	r.text(`,"error":`, &e.Error)
	r.must(`}`)
}

func (r *jsonReader) signature(s *Signature) {
	r.text(`"d":`, &s.Domain)
	r.text(`,"s":`, &s.Selector)
	r.text(`,"a":`, &s.Algorithm)
	r.text(`,"c":`, &s.Canonicalization)
	r.text(`,"result":`, &s.Result)
	r.text(`,"reason":`, &s.Reason)
	bits := int64(0)
	r.number(`,"key_bits":`, &bits)
	s.KeyBits = int(bits)
	r.truth(`,"testing":`, &s.Testing)
	r.text(`,"aligned":`, &s.Aligned)
	r.truth(`,"aligned_open":`, &s.AlignedOpen)
	r.truth(`,"dnssec":`, &s.DNSSEC)
	r.texts(`,"duplicates":[`, &s.Duplicates)
}

func (r *jsonReader) dmarc(d *DMARC) {
	r.text(`"result":`, &d.Result)
	r.text(`,"policy":`, &d.Policy)
	r.text(`,"published":`, &d.Published)
	r.text(`,"domain":`, &d.Domain)
	r.text(`,"org":`, &d.Org)
	r.truth(`,"testing":`, &d.Testing)
	r.text(`,"aligned_by":`, &d.AlignedBy)
	r.text(`,"reason":`, &d.Reason)
	r.must(`}`)
}

func (r *jsonReader) signed(s *Signed) {
	r.text(`"d":`, &s.Domain)
	r.text(`,"s":`, &s.Selector)
	r.text(`,"a":`, &s.Algorithm)
}

func (r *jsonReader) decision(d *Decision) {
	r.text(`"file":`, &d.File)
	r.text(`,"rule":`, &d.Rule)
	r.text(`,"mode":`, &d.Mode)
	r.text(`,"action":`, &d.Action)
	r.text(`,"reply":`, &d.Reply)
}

// literal takes what is written here, if it comes next.
func (r *jsonReader) literal(s string) (found bool) {
	r.rest, found = strings.CutPrefix(r.rest, s)
	return found
}

func (r *jsonReader) must(s string) {
	if !r.literal(s) {
		r.fail()
	}
}

func (r *jsonReader) fail() { r.rest, r.broken = "", true }

func (r *jsonReader) text(key string, s *string) {
	if r.literal(key) {
		*s = r.value()
	}
}

// value takes a string. Only one with an escape in it is copied.
func (r *jsonReader) value() string {
	r.must(`"`)
	for i := 0; i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '"':
			s := r.rest[:i]
			r.rest = r.rest[i+1:]
			return s
		case c == '\\':
			return r.escaped(i)
		case c < ' ':
			r.fail()
		}
	}
	r.fail()
	return ""
}

// escaped takes a string whose first escape is at i.
func (r *jsonReader) escaped(i int) (s string) {
	for ; i < len(r.rest) && r.rest[i] != '"'; i++ {
		if r.rest[i] == '\\' {
			i++
		}
	}
	if i >= len(r.rest) || json.Unmarshal([]byte(`"`+r.rest[:i+1]), &s) != nil {
		r.fail()
		return ""
	}
	r.rest = r.rest[i+1:]
	return s
}

func (r *jsonReader) texts(key string, texts *[]string) {
	if !r.literal(key) {
		return
	}
	if *texts = []string{}; r.literal(`]`) {
		return
	}
	for !r.broken {
		*texts = append(*texts, r.value())
		if !r.literal(`,`) {
			r.must(`]`)
			return
		}
	}
}

func list[T any](r *jsonReader, key string, elements *[]T, read func(*T)) {
	if !r.literal(key) {
		return
	}
	if *elements = []T{}; r.literal(`]`) {
		return
	}
	for !r.broken {
		r.must(`{`)
		*elements = append(*elements, *new(T))
		read(&(*elements)[len(*elements)-1])
		if r.must(`}`); !r.literal(`,`) {
			r.must(`]`)
			return
		}
	}
}

func (r *jsonReader) truth(key string, v *bool) {
	if !r.literal(key) {
		return
	}
	if *v = r.literal(`true`); !*v {
		r.must(`false`)
	}
}

func (r *jsonReader) number(key string, n *int64) {
	if r.literal(key) {
		*n = r.digits(18)
	}
}

// digits takes a whole number of so many digits at most, as RFC 8259 section 6 has it.
func (r *jsonReader) digits(most int) int64 {
	end := 0
	for end < len(r.rest) && '0' <= r.rest[end] && r.rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(r.rest[:end], 10, 64)
	if err != nil || end > most || end > 1 && r.rest[0] == '0' {
		r.fail()
		return 0
	}
	r.rest = r.rest[end:]
	return n
}

func (r *jsonReader) milliseconds(key string, d *time.Duration) {
	if !r.literal(key) {
		return
	}
	*d = time.Duration(r.digits(9)) * time.Millisecond
	if !r.literal(`.`) {
		return
	}
	unit := 100 * time.Microsecond
	for len(r.rest) > 0 && unit > 0 && '0' <= r.rest[0] && r.rest[0] <= '9' {
		*d += time.Duration(r.rest[0]-'0') * unit
		r.rest, unit = r.rest[1:], unit/10/time.Microsecond*time.Microsecond
	}
	if unit == 100*time.Microsecond {
		r.fail()
	}
}
