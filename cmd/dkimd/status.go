package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/control"
	"dkimd/internal/terminal"

	"github.com/spf13/cobra"
)

func statusCommand(std stdio) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say what the running daemon does, and what is wrong with it",
		Long: `Status asks the running daemon, over the socket of [control]: how long it
runs, which configuration is in force and whether a reload was refused, its
sockets, keys, rules and name servers, and what came of mail since the start.

Exit status: 0 ready, 1 running with a fault, 2 no daemon answered.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := controlClient(cmd)
			if err != nil {
				return err
			}
			s, err := client.Status(cmd.Context())
			switch {
			case err != nil:
				return unanswered(err)
			case asJSON:
				err = printJSON(std.out, s)
			default:
				err = printStatus(std.out, s, time.Now())
			}
			if err == nil && !s.Ready {
				return errQuiet
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printStatus(w io.Writer, s control.Status, now time.Time) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s%s\n", name, terminal.Safe(fmt.Sprintf(format, args...)))
	}
	state := "ready"
	if !s.Ready {
		state = "not ready"
	}
	line("dkimd", "%s, pid %d, up %s: %s", s.Version, s.PID, age(now.Sub(s.Started)), state)
	line("config", "%s, as of %s", s.Config, s.Loaded.UTC().Format(time.RFC3339))
	for _, d := range s.Doors {
		line(d.Front, "%s, %s of at most %d", strings.Join(d.Listen, " "), terminal.Plural(d.Connections, "connection"), d.Limit)
	}
	line("keys", "%s for %s%s", terminal.Plural(s.Keys.Usable, "key"), terminal.Plural(s.Keys.Domains, "domain"),
		besides(s.Keys.Unusable, "cannot be used", s.Keys.Kept))
	if text := s.Rotation.Words(); text != "" {
		line("rotation", "%s", text)
	}
	line("rules", "%s%s", terminal.Plural(s.Rules.Files, "rules file"), besides(s.Rules.Broken, "broken", s.Rules.Kept))
	line("dns", "%s, %s in the cache", strings.Join(s.DNS.Servers, " "), terminal.Plural(s.DNS.Cached, "name"))
	line("log", "%s, %s lost", strings.Join(s.Log.Outputs, " "), terminal.Plural(int(s.Log.Lost), "record")) //nolint:gosec // far from the limit
	for _, f := range s.Faults {
		line("fault", "%s", f.Text)
	}
	for _, w := range s.Warnings {
		line("warning", "%s", w.Text)
	}
	if _, err := io.WriteString(w, b.String()); err != nil || len(s.Messages) == 0 {
		return err
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	rows := make([][]string, len(s.Messages))
	for i, m := range s.Messages {
		rows[i] = []string{m.Front, m.Mode, m.Verdict, strconv.FormatUint(m.Count, 10)}
	}
	table := terminal.NewTable(w, terminal.PaletteOf(w), "front", "mode", "verdict", "messages")
	table.Numbers(3)
	return table.Rows(rows)
}

// besides says what of the keys or rules is not as it should be.
func besides(broken int, word string, kept int) string {
	var text string
	if broken > 0 {
		text += fmt.Sprintf(", %d %s", broken, word)
	}
	if kept > 0 {
		text += fmt.Sprintf(", %s as before the reload", terminal.Plural(kept, "domain"))
	}
	return text
}

// age is a time span for people: the two largest of its units.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d s", max(d, 0)/time.Second)
}
