package message_test

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/message"
)

// testdata/readers.jsonl has From fields and which mail libraries show an address of gmail.com for each;
// scripts/mail-readers writes it. "libmime+" and "decoded first" are libraries that get the field with its
// encoded words decoded, as webmails do it.
func TestReadFromClaimsWhatOthersRead(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/readers.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	shown := 0
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var field struct {
			From    string
			Readers []string `json:"gmail.com"`
		}
		if err := json.Unmarshal(lines.Bytes(), &field); err != nil {
			t.Fatal(err)
		}
		if len(field.Readers) == 0 {
			continue
		}
		shown++
		if got := message.ReadFrom(header("From:" + field.From)); !slices.Contains(got.Claimed, "gmail.com") {
			t.Errorf("%q claims only %q, readable %v; %q read gmail.com", field.From, got.Claimed, got.Readable, field.Readers)
		}
	}
	if shown < 300 {
		t.Errorf("only %d fields", shown)
	}
}

// What no library at hand reads and another one may, and what people see at once.
func TestReadFromClaimsWhatOthersMayRead(t *testing.T) {
	t.Parallel()
	for _, from := range []string{
		`"ceo@gmail.com": x@evil.example;`, `"<ceo@gmail.com>": X <x@evil.example>;`, `ceo(@gmail.com): x@evil.example;`,
		`=?utf-8?q?ceo=40gmail.com?=: x@evil.example;`, "\"ceo\uff20gmail.com\"@evil.example", `<@gmail.com:x@evil.example>`,
		"ceo@gm\x1b(Bail.com", "=?iso-2022-jp?Q?ceo=1B$B!w=1B=28Bgmail.com?=", "=?hz-gb-2312?q?ceo=7E{=23=40=7E}gmail.com?=",
		"=?cp297?b?g4WWRIeUgYmTS4OWlA==?=", "=?IBM01147?b?g4WWRIeUgYmTS4OWlA==?=", "=?ebcdic-cp-fr?b?g4WWRIeUgYmTS4OWlA==?=",
		"=?utf-7?q?ceo+AEAAZwBtAGEAaQBs.com?=", "=?x?q? =?utf-8?q?ceo=40gmail.com?=", "=?utf-8?b?Y2VvQGdtYWlsLmNvbQ?x?=",
		"=?html-entities?q?ceo=26=2364;gmail.com=2C?= <x@evil.example>", "=?UTF7-IMAP?q?ceo=26AEA-gmail.com=2C?= <x@evil.example>",
		"=?iso2022jp?Q?ceo=1B$B!w=1B=28Bgmail.com?=", "=?utf-16?q?=00c=00e=00o=00=40=00g=00m=00a=00i=00l=00.=00c=00o=00m?=",
		"=?csibm037?b?g4WWfIeUgYmTS4OWlA==?=", "ceo@gma \u00a0 il.com", "ceo@g m a i l . c o m", "Boss <ceo@gma\r\n\til.com>", "ceo@gm<>ail.com",
	} {
		if got := message.ReadFrom(header("From: " + from)); !slices.Contains(got.Claimed, "gmail.com") {
			t.Errorf("%q claims only %q, readable %v", from, got.Claimed, got.Readable)
		}
	}
}

// A name in quotes, an encoded word or a comment beside an address is not taken for one: good mail has these.
func TestReadFromClaimsNoDisplayName(t *testing.T) {
	t.Parallel()
	for _, from := range []string{
		`"jane@gmail.com via DocuSign" <x@docusign.example>`, `"jane@gmail.com" <x@docusign.example>`,
		`=?utf-8?q?jane=40gmail.com_via_DocuSign?= <x@docusign.example>`, `=?utf-8?b?amFuZUBnbWFpbC5jb20=?= <x@docusign.example>`,
		`"'jane@gmail.com' via List" <x@docusign.example>`, `"Doe, Jane (jane@gmail.com)" <x@docusign.example>`,
		`=?utf-8?q?Doe=2C_Jane_=28jane=40gmail.com=29?= <x@docusign.example>`, `x@docusign.example (jane@gmail.com)`,
		`Jane (jane@gmail.com) <x@docusign.example>`, `"Jane (gmail.com)" <x@docusign.example>`, `"a\"jane@gmail.com\"" <x@docusign.example>`,
		`=?us-ascii*en?q?jane=40gmail.com?= <x@docusign.example>`, `=?utf-7?q?jane+AEA-gmail.com?= <x@docusign.example>`,
		"=?iso-2022-jp?b?GyRCOzNFRBsoQg==?= =?iso-2022-jp?b?GyRCQkBPOhsoQg==?= <x@docusign.example>", "\"jane@gmail.com\"\r\n <x@docusign.example>",
		`Team: "jane@gmail.com" <x@docusign.example>, "Bob" <y@docusign.example>;`, `"a <jane@gmail.com>" <x@docusign.example>`,
	} {
		if got := message.ReadFrom(header("From: " + from)); !got.Readable || !slices.Equal(got.Claimed, []domain.Name{"docusign.example"}) {
			t.Errorf("%q claims %q, readable %v", from, got.Claimed, got.Readable)
		}
	}
}
