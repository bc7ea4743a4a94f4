package verifier_test

import "strings"

func bothBodies(name, body string, tamper func(string) string, simple, relaxed []wantResult) []making {
	var list []making
	for c, want := range map[string][]wantResult{"simple": simple, "relaxed": relaxed} {
		list = append(list, making{name: "body-" + name + "-" + c, body: body, tamper: tamper, want: want, sign: canon("relaxed/" + c)})
	}
	return list
}

// madeBodies: body canonicalization, RFC 6376 sections 3.4.3 and 3.4.4.
func madeBodies() []making {
	const spaces = "a  b\tc \r\n \t\r\nd\t\r\n\r\n"
	list := []making{}
	add := func(m ...making) { list = append(list, m...) }
	add(bothBodies("none", none, nil, passes(), passes())...)
	add(bothBodies("none-line-ends-added", none, behind("\r\n\r\n"), passes(), passes())...)
	add(bothBodies("none-space-added", none, behind(" \r\n"), fails(), passes())...)
	add(bothBodies("line-ends", "\r\n\r\n\r\n", nil, passes(), passes())...)
	add(bothBodies("line-ends-at-the-start", "\r\n\r\na\r\n", nil, passes(), passes())...)
	add(bothBodies("line-end-at-the-start-added", "a\r\n", replace("\r\n\r\na", "\r\n\r\n\r\na"), fails(), fails())...)
	add(bothBodies("line-ends-added", "a\r\n", behind("\r\n\r\n"), passes(), passes())...)
	add(bothBodies("white-space", spaces, nil, passes(), passes())...)
	add(bothBodies("white-space-inside-changed", spaces, replace("a  b\tc", "a\tb c"), fails(), passes())...)
	add(bothBodies("white-space-inside-removed", spaces, replace("a  b", "ab"), fails(), fails())...)
	add(bothBodies("white-space-at-line-end-removed", spaces, replace("d\t\r\n", "d\r\n"), fails(), passes())...)
	add(bothBodies("white-space-at-line-start-added", spaces, replace("\r\nd", "\r\n d"), fails(), fails())...)
	add(bothBodies("white-space-lines", "a\r\n \r\n\t\t\r\n", nil, passes(), passes())...)
	add(bothBodies("white-space-lines-removed", "a\r\n \r\n\t\t\r\n", replace("a\r\n \r\n\t\t\r\n", "a\r\n"), fails(), passes())...)
	add(bothBodies("only-white-space", "  \r\n\t\r\n", nil, passes(), passes())...)
	add(bothBodies("no-final-line-end", "a\r\nb", nil, passes(), passes())...)
	add(bothBodies("final-line-end-added", "a\r\nb", behind("\r\n"), passes(), passes())...)
	add(bothBodies("space-at-the-end", "a\r\nb ", nil, passes(), passes())...)
	add(bothBodies("space-at-the-end-line-end-added", "a\r\nb \t", behind("\r\n"), passes(), passes())...)
	add(bothBodies("space-line-at-the-end", "a\r\n \t", nil, passes(), passes())...)
	add(bothBodies("bare-cr", "a\rb\r\n\rc \r \r\n\r", nil, passes(), passes())...)
	add(bothBodies("bare-lf", "a\nb\r\n\nc \n \r\n\n", nil, passes(), passes())...)
	add(bothBodies("bare-lf-made-crlf", "a\nb\r\n", replace("a\nb", "a\r\nb"), fails(), fails())...)
	add(bothBodies("cr-cr-lf", "a\r\r\nb \r\r\n\r\r\n", nil, passes(), passes())...)
	add(bothBodies("cr-cr-lf-made-crlf", "a\r\r\nb\r\n", replace("a\r\r\n", "a\r\n"), fails(), fails())...)
	add(bothBodies("nul", "a\x00b \x00\r\n\x00", nil, passes(), passes())...)
	add(bothBodies("long-line", strings.Repeat("x", 5000)+"  "+strings.Repeat("y ", 4000)+"\r\n", nil, passes(), passes())...)
	add(bothBodies("vertical-white-space", "a\x0b\x0c\r\n\xa0\r\n\xc2\xa0\r\n", nil, passes(), passes())...)
	add(bothBodies("cut", "a\r\nb\r\nc\r\n", replace("b\r\nc\r\n", "b\r\n"), fails(), fails())...)
	return list
}
