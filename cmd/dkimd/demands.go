package main

import (
	"fmt"
	"io"
	"strings"

	"dkimd/internal/advice"
	"dkimd/internal/safetext"
	"dkimd/internal/terminal"
)

// This file has what commands share that say how something stands to what receivers ask.

const maxShown = 1000

// mark is how a state shows in text.
func mark(f advice.Finding) string {
	switch f.State {
	case advice.Met:
		return "ok"
	case advice.Unmet:
		if f.Required {
			return "WRONG"
		}
		return "better"
	case advice.Unknown, advice.Inapplicable:
	}
	return "-"
}

// asks is a demand with those who ask, or the standard that does.
func asks(f advice.Finding) string {
	by := strings.Join(f.By, ", ")
	if by == "" {
		by = f.Source
	}
	return f.Ask + " (" + by + ")"
}

// shown is text that may have parts of a message or of DNS in it.
func shown(s string) string { return safetext.Clip(safetext.Printable(s), maxShown) }

// printFindings prints how things stand to the demands, and what to do.
func printFindings(w io.Writer, all []advice.Finding) {
	for _, f := range all {
		line := fmt.Sprintf("%-7s %s", mark(f), asks(f))
		if f.Found != "" {
			line += ": " + shown(f.Found)
		}
		text := terminal.Wrap(line[8:], "        ")
		fmt.Fprintln(w, line[:8]+strings.TrimPrefix(text, "        "))
	}
	todo := advice.Todo(all)
	if len(todo) == 0 {
		fmt.Fprintln(w, "\nThere is nothing to do.")
		return
	}
	fmt.Fprint(w, "\nTo do, worst first\n\n")
	for i, f := range todo {
		fmt.Fprintf(w, "%2d. %s\n", i+1, strings.TrimPrefix(terminal.Wrap(f.Name+": "+shown(f.Do), "    "), "    "))
	}
}
