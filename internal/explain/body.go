package explain

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

// Bounds of the searches for lines that were added.
const (
	maxLines    = 500       // at one end
	maxInserted = 60        // elsewhere
	maxPlaces   = 20_000    // lines between which they may be
	maxHashed   = 128 << 20 // octets hashed for one search
)

// body says whether the body hash matches, and else what would make it match.
func (e *Explanation) body(m Message, sig *dkim.Signature) bool {
	hash := dkim.NewBodyHash(sig.BodyCanon, sig.BodyLength)
	_, _ = hash.Write(m.Body)
	sum := hash.Sum()
	if sig.BodyLength > hash.Length() {
		e.say("l= says that " + strconv.FormatInt(sig.BodyLength, 10) + " octets of the body are signed, and it has " +
			strconv.FormatInt(hash.Length(), 10) + ": its end was cut off")
		return false
	}
	if string(sum[:]) == string(sig.BodyHash) {
		if sig.BodyLength >= 0 && sig.BodyLength < hash.Length() {
			e.say("the last " + strconv.FormatInt(hash.Length()-sig.BodyLength, 10) + " octets of the body are not signed: l= leaves them out")
		}
		return true
	}
	e.say("the body is not the one that was signed: its hash does not match bh=")
	s := bodySearch{sig: sig}
	for _, try := range []func(Message) string{s.canonicalization, s.lineEnds, s.encoding, s.addedLines, s.inserted, s.wrapped} {
		if found := try(m); found != "" {
			e.say(found)
			return false
		}
	}
	e.say("what was changed cannot be told: not white space, line ends, a transfer encoding, or lines added in one place or around the rest")
	return false
}

type bodySearch struct{ sig *dkim.Signature }

func (s *bodySearch) matches(c dkim.Canonicalization, body []byte) bool {
	hash := dkim.NewBodyHash(c, s.sig.BodyLength)
	_, _ = hash.Write(body)
	sum := hash.Sum()
	return len(s.sig.BodyHash) == sha256.Size && string(sum[:]) == string(s.sig.BodyHash)
}

func other(c dkim.Canonicalization) dkim.Canonicalization {
	if c == dkim.Simple {
		return dkim.Relaxed
	}
	return dkim.Simple
}

func (s *bodySearch) canonicalization(m Message) string {
	c := other(s.sig.BodyCanon)
	switch {
	case !s.matches(c, m.Body):
		return ""
	case c == dkim.Relaxed:
		return "under relaxed body canonicalization the hash matches: only white space was changed after signing. A signer that uses c=relaxed/relaxed survives that"
	}
	return "under simple body canonicalization the hash matches: the signer says relaxed in c= and did not do it"
}

// lineEnds tries what programs make of line ends that are not CRLF.
func (s *bodySearch) lineEnds(m Message) string {
	crlf, lf, cr := []byte("\r\n"), []byte("\n"), []byte("\r")
	asRead := m.AsRead
	if asRead == nil {
		asRead = m.Body
	}
	withLF := bytes.ReplaceAll(m.Body, crlf, lf)
	for _, try := range []struct {
		body  []byte
		words string
	}{
		{asRead, "with its line ends as they stand in the file the hash matches: the signer signed bare LFs, which mail servers make CRLF"},
		{withLF, "with bare LF line ends the hash matches: the signer hashed the message before its line ends became CRLF (RFC 6376 section 5.3)"},
		{bytes.ReplaceAll(bytes.ReplaceAll(withLF, cr, lf), lf, crlf), "with CRLF for each bare CR the hash matches: a server took CRLF apart"},
		{bytes.ReplaceAll(bytes.ReplaceAll(withLF, cr, nil), lf, crlf), "without its bare CRs the hash matches: a server added CRs"},
		{bytes.ReplaceAll(append([]byte("\r\n"), m.Body...), []byte("\r\n.."), []byte("\r\n."))[2:], "with one dot less on lines that begin with two the hash matches: a program did not undo the dots of SMTP"},
		{bytes.ReplaceAll(append([]byte("\r\n"), m.Body...), []byte("\r\n."), []byte("\r\n.."))[2:], "with one dot more on lines that begin with a dot the hash matches: the signer signed the dots of SMTP (RFC 6376 section 3.7)"},
	} {
		if s.matches(s.sig.BodyCanon, try.body) {
			return try.words
		}
	}
	return ""
}

// encoding undoes a conversion of the whole body to 7 bit.
func (s *bodySearch) encoding(m Message) string {
	fields := m.Header.All("Content-Transfer-Encoding")
	if len(fields) != 1 {
		return ""
	}
	name := strings.ToLower(strings.TrimSpace(string(fields[0].Value())))
	var decoded []byte
	switch name {
	case "quoted-printable":
		decoded, _ = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(m.Body)))
	case "base64":
		decoded, _ = base64.StdEncoding.DecodeString(string(m.Body)) // skips CR and LF
	default:
		return ""
	}
	if !s.matches(s.sig.BodyCanon, decoded) {
		return ""
	}
	return "decoded from " + name + " the hash matches: a server converted the body to 7 bit after signing (RFC 6376 section 5.3)"
}

