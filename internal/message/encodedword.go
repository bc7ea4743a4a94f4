package message

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"html"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
)

// encodedWord is one word of RFC 2047 section 2, found where start and end say.
type encodedWord struct {
	start, end int
	charset    string
	base64     bool
	text       string
}

// nextWord finds the first encoded word of a text from an offset on. Like mail programs it is not
// strict: white space may stand in a word, and a question mark in its text. A word that begins
// inside another one ends it, for some programs read the one and some the other.
func nextWord(text string, from int) (w encodedWord, found bool) {
	for {
		w.start = strings.Index(text[from:], "=?")
		if w.start < 0 {
			return w, false
		}
		w.start += from
		var head int
		if w.charset, w.base64, head = wordHead(text[w.start:]); head == 0 {
			from = w.start + 2
			continue
		}
		rest := text[w.start+head:]
		for at := 0; ; {
			mark := strings.IndexByte(rest[at:], '?')
			if mark < 0 {
				return w, false // nor does any later one end
			}
			at += mark
			if at+1 < len(rest) && rest[at+1] == '=' {
				w.text, w.end = rest[:at], w.start+head+at+2
				return w, true
			}
			if at > 0 && rest[at-1] == '=' {
				if _, _, inner := wordHead(rest[at-1:]); inner > 0 {
					w.text, w.end = rest[:at-1], w.start+head+at-1
					return w, true
				}
			}
			at++
		}
	}
}

// wordHead reads "=?charset?encoding?", which is head octets long, or 0 where it is not there.
func wordHead(text string) (charset string, isBase64 bool, head int) {
	mark := strings.IndexByte(text[2:], '?') // not past the next "=?", so a flood of these costs no more than its length
	if mark < 0 {
		return "", false, 0
	}
	at := 2 + mark + 1
	if at+1 >= len(text) || text[at+1] != '?' {
		return "", false, 0
	}
	letter := text[at] | 0x20
	if letter != 'b' && letter != 'q' {
		return "", false, 0
	}
	return text[2 : 2+mark], letter == 'b', at + 2
}

// decodeWords is a text with its encoded words decoded, as mail programs show it; empty where there
// is none. Like mail programs it makes something of words that are not encoded well. White
// space between two words is not shown (RFC 2047 section 6.2), and what words of one charset
// hold is decoded together: a character may be cut in two. Some programs put white space around
// what a word holds; for the others, names are also found across white space.
func decodeWords(text string, decode func(charset string, octets []byte) []byte) string {
	var out, octets []byte
	var charset string
	end := 0
	for w, found := nextWord(text, 0); found; w, found = nextWord(text, end) {
		gap := text[end:w.start]
		if apart := end == 0 || strings.Trim(gap, " \t\r\n") != ""; apart || !strings.EqualFold(w.charset, charset) {
			out = append(out, decode(charset, octets)...)
			octets = octets[:0]
			if apart {
				out = append(append(append(out, ' '), gap...), ' ')
			}
		}
		charset, end = w.charset, w.end
		if w.base64 {
			octets = appendBase64(octets, w.text)
		} else {
			octets = appendQ(octets, w.text)
		}
	}
	if end == 0 {
		return ""
	}
	out = append(append(out, decode(charset, octets)...), ' ')
	return string(append(out, text[end:]...))
}

// appendBase64 decodes base64 with or without its padding, and with other
// characters in it (RFC 2045 section 6.8: these must be ignored).
func appendBase64(dst []byte, word string) []byte {
	digits := make([]byte, 0, len(word))
	for i := range len(word) {
		c := word[i]
		letter := c | 0x20
		if 'a' <= letter && letter <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/' {
			digits = append(digits, c)
		}
	}
	if len(digits)%4 == 1 {
		digits = digits[:len(digits)-1] // six bits are no octet
	}
	out, err := base64.RawStdEncoding.AppendDecode(dst, digits)
	if err != nil { // nothing is left that could be wrong
		return dst
	}
	return out
}

