package eml_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"dkimd/internal/eml"
)

const sent = "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; b=AAAA==\r\nFrom: joe@example.org\r\n\r\nHello = you\r\n"

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

func wide(s string, big bool) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		low, high := byte(u), byte(u>>8)
		if big {
			low, high = high, low
		}
		b.WriteByte(low)
		b.WriteByte(high)
	}
	return b.String()
}

// What is certain to be around a message is taken off, and said.
func TestReadUnwraps(t *testing.T) {
	t.Parallel()
	encoded := strings.ReplaceAll(sent, "=", "=3D")
	lines := base64.StdEncoding.EncodeToString([]byte(sent))
	lines = lines[:76] + "\r\n" + lines[76:] + "\r\n"
	unix := strings.ReplaceAll(sent, "\r\n", "\n")
	tests := map[string]struct{ file, want, note string }{
		"nothing":                    {sent, sent, ""},
		"a byte order mark":          {"\xef\xbb\xbf" + sent, sent, "byte order mark (UTF-8)"},
		"UTF-16, little first":       {wide("\ufeff"+sent, false), sent, "UTF-16"},
		"UTF-16, big first":          {wide("\ufeff"+sent, true), sent, "UTF-16"},
		"UTF-16 without mark":        {wide(sent, false), sent, "UTF-16"},
		"UTF-16BE without mark":      {wide(sent, true), sent, "UTF-16"},
		"gzip":                       {zipped(sent), sent, "gzip"},
		"gzip, then a mark":          {zipped("\xef\xbb\xbf" + sent), sent, "gzip: read unpacked|the file begins with a byte order mark"},
		"quoted-printable":           {encoded, sent, "quoted-printable"},
		"quoted-printable, folded":   {strings.Replace(encoded, "d=3Dex", "=\r\nd=3Dex", 1), sent, "quoted-printable"},
		"base64":                     {lines, sent, "base64"},
		"base64 for URLs":            {base64.URLEncoding.EncodeToString([]byte(sent)), sent, "base64"},
		"Apple Mail":                 {strconv.Itoa(len(sent)) + "       \n" + sent + "<?xml version=\"1.0\"?><plist/>", sent, ".emlx"},
		"CR alone":                   {strings.ReplaceAll(sent, "\r\n", "\r"), unix, "CR alone"},
		"mbox":                       {"From joe Mon Nov 30 10:00:00 2026\n" + unix, unix, ""},
		"mbox, quoted":               {">From joe Mon Nov 30 10:00:00 2026\n" + unix, unix, ""},
		"mbox of two":                {"From joe Mon Nov 30 10:00:00 2026\n" + unix + "\nFrom ann Mon Nov 30 10:00:01 2026\n" + unix, unix, "several messages"},
		"From within a body":         {unix + "\nFrom ann Mon Nov 30 10:00:01 2026\nx: y\n", unix + "\nFrom ann Mon Nov 30 10:00:01 2026\nx: y\n", ""},
		"=3D in a subject":           {"Subject: a=3Db\n\n=3D\n", "Subject: a=3Db\n\n=3D\n", ""},
		"base64 below an empty line": {"\n" + lines, sent, "base64"},
		"words":                      {"hello", "hello", ""},
		"one byte":                   {"\xff", "\xff", ""},
	}
	for name, tc := range tests {
		m, err := eml.Read("-", strings.NewReader(tc.file))
		notes := strings.Join(m.Notes, "|")
		if err != nil || string(m.Raw) != tc.want || !strings.Contains(notes, tc.note) || (tc.note == "") != (notes == "") {
			t.Errorf("%s: %q, %q, %v", name, m.Raw, notes, err)
		}
	}
}

// What holds no message as it was sent is named as what it is.
func TestReadNamesOtherFiles(t *testing.T) {
	t.Parallel()
	page := wide("\ufeff<html><body>DKIM-Signature: v=1; ", false)
	type kind struct{ want, file string }
	for _, k := range []kind{
		{"Outlook .msg file", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00\x00"},
		{"winmail.dat", "\x78\x9f\x3e\x22"},
		{"a ZIP archive", "PK\x03\x04"},
		{"a PDF document", "%PDF-1.7"},
		{"a rich text document", `{\rtf1 hello}`},
		{"xz", "\xfd7zXZ\x00"},
		{"bzip2", "BZh9"},
		{"zstd", "\x28\xb5\x2f\xfd"},
		{"an HTML page", "<!DOCTYPE html>\n<html>From: joe"},
		{"an HTML page", "\xef\xbb\xbf\r\n <HTML lang=en>"},
		{"an HTML page", "<?xml version=\"1.0\"?>\n<html xmlns='x'>"},
		{"an HTML page", zipped("<html>")},
		{"an HTML page", page},
		{"unpack the message: unexpected EOF", zipped(sent)[:30]},
		{"unpack the message: ", "\x1f\x8bnot gzip"},
	} {
		if m, err := eml.Read("-", strings.NewReader(k.file)); err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%q: %q, %v; want %q", k.file, m.Raw, err, k.want)
		}
	}
}