// addedLines looks for a footer or a banner: whole lines at the end or at the top.
func (s *bodySearch) addedLines(m Message) string {
	hashed := 0
	end := len(bytes.TrimSuffix(m.Body, []byte("\r\n")))
	for n := 1; n <= maxLines && end > 0 && hashed < maxHashed; n++ {
		start := bytes.LastIndex(m.Body[:end], []byte("\r\n"))
		rest := m.Body[:max(start, 0)]
		hashed += 2 * len(rest)
		if s.matches(s.sig.BodyCanon, rest) || s.matches(other(s.sig.BodyCanon), rest) {
			return "without the last " + lines(n) + " the hash matches: a footer was added after signing, which begins " +
				quote(firstText(m.Body[len(rest):]))
		}
		end = start
	}
	rest := m.Body
	for n := 1; n <= maxLines && hashed < maxHashed; n++ {
		at := bytes.Index(rest, []byte("\r\n"))
		if at < 0 {
			break
		}
		rest = rest[at+2:]
		hashed += len(rest)
		if s.matches(s.sig.BodyCanon, rest) {
			return "without the first " + lines(n) + " the hash matches: a banner was added after signing, which begins " + quote(firstText(m.Body))
		}
	}
	return ""
}

// lineStarts are the offsets at which the lines of a body begin, and its end.
func lineStarts(body []byte) []int {
	starts := []int{0}
	for at := 0; len(starts) <= maxPlaces; {
		n := bytes.Index(body[at:], []byte("\r\n"))
		if n < 0 {
			break
		}
		at += n + 2
		starts = append(starts, at)
	}
	if starts[len(starts)-1] < len(body) {
		starts = append(starts, len(body))
	}
	return starts
}

// inserted looks for lines within the body that were added in one place: a footer in
// front of the last boundary of a MIME message, or in its first part. The
// places at the end come first.
func (s *bodySearch) inserted(m Message) string {
	starts := lineStarts(m.Body)
	last := len(starts) - 1
	hashed := 0
	for end := last - 1; end > 0; end-- {
		for from := end - 1; from >= 0 && from >= end-maxInserted; from-- {
			if hashed += len(m.Body); hashed > maxHashed {
				return ""
			}
			rest := slices.Concat(m.Body[:starts[from]], m.Body[starts[end]:])
			if s.matches(s.sig.BodyCanon, rest) {
				return "without " + lineNumbers(from, end) + " of the body the hash matches: added after signing, beginning " +
					quote(firstText(m.Body[starts[from]:]))
			}
		}
	}
	return ""
}

// wrapped looks for a body that has something above and something below it now: a
// banner and a footer, or the boundaries of a MIME message that a mailing list made of it.
func (s *bodySearch) wrapped(m Message) string {
	starts := lineStarts(m.Body)
	last := len(starts) - 1
	hashed := 0
	for around := 2; around < 2*maxInserted; around++ {
		for above := 1; above < around && above < last; above++ {
			end := last - (around - above)
			if end <= above {
				continue
			}
			rest := m.Body[starts[above]:starts[end]]
			if hashed += len(rest); hashed > maxHashed {
				return ""
			}
			if s.matches(s.sig.BodyCanon, rest) {
				return lineNumbers(above, end) + " of the body alone have the hash: the rest was put around them after signing. It begins " +
					quote(firstText(m.Body)) + " and, below, " + quote(firstText(m.Body[starts[end]:]))
			}
		}
	}
	return ""
}

// lineNumbers names lines counted from 0 as people count them; end is the first after them.
func lineNumbers(from, end int) string {
	if end == from+1 {
		return "line " + strconv.Itoa(end)
	}
	return "lines " + strconv.Itoa(from+1) + " to " + strconv.Itoa(end)
}

func lines(n int) string {
	if n == 1 {
		return "line"
	}
	return strconv.Itoa(n) + " lines"
}

// firstText is the first line that is neither empty nor a part of MIME's frame.
func firstText(b []byte) string {
	frame := ""
	for line := range bytes.SplitSeq(b, []byte("\r\n")) {
		text := strings.TrimSpace(string(line))
		text = text[:min(len(text), 80)]
		switch {
		case text == "":
		case !strings.HasPrefix(text, "--") && !strings.HasPrefix(text, "Content-"):
			return text
		case frame == "":
			frame = text
		}
	}
	return frame
}

// values are the names and values of fields, to be changed.
type values struct{ name, value string }

func fieldsOf(h *message.Header) []values {
	list := make([]values, 0, len(h.Fields()))
	for _, f := range h.Fields() {
		list = append(list, values{string(f.Raw()[:len(f.Raw())-len(f.Value())-1]), string(f.Value())})
	}
	return list
}
