package events

import (
	"strconv"
	"strings"
	"time"
)

// cut begins the warnings that say what a record lacks.
const cut = "dkimd: this record "

// LeftOut are the keys of lists that lack elements in a record that was read; "" where texts were cut.
func (e *Event) LeftOut() []string {
	var keys []string
	for _, w := range e.Warnings {
		if rest, ok := strings.CutPrefix(w, cut); ok {
			_, key, _ := strings.Cut(rest, " of ")
			_, key, _ = strings.Cut(key, " ")
			if strings.HasPrefix(rest, "keeps ") {
				key = ""
			}
			keys = append(keys, key)
		}
	}
	return keys
}

// MarshalJSON is the record as the stream has it.
func (e *Event) MarshalJSON() ([]byte, error) { return appendJSON(nil, e), nil }

// appendJSON is written by hand: encoding/json costs more than the rest of the record's way.
func appendJSON(dst []byte, e *Event) []byte {
	w := &jsonWriter{buf: dst, bounds: bounds{MaxValue, maxListBytes}}
	return w.record(e)
}

// appendShortJSON is appendJSON in ASCII and within bounds.
func appendShortJSON(dst []byte, e *Event, within bounds) []byte {
	w := &jsonWriter{buf: dst, bounds: within, ascii: true}
	if within.most < MaxValue {
		w.cuts = append(w.cuts, cut+"keeps "+strconv.Itoa(within.most)+" bytes of each text")
	}
	return w.record(e)
}

func (w *jsonWriter) record(e *Event) []byte {
	w.buf = append(w.buf, `{"time":"`...)
	w.buf = e.Time.UTC().AppendFormat(w.buf, "2006-01-02T15:04:05.000000Z")
	w.buf = append(w.buf, '"')
	w.text(`,"id":`, e.ID)
	w.text(`,"message_id":`, e.MessageID)
	w.text(`,"front":`, e.Front)
	w.text(`,"mode":`, e.Mode)
	w.text(`,"reason_code":`, e.ReasonCode)
	w.text(`,"reason":`, e.Reason)
	w.text(`,"client":`, e.Client)
	w.text(`,"helo":`, e.Helo)
	w.text(`,"auth":`, e.Auth)
	w.text(`,"sender":`, e.Sender)
	w.texts(`,"from":[`, e.From)
	w.texts(`,"originator":{"faults":[`, e.Originator.Faults)
	w.texts(`,"domains":[`, e.Originator.Domains)
	w.texts(`,"sender":[`, e.Originator.Sender)
	w.text(`,"shows":`, e.Originator.Shows)
	w.buf = append(w.buf, '}')
	w.texts(`,"rcpt_to":[`, e.RcptTo)
	w.number(`,"recipients":`, int64(e.Recipients))
	w.truth(`,"list":`, e.List)
	w.number(`,"bytes":`, e.Bytes)
	w.signatures(e.Signatures)
	w.text(`,"spf":{"result":`, e.SPF.Result)
	w.text(`,"domain":`, e.SPF.Domain)
	w.text(`,"reason":`, e.SPF.Reason)
	w.text(`},"dmarc":{"result":`, e.DMARC.Result)
	w.text(`,"policy":`, e.DMARC.Policy)
	w.text(`,"published":`, e.DMARC.Published)
	w.text(`,"domain":`, e.DMARC.Domain)
	w.text(`,"org":`, e.DMARC.Org)
	w.truth(`,"testing":`, e.DMARC.Testing)
	w.text(`,"aligned_by":`, e.DMARC.AlignedBy)
	w.text(`,"reason":`, e.DMARC.Reason)
	w.buf = append(w.buf, '}')
	w.signed(e.Signed)
	w.number(`,"stripped":`, int64(e.Stripped))
	w.policy(e.Policy)
	w.text(`,"verdict":`, e.Verdict)
	w.milliseconds(`,"dns_ms":`, e.DNS)
	w.milliseconds(`,"total_ms":`, e.Total)
	w.texts(`,"warnings":[`, e.Warnings)
	w.text(`,"error":`, e.Error)
	return append(w.buf, '}')
}

// jsonWriter appends members of an object, each beginning with its comma.
type jsonWriter struct {
	bounds

	buf   []byte
	ascii bool // all else is escaped
	list  int  // where the list being written begins
	cuts  []string
}

