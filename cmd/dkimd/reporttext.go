package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/advice"
	"dkimd/internal/terminal"
)

// chapter is a part of the report for people, whatever it is printed on. Its lines may have text of strangers, in which
// what is not printable is escaped.
type chapter struct {
	Title string
	Lines []string
}

// chapters are the parts on what is there; those on demands come behind.
func (r *reported) chapters() []chapter {
	e := r.Envelope
	sent := chapter{Title: "The message"}
	sent.add("From: %s; %s", strings.Join(r.From, ", "), terminal.Plural(r.Bytes, "octet"))
	if e.Client == "" {
		sent.add("The client is not known, so SPF was not asked: --client and --sender say it.")
	} else {
		sent.add("Client %s, HELO %s, by %s.", e.Client, e.HELO, e.ClientFrom)
	}
	if e.SenderKnown {
		sent.add("MAIL FROM <%s>, by %s.", e.Sender, e.SenderFrom)
	} else {
		sent.add("MAIL FROM is not known, so SPF was not asked: --sender says it.")
	}
	all := []chapter{sent}
	for i := range r.Signatures {
		all = append(all, r.Signatures[i].chapter(i+1))
	}
	if len(r.Signatures) == 0 {
		all = append(all, chapter{"Signatures", []string{"There is none."}})
	}
	policies := chapter{Title: "SPF and DMARC"}
	var b strings.Builder
	printPolicies(&b, r.SPF, r.DMARC)
	for line := range strings.Lines(b.String()) {
		policies.add("%s", strings.TrimSuffix(line, "\n"))
	}
	for _, line := range r.Walk {
		policies.add("asked: %s", line)
	}
	if len(policies.Lines) == 0 {
		policies.add("There is nothing to say.")
	}
	return append(all, policies)
}

func (c *chapter) add(format string, args ...any) {
	c.Lines = append(c.Lines, shown(fmt.Sprintf(format, args...)))
}

func (s *reportedSignature) chapter(n int) chapter {
	c := chapter{Title: "Signature " + strconv.Itoa(n) + ": " + s.Result}
	c.add("d=%s s=%s a=%s c=%s", s.Domain, s.Selector, s.Algorithm, s.Canonicalization)
	if s.Reason != "" {
		c.add("%s: %s", s.Result, s.Reason)
	}
	c.add("alignment with From: %s", s.Aligned)
	if k := s.Key; k != nil {
		key := "key:"
		if s.KeyBits > 0 {
			key += " " + terminal.Plural(s.KeyBits, "bit") + ","
		}
		key += " TTL " + k.ttl()
		if k.Dated != "" {
			day, _ := time.Parse(time.DateOnly, k.Dated)
			key += ", selector of " + k.Dated + " (" + terminal.Plural(int(time.Since(day).Hours()/24), "day") + " old)" //nolint:mnd // hours of a day
		}
		if s.Testing {
			key += ", t=y (test mode)"
		}
		if k.Strict {
			key += ", t=s (no subdomains)"
		}
		c.add("%s", key)
	}
	if s.Timestamp > 0 {
		c.add("signed at %s", time.Unix(s.Timestamp, 0).UTC().Format(time.RFC3339))
	}
	if len(s.Headers) > 0 {
		c.add("signed fields: %s", strings.Join(s.Headers, ":"))
	}
	for _, text := range s.Changed {
		c.add("- %s", text)
	}
	return c
}

// ttl is how long a record is kept yet, as exactly as anybody wants to know.
func (k *reportedKey) ttl() string {
	ttl := time.Duration(k.TTL) * time.Second
	if ttl < time.Minute {
		return ttl.String()
	}
	return strings.TrimSuffix(ttl.Round(time.Minute).String(), "0s")
}

// text is the report for people.
func (r *reported) text() string {
	var b strings.Builder
	for _, c := range r.chapters() {
		fmt.Fprintf(&b, "%s\n\n", c.Title)
		for _, line := range c.Lines {
			fmt.Fprintln(&b, terminal.Wrap(line, "  "))
		}
		b.WriteByte('\n')
	}
	fmt.Fprint(&b, "What receivers ask\n\n")
	printFindings(&b, r.Demands)
	return b.String()
}

//go:embed report.html
var reportHTML string

func (r *reported) print(std stdio) error {
	if r.asHTML {
		page := template.Must(template.New("report").Funcs(template.FuncMap{"mark": mark, "asks": asks, "shown": shown, "todo": advice.Todo}).Parse(reportHTML))
		return page.Execute(std.out, map[string]any{"Chapters": r.chapters(), "Demands": r.Demands})
	}
	_, err := io.WriteString(std.out, r.text())
	return err
}