// appendQ decodes the Q encoding (RFC 2047 section 4.2); what is not encoded well stays.
func appendQ(dst []byte, word string) []byte {
	for i := 0; i < len(word); i++ {
		c := word[i]
		switch {
		case c == '_':
			c = ' '
		case c == '=' && i+2 < len(word):
			var octet [1]byte
			if _, err := hex.Decode(octet[:], []byte(word[i+1:i+3])); err == nil {
				c = octet[0]
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// asOctets takes every charset for one in which ASCII is ASCII, as programs do that do not know it.
func asOctets(_ string, octets []byte) []byte { return octets }

// inCharset decodes text in charsets in which ASCII may be written with other octets, or
// octets of ASCII may be part of other characters. What is in another charset stays.
func inCharset(charset string, octets []byte) []byte {
	name, _, _ := strings.Cut(strings.ToLower(charset), "*") // RFC 2231 section 5: a language may follow
	name = strings.TrimSpace(name)
	if len(octets) == 0 || name == "utf-8" || name == "us-ascii" || strings.HasPrefix(name, "iso-8859-") {
		return octets
	}
	// Libraries know more spellings than the registered one, and many look at letters and digits only.
	key := strings.Map(onlyAlphanumeric, name)
	var e encoding.Encoding
	switch {
	case strings.Contains(key, "utf7") || key == "u7":
		if strings.Contains(key, "imap") { // RFC 3501 section 5.1.3
			octets = bytes.ReplaceAll(octets, []byte("&"), []byte("+"))
		}
		return decodeUTF7(octets)
	case strings.HasSuffix(key, "unicodeescape"): // Python's
		return unescaped(octets)
	case strings.HasPrefix(key, "html"): // PHP's
		return []byte(html.UnescapeString(string(octets)))
	case strings.HasPrefix(key, "hz"):
		e = simplifiedchinese.HZGB2312
	case key == "utf16" || key == "u16":
		return decodeUTF16(octets)
	case isEBCDIC(key):
		// The code pages have the letters of ASCII and the dot in common, but not the "@".
		e = charmap.CodePage037
	default:
		var err error
		if e, err = htmlindex.Get(registered(name, key)); err != nil || e == encoding.Replacement {
			return octets
		}
	}
	text, err := e.NewDecoder().Bytes(octets)
	if err != nil {
		return octets
	}
	if isEBCDIC(key) {
		return bytes.Map(ebcdicAt, text)
	}
	return text
}

// registered is the registered name of a charset that some write otherwise; key is its name without punctuation.
func registered(name, key string) string {
	switch {
	case strings.HasPrefix(key, "iso2022jp"), strings.HasPrefix(key, "csiso2022jp"), strings.HasPrefix(key, "jis"):
		return "iso-2022-jp" // later editions only add sets
	case strings.HasPrefix(key, "utf16be"):
		return "utf-16be"
	case strings.HasPrefix(key, "utf16le"):
		return "utf-16le"
	}
	return name
}

// unescaped is a text without the escapes of a string literal: \x40.
func unescaped(octets []byte) []byte {
	var out []byte
	for text := string(octets); text != ""; {
		r, _, rest, err := strconv.UnquoteChar(text, 0)
		if err != nil {
			out, text = append(out, text[0]), text[1:]
			continue
		}
		out, text = utf8.AppendRune(out, r), rest
	}
	return out
}

func onlyAlphanumeric(r rune) rune {
	if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
		return r
	}
	return -1
}

// isEBCDIC reports whether a charset, its name without punctuation, is one of IBM's in which no letter of ASCII is where
// it is in ASCII. Some libraries take the number alone.
func isEBCDIC(charset string) bool {
	if strings.Contains(charset, "ebcdic") {
		return true
	}
	at := strings.LastIndexFunc(charset, func(r rune) bool { return r < '0' || r > '9' }) + 1
	family, digits := charset[:at], charset[at:]
	if !strings.Contains(family, "ibm") && !strings.HasSuffix(family, "cp") && family != "ccsid" && family != "" {
		return false
	}
	switch n := strings.TrimLeft(digits, "0"); n {
	case "37", "273", "274", "275", "277", "278", "280", "281", "284", "285", "290", "297", "420", "423", "424", "500", "833", "838", "870", "871", "875",
		"880", "905", "918", "924", "1025", "1026", "1047", "1097", "1112", "1122", "1123":
		return true
	default:
		return len(n) == 4 && strings.HasPrefix(n, "114") // with the euro sign
	}
}

// ebcdicAt makes an "@" of what stands in code page 37 where one of the national code pages has it.
func ebcdicAt(r rune) rune {
	switch r {
	case '\u00a7', '\u00e0', '\u00d8', '\u00d6', '\u00de', '\u00d0': // 273 and 280, 297, 277, 278, 1026, 871
		return '@'
	}
	return r
}

// decodeUTF16 decodes UTF-16 (RFC 2781). Where no byte order mark begins it programs differ, so both orders follow each other.
func decodeUTF16(octets []byte) []byte {
	if text, err := unicode.UTF16(unicode.BigEndian, unicode.ExpectBOM).NewDecoder().Bytes(octets); err == nil {
		return text
	}
	little, _ := unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewDecoder().Bytes(octets)
	big, _ := unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewDecoder().Bytes(octets)
	return append(append(little, ' '), big...)
}

// decodeUTF7 decodes UTF-7 (RFC 2152): between "+" and the next octet that is no digit of base64 stands UTF-16.
func decodeUTF7(octets []byte) []byte {
	var out []byte
	for len(octets) > 0 {
		plus := bytes.IndexByte(octets, '+')
		if plus < 0 {
			break
		}
		out = append(out, octets[:plus]...)
		octets = octets[plus+1:]
		n := 0
		for n < len(octets) && strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", octets[n]) >= 0 {
			n++
		}
		units := appendBase64(nil, string(octets[:n]))
		for i := 0; i+1 < len(units); i += 2 {
			r := rune(binary.BigEndian.Uint16(units[i:]))
			if utf16.IsSurrogate(r) && i+3 < len(units) {
				r = utf16.DecodeRune(r, rune(binary.BigEndian.Uint16(units[i+2:])))
				i += 2
			}
			out = utf8.AppendRune(out, r)
		}
		if n == 0 && bytes.HasPrefix(octets, []byte("-")) {
			out = append(out, '+')
		}
		octets = bytes.TrimPrefix(octets[n:], []byte("-"))
	}
	return append(out, octets...)
}
