package main

import (
	"cmp"
	"fmt"
	"io"

	"dkimd/internal/events"
	"dkimd/internal/terminal"
)

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