// bounds are what a record keeps.
type bounds struct {
	most      int // how many bytes of a text
	listBytes int // after how many bytes a list takes no further element
}

func (w *jsonWriter) text(key, s string) {
	w.buf = append(w.buf, key...)
	w.value(s)
}

func (w *jsonWriter) number(key string, n int64) {
	w.buf = append(w.buf, key...)
	w.buf = strconv.AppendInt(w.buf, n, 10)
}

func (w *jsonWriter) truth(key string, v bool) {
	w.buf = append(w.buf, key...)
	w.buf = strconv.AppendBool(w.buf, v)
}

func (w *jsonWriter) milliseconds(key string, d time.Duration) {
	w.buf = append(w.buf, key...)
	w.buf = strconv.AppendFloat(w.buf, float64(d.Microseconds())/1000, 'f', -1, 64)
}

func (w *jsonWriter) begin(key string) {
	w.buf = append(w.buf, key...)
	w.list = len(w.buf)
}

// room reports whether element i of n still fits into the list, and begins it.
func (w *jsonWriter) room(name string, i, n int) bool {
	if i >= MaxList || len(w.buf)-w.list > w.listBytes {
		w.cuts = append(w.cuts, cut+"leaves out "+strconv.Itoa(n-i)+" of "+strconv.Itoa(n)+" "+name)
		return false
	}
	if i > 0 {
		w.buf = append(w.buf, ',')
	}
	return true
}

func (w *jsonWriter) end() { w.buf = append(w.buf, ']') }

// texts writes a list of strings. The last list also says what was left out.
func (w *jsonWriter) texts(key string, list []string) {
	w.begin(key)
	name := key[strings.LastIndexByte(key[:len(key)-3], '"')+1 : len(key)-3]
	for i, s := range list {
		if !w.room(name, i, len(list)) {
			break
		}
		w.value(s)
	}
	if name == "warnings" {
		most := w.most
		w.most = MaxValue // these are our own
		for _, s := range w.cuts {
			if len(w.buf) > w.list {
				w.buf = append(w.buf, ',')
			}
			w.value(s)
		}
		w.most = most
	}
	w.end()
}

func (w *jsonWriter) signatures(list []Signature) {
	w.begin(`,"signatures":[`)
	for i := range list {
		if !w.room("signatures", i, len(list)) {
			break
		}
		s := &list[i]
		w.text(`{"d":`, s.Domain)
		w.text(`,"s":`, s.Selector)
		w.text(`,"a":`, s.Algorithm)
		w.text(`,"c":`, s.Canonicalization)
		w.text(`,"result":`, s.Result)
		w.text(`,"reason":`, s.Reason)
		w.number(`,"key_bits":`, int64(s.KeyBits))
		w.truth(`,"testing":`, s.Testing)
		w.text(`,"aligned":`, s.Aligned)
		w.truth(`,"aligned_open":`, s.AlignedOpen)
		w.truth(`,"dnssec":`, s.DNSSEC)
		w.duplicates(s.Duplicates)
		w.buf = append(w.buf, '}')
	}
	w.end()
}

// duplicates are field names of a short closed set: the list needs no bounds.
func (w *jsonWriter) duplicates(list []string) {
	w.buf = append(w.buf, `,"duplicates":[`...)
	for i, name := range list {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.value(name)
	}
	w.buf = append(w.buf, ']')
}

func (w *jsonWriter) signed(list []Signed) {
	w.begin(`,"signed":[`)
	for i := range list {
		if !w.room("signed", i, len(list)) {
			break
		}
		w.text(`{"d":`, list[i].Domain)
		w.text(`,"s":`, list[i].Selector)
		w.text(`,"a":`, list[i].Algorithm)
		w.buf = append(w.buf, '}')
	}
	w.end()
}

func (w *jsonWriter) policy(list []Decision) {
	w.begin(`,"policy":[`)
	for i := range list {
		if !w.room("policy", i, len(list)) {
			break
		}
		d := &list[i]
		w.text(`{"file":`, d.File)
		w.text(`,"rule":`, d.Rule)
		w.text(`,"mode":`, d.Mode)
		w.text(`,"action":`, d.Action)
		w.text(`,"reply":`, d.Reply)
		w.buf = append(w.buf, '}')
	}
	w.end()
}
