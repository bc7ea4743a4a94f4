package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"

	"dkimd/internal/fault"

	"github.com/spf13/cobra"
)

// This file has what commands with --json share. docs/commands.md describes what they print.

// answer is what such a command found out.
type answer interface {
	print(std stdio) error // for people
	findings() *found
}

// found is what is wrong with what a command looked at: part of its JSON, and without --json lines on standard error.
type found struct {
	Faults   []fault.Finding `json:"faults"`
	Warnings []fault.Finding `json:"warnings"`
}

func (f *found) findings() *found { return f }

func (f *found) fault(err error) { f.Faults = append(f.Faults, fault.Findings(err)...) }

func (f *found) warn(err error) { f.Warnings = append(f.Warnings, fault.Findings(err)...) }

// jsonFlag gives a command --json.
func jsonFlag(c *cobra.Command, asJSON *bool) *cobra.Command {
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
	return c
}

// say prints an answer. The error says why there is none, or is quiet. As JSON the answer has it too, so that
// a program needs standard output alone. What say returns gives the same exit status in both forms.
func say(std stdio, asJSON bool, a answer, err error) error {
	f, quiet := a.findings(), errors.Is(err, errQuiet)
	if asJSON {
		if err != nil && !quiet {
			f.fault(err)
			if user, ok := errors.AsType[userError](err); ok && user.hint != "" {
				f.Faults[len(f.Faults)-1].Hint = user.hint
			}
		}
		f.Faults, f.Warnings = orEmpty(f.Faults), orEmpty(f.Warnings)
		if err := printJSON(std.out, a); err != nil {
			return err
		}
		return quietly(err)
	}
	for _, w := range f.Warnings {
		fmt.Fprintf(std.err, "dkimd: warning: %s\n", w.Text)
	}
	for _, one := range f.Faults {
		fmt.Fprintf(std.err, "dkimd: %s\n", one.Text)
	}
	if err != nil && !quiet {
		return err
	}
	if printing := a.print(std); printing != nil {
		return printing
	}
	return err
}

// quietly is an error with the same exit status, and nothing left to print.
func quietly(err error) error {
	switch {
	case err == nil:
		return nil
	case forUser(err):
		return userError{err: errQuiet}
	}
	return errQuiet
}

// orEmpty is a list that JSON has as one: without elements [], not null.
func orEmpty[T any](list []T) []T { return append([]T{}, list...) }

// printJSON prints a value as JSON, for programs and for people.
func printJSON(w io.Writer, v any) error {
	var b printable
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

// printable is JSON in which what is not printable is escaped: C1 controls and bidirectional marks, which move or
// break lines in terminals.
type printable []byte

// Write is io.Writer. The encoder writes all at once.
func (b *printable) Write(p []byte) (int, error) {
	for _, r := range string(p) {
		switch {
		case r == '\n' || strconv.IsPrint(r):
			*b = append(*b, string(r)...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			*b = fmt.Appendf(*b, `\u%04x\u%04x`, high, low)
		default:
			*b = fmt.Appendf(*b, `\u%04x`, r)
		}
	}
	return len(p), nil
}
