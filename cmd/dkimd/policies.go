package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"dkimd/internal/events"
	"dkimd/internal/terminal"
)

// maxName bounds the names in a table, which strangers choose.
const maxName = 60

// colourOf is the colour of a verdict or a result.
func colourOf(word string) terminal.Colour {
	switch strings.Trim(word, "()") {
	case "reject", "fail", "permerror", "discard":
		return terminal.Red
	case "tempfail", "temperror", "quarantine", "policy", "neutral", "aborted":
		return terminal.Yellow
	case "pass":
		return terminal.Green
	}
	return terminal.Plain
}

// printPolicies says what SPF and DMARC say, where they were asked.
func printPolicies(w io.Writer, s events.SPF, d events.DMARC) {
	why := func(reason string) string {
		if reason == "" {
			return ""
		}
		return " (" + terminal.Safe(reason) + ")"
	}
	if s.Result != "" && (s.Domain != "" || s.Result != "none") {
		fmt.Fprintf(w, "spf %s: %s%s\n", terminal.Safe(s.Domain), s.Result, why(s.Reason))
	}
	if d.Policy == "" && (d.Result == "" || d.Result == "none") {
		return
	}
	line := "dmarc: " + cmp.Or(d.Result, "not known: nobody asked SPF")
	if d.Policy != "" {
		line += ", policy " + d.Policy + " at " + d.Domain
	}
	if d.Testing {
		line += ", in place of " + d.Published + " (t=y)"
	}
	if d.AlignedBy != "" {
		line += ", by " + d.AlignedBy
	}
	fmt.Fprintln(w, terminal.Safe(line)+why(d.Reason))
}
