package verifier_test

import "strings"

// bothHeaders makes a fixture for simple and one for relaxed.
func bothHeaders(name, header, names string, tamper func(string) string, simple, relaxed []wantResult) []making {
	var list []making
	for c, want := range map[string][]wantResult{"simple": simple, "relaxed": relaxed} {
		list = append(list, making{
			name: "header-" + name + "-" + c, header: header, tamper: tamper, want: want,
			sign: one(func(s *stamp) { s.canon, s.names = c+"/simple", names }),
		})
	}
	return list
}

// madeHeaders: header canonicalization and selection, RFC 6376 sections 3.4.1, 3.4.2, 5.4 and 5.4.2.
func madeHeaders() []making {
	const folds = madeFrom + "To: Bob\r\n\t<bob@example.net>\r\nSubject:\r\n \t a \t b\r\n  c\t\r\n\td \t \r\n"
	const empty = madeFrom + "X-Empty:\r\nX-Blank: \t \r\nSubject: x\r\n"
	const colon = madeFrom + "Subject \t: x\r\nTo : bob@example.net\r\n"
	const eight = madeFrom + "Subject: gr\xfc\xdfe \xc3\xa4\xc2\xa0 \xff\r\nX-Name: \xa0x\xa0\r\n"
	const three = madeFrom + "X-A: 1\r\nSubject: x\r\nX-A: 2\r\nX-A: 3\r\n"
	const controls = madeFrom + "Subject: a\x0bb\x0c \x01c\x7f\r\n"
	list := []making{}
	add := func(m ...making) { list = append(list, m...) }
	add(bothHeaders("folds-and-tabs", folds, "from:to:subject", nil, passes(), passes())...)
	add(bothHeaders("unfolded", folds, "from:to:subject", replace("Bob\r\n\t<", "Bob\t<"), fails(), passes())...)
	add(bothHeaders("fold-in-a-word", folds, "from:to:subject", replace("Bob\r\n", "B\r\n ob\r\n"), fails(), fails())...)
	add(bothHeaders("space-at-the-end", folds, "from:to:subject", replace("d \t \r\n", "d\r\n"), fails(), passes())...)
	add(bothHeaders("empty-values", empty, "from:x-empty:x-blank:subject", nil, passes(), passes())...)
	add(bothHeaders("empty-value-with-a-space", empty, "from:x-empty:x-blank:subject", replace("X-Empty:", "X-Empty: "), fails(), passes())...)
	add(bothHeaders("empty-value-removed", empty, "from:x-empty:x-blank:subject", replace("X-Empty:\r\n", ""), fails(), fails())...)
	add(bothHeaders("space-before-colon", colon, "from:to:subject", nil, passes(), passes())...)
	add(bothHeaders("space-before-colon-removed", colon, "from:to:subject", replace("Subject \t:", "Subject:"), fails(), passes())...)
	add(bothHeaders("no-space-behind-colon", madeFrom+"Subject:x\r\n", "from:subject", replace("Subject:x", "Subject: x"), fails(), passes())...)
	add(bothHeaders("8-bit", eight, "from:subject:x-name", nil, passes(), passes())...)
	add(bothHeaders("8-bit-changed", eight, "from:subject:x-name", replace("\xc2\xa0 ", " "), fails(), fails())...)
	add(bothHeaders("control-characters", controls, "from:subject", nil, passes(), passes())...)
	add(bothHeaders("name-in-other-case", madeFrom+"Subject: x\r\n", "from:subject", replace("Subject:", "SUBJECT:"), fails(), passes())...)
	add(bothHeaders("value-in-other-case", madeFrom+"Subject: x\r\n", "from:subject", replace("Subject: x", "Subject: X"), fails(), fails())...)
	add(bothHeaders("tab-for-space", folds, "from:to:subject", replace("\tb", " b"), fails(), passes())...)
	add(bothHeaders("long", madeFrom+"References:"+strings.Repeat("\r\n <0123456789@example.org>", 500)+"\r\n", "from:references", nil, passes(), passes())...)

	add(bothHeaders("twice-of-three", three, "from:x-a:x-a", nil, passes(), passes())...)
	add(bothHeaders("twice-and-one-on-top", three, "from:x-a:x-a:x-a", above("X-A: 0\r\n"), passes(), passes())...)
	add(bothHeaders("twice-and-one-below", three, "from:x-a:x-a:x-a", below("X-A: 4\r\n"), fails(), fails())...)
	add(bothHeaders("twice-exchanged", three, "from:x-a:x-a:x-a", replace("X-A: 2\r\nX-A: 3", "X-A: 3\r\nX-A: 2"), fails(), fails())...)
	add(bothHeaders("first-of-three-changed", three, "from:x-a:x-a", replace("X-A: 1", "X-A: 9"), passes(), passes())...)
	add(bothHeaders("others-exchanged", three, "x-a:from:subject", replace("Subject: x\r\nX-A: 2\r\n", "X-A: 2\r\nSubject: x\r\n"), passes(), passes())...)
	add(bothHeaders("unsigned-changed", madeFrom+"Received: a\r\nSubject: x\r\n", "from:subject", replace("Received: a", "Received: b"), passes(), passes())...)
	add(bothHeaders("absent-names", madeFrom+"Subject: x\r\n", "from:subject:x-none:cc:x-none", nil, passes(), passes())...)
	add(bothHeaders("absent-name-added", madeFrom+"Subject: x\r\n", "from:subject:cc", below("Cc: all@example.net\r\n"), fails(), fails())...)
	add(bothHeaders("oversigned-subject-added", madeFrom+"Subject: x\r\n", "from:subject:subject", above("Subject: y\r\n"), fails(), fails())...)
	add(bothHeaders("oversigned-to-added-below", madeFrom+"To: a@example.net\r\n", "from:to:to", below("to: b@example.net\r\n"), fails(), fails())...)
	add(bothHeaders("names-in-mixed-case", "fROM: Ann <ann@example.org>\r\nsUBject: x\r\n", "From:SUBJECT", nil, passes(), passes())...)
	return list
}
