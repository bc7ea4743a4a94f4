// Package conformance checks docs/conformance.txt, the table of what the RFCs
// demand of a signer or verifier, and writes docs/conformance.md from it. Each
// demand names the line of code that obeys and the test that would fail; the
// tests of this package fail where one of them is gone. The level is MUST, SHOULD
// (REQUIRED and RECOMMENDED too) and their NOT, or says: what binds without a word of BCP 14.
//
// The form of the table: a line of its own names a document. A demand starts in
// the first column with section and level, and its words go on in lines indented
// by two spaces. Below it, indented by four:
//
//	code: FILE DECLARATION `line` => `line`   what obeys, and a way to break it
//	test: PACKAGE TestName/case               what fails then
//	departs: words                            instead: the row of docs/divergences.md has them
//	void: reason                              instead: why it does not bind dkimd
//
// The line, and with it the way to break it, may be left out. `scripts/conformance`
// breaks each line that can be broken and sees the test fail.
package conformance
