package eml

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"regexp"
	"strconv"
	"unicode/utf16"
)

// maxWrappings is how many wrappings of a message are taken off, one after the other: nobody has more by accident.
const maxWrappings = 5

// others are files that people take for a message and that hold none as it was sent, by how they begin.
//
//nolint:gochecknoglobals // a table
var others = []struct{ magic, name string }{
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Outlook .msg file (OLE)"},
	{"\x78\x9f\x3e\x22", "an attachment in Outlook's own format (winmail.dat)"},
	{"PK\x03\x04", "a ZIP archive"},
	{"%PDF-", "a PDF document"},
	{`{\rtf`, "a rich text document"},
	{"\xfd7zXZ\x00", "a file compressed by xz"},
	{"\x28\xb5\x2f\xfd", "a file compressed by zstd"},
	{"BZh", "a file compressed by bzip2"},
}

// htmlBegins are the first words of a page.
var htmlBegins = regexp.MustCompile(`(?i)^\s*(<\?xml[^>]*>\s*)?(<!--[^>]*-->\s*)?<(!doctype html|html|head|body|meta|table|div)\b`)

// unwrap takes off what programs put around a message that they save: byte order marks, compression,
// encodings. The notes say what it was. The error says what a file is that holds no message as it was sent.
func unwrap(raw []byte) (plain []byte, notes []string, err error) {
	for range maxWrappings {
		for _, o := range others {
			if bytes.HasPrefix(raw, []byte(o.magic)) {
				return nil, nil, fmt.Errorf("this is %s, and not the message as it was sent: save its source, often called \"original\" or \"raw message\", as an .eml file", o.name)
			}
		}
		if htmlBegins.Match(raw[:min(len(raw), 1024)]) {
			return nil, nil, errors.New("this is an HTML page that shows a message, and not the message as it was sent: save its source, often called \"original\" or \"raw message\"")
		}
		inner, note, err := unwrapOnce(raw)
		if err != nil {
			return nil, nil, err
		}
		if note == "" {
			break
		}
		raw, notes = inner, append(notes, note)
	}
	return raw, notes, nil
}

// unwrapOnce takes off the outermost wrapping. Without one the note is empty.
func unwrapOnce(raw []byte) (inner []byte, note string, err error) {
	if bytes.HasPrefix(raw, []byte("\x1f\x8b")) {
		inner, err = gunzip(raw)
		return inner, "the file is compressed by gzip: read unpacked", err
	}
	if inner, found := bytes.CutPrefix(raw, []byte("\xef\xbb\xbf")); found {
		return inner, "the file begins with a byte order mark (UTF-8): read without it", nil
	}
	if inner, ok := fromUTF16(raw); ok {
		return inner, "the file is UTF-16: read as UTF-8; a signature may fail where the message was in another character set", nil
	}
	if inner, ok := fromEmlx(raw); ok {
		return inner, "the file is of Apple Mail (.emlx): read without the line above and the property list below the message", nil
	}
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') > 0 {
		return bytes.ReplaceAll(raw, []byte("\r"), []byte("\n")), "its lines end in CR alone: read as line ends", nil
	}
	if looksLikeHeader(raw) {
		if inner, ok := fromQuotedPrintable(raw); ok {
			return inner, "all of the message is in quoted-printable, the header as well: read decoded", nil
		}
		return raw, "", nil
	}
	if inner, ok := fromBase64(raw); ok {
		return inner, "all of the message is in base64: read decoded", nil
	}
	return raw, "", nil
}

func gunzip(raw []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("unpack the message: %w", err)
	}
	inner, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("unpack the message: %w", err)
	case len(inner) > maxSize:
		return nil, errTooLarge()
	}
	return inner, nil
}

// fromUTF16 reads UTF-16 in either order, by its byte order mark or by the NUL beside every
// letter of the first field's name.
func fromUTF16(raw []byte) ([]byte, bool) {
	var at func([]byte) uint16
	little := func(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }
	big := func(b []byte) uint16 { return uint16(b[1]) | uint16(b[0])<<8 }
	switch {
	case len(raw) < 4:
		return nil, false
	case raw[0] == 0xff && raw[1] == 0xfe:
		at, raw = little, raw[2:]
	case raw[0] == 0xfe && raw[1] == 0xff:
		at, raw = big, raw[2:]
	case raw[0] != 0 && raw[1] == 0 && raw[2] != 0 && raw[3] == 0:
		at = little
	case raw[0] == 0 && raw[1] != 0 && raw[2] == 0 && raw[3] != 0:
		at = big
	default:
		return nil, false
	}
	units := make([]uint16, 0, len(raw)/2)
	for ; len(raw) >= 2; raw = raw[2:] {
		units = append(units, at(raw))
	}
	return []byte(string(utf16.Decode(units))), true
}

// fromEmlx reads a file of Apple Mail: a line with the number of bytes, the message, a property list.
func fromEmlx(raw []byte) ([]byte, bool) {
	line, rest := cutLine(raw[:min(len(raw), 32)])
	size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 10, 31)
	if err != nil || len(rest) == 0 {
		return nil, false
	}
	_, rest = cutLine(raw)
	if size > uint64(len(rest)) || !looksLikeHeader(rest) {
		return nil, false
	}
	return rest[:size], true
}

var (
	// fieldLine is the first line of a message, or the line above it in an mbox.
	fieldLine = regexp.MustCompile(`^(>?From |[!-9;-~]+[ \t]*:)`)
	// encodedTag is a tag of a signature in quoted-printable: its = has become =3D.
	encodedTag = regexp.MustCompile(`(?im)^(DKIM-Signature|ARC-Seal|ARC-Message-Signature):[^;]{0,200}?\b[via]=3D`)
)

func looksLikeHeader(raw []byte) bool {
	line, _ := cutLine(raw[:min(len(raw), 4096)])
	return fieldLine.Match(line)
}

// fromQuotedPrintable decodes a message whose header was encoded with the rest. Only its
// signature shows that for certain: no tag of one has the value "3D...".
func fromQuotedPrintable(raw []byte) ([]byte, bool) {
	header, _, _ := bytes.Cut(bytes.ReplaceAll(raw[:min(len(raw), 256<<10)], []byte("\r\n"), []byte("\n")), []byte("\n\n"))
	if !encodedTag.Match(header) {
		return nil, false
	}
	inner, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(raw)))
	return inner, err == nil
}

// fromBase64 decodes what is base64 and nothing else, if a message comes out.
func fromBase64(raw []byte) ([]byte, bool) {
	text := bytes.Join(bytes.Fields(raw), nil)
	text = bytes.TrimRight(text, "=")
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		inner := make([]byte, e.DecodedLen(len(text)))
		if n, err := e.Decode(inner, text); err == nil && n > 0 && looksLikeHeader(inner[:n]) {
			return inner[:n], true
		}
	}
	return nil, false
}
