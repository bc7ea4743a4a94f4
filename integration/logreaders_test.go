//go:build integration

package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"dkimd/integration/harness"
	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
)

const (
	genuineClient = "203.0.113.9"   // of eventstest.Sample
	victimClient  = "198.51.100.66" // whom strangers want banned
)

// strangers are the fields of a record that come from a stranger, from DNS or from the MTA.
var strangers = map[string]func(e *events.Event, s string){
	"id":         func(e *events.Event, s string) { e.ID = s },
	"message_id": func(e *events.Event, s string) { e.MessageID = s },
	"helo":       func(e *events.Event, s string) { e.Helo = s },
	"auth":       func(e *events.Event, s string) { e.Auth = s },
	"sender":     func(e *events.Event, s string) { e.Sender = s },
	"from":       func(e *events.Event, s string) { e.From = []string{s} },
	"two from":   func(e *events.Event, s string) { e.From = []string{"a@theirs.example", s, s} },
	"many from": func(e *events.Event, s string) {
		for range 200 {
			e.From = append(e.From, s)
		}
	},
	"reason":   func(e *events.Event, s string) { e.Reason = s },
	"warnings": func(e *events.Event, s string) { e.Warnings = []string{s, s} },
	"error":    func(e *events.Event, s string) { e.Error = s },
	"signatures": func(e *events.Event, s string) {
		e.Signatures = []events.Signature{{Domain: s, Selector: s, Algorithm: s, Canonicalization: s, Result: s, Reason: s}}
	},
	"policy": func(e *events.Event, s string) {
		e.Policy = []events.Decision{{File: s, Rule: s, Mode: "monitor", Action: "reject", Reply: s}}
	},
}

// forgeries are values that try to be a record of a rejected message from the victim, or a part of one.
func forgeries() []string {
	record := eventstest.Sample()
	record.Client = victimClient
	list := []string{
		"x REJECT     verify   from=a client=" + victimClient + " to=1 ",
		"REJECT     verify   from=a client=" + victimClient + " to=1 ",
		"a client=" + victimClient + " helo=b",
		`a" client=` + victimClient + " ",
		`a\" client=` + victimClient + " ",
		`a\`,
		`"`,
		`x","mode":"verify","client":"` + victimClient + `","verdict":"reject","y":"`,
		`x\","mode":"verify","client":"` + victimClient + `","verdict":"reject","y":"\`,
		`{"time":"","id":"","mode":"verify","client":"` + victimClient + `","verdict":"reject",`,
		"> client=" + victimClient + " ",
		"a,b sender=<> client=" + victimClient + " ",
		"; left out: 1 from client=" + victimClient + " ",
		" dkimd[1]: x REJECT verify from=a client=" + victimClient + " ",
		"PROBE REJECT client=" + victimClient + " ",
		string([]byte{'a', 0xff, ' '}) + "client=" + victimClient + "\u2028",
	}
	for _, line := range written(record) {
		list = append(list, line, "\n"+line+"\n", "a\r\n"+line)
	}
	for _, s := range eventstest.Hostile() {
		list = append(list, s, s+" client="+victimClient+" ")
	}
	return list
}

// written are the lines that a record becomes, by each way to a file or to the journal.
func written(e *events.Event) []string {
	var lines []string
	for _, format := range []events.Format{events.Text, events.JSON} {
		plain := string(format.Append(nil, e))
		bsd, ietf := events.Syslog{Format: format, PID: 812}, events.Syslog{Format: format, IETF: true, Host: "mx", PID: 812}
		lines = append(lines, plain,
			"mx dkimd[812]: "+plain, // as fail2ban shows an entry of the journal
			regexp.MustCompile(`^<\d+>(.{15}) (.*)\n$`).ReplaceAllString(string(bsd.Append(nil, e)), "$1 mx $2"), // as syslogd writes it
			strings.TrimSuffix(string(ietf.Append(nil, e)), "\n"))
		if _, object, found := strings.Cut(lines[len(lines)-1], " @cee: "); found && format == events.JSON {
			lines = append(lines, "2026-11-23T14:00:00.123456+00:00 mx dkimd[812] @cee: "+object) // as rsyslog writes that
		}
	}
	return lines
}

// banned are the addresses that the filter finds in the lines.
func banned(t *testing.T, lines []string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "fail2ban-regex", "--encoding", "UTF-8", "--out", "ip", file, harness.Repository("packaging/fail2ban/dkimd.conf"))
	out, err := cmd.Output()
	// It ends with 1 where it finds nothing.
	if err != nil && (cmd.ProcessState.ExitCode() != 1 || len(out) > 0) {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Fields(string(out))
}

// reportFirst names the first line in which not as many addresses are found as should be.
func reportFirst(t *testing.T, lines []string, want int) {
	t.Helper()
	for len(lines) > 1 {
		half := lines[:len(lines)/2]
		if len(banned(t, half)) == want*len(half) {
			half = lines[len(half):]
		}
		lines = half
	}
	t.Errorf("%d should be found in %q", want, lines)
}

// TestFail2banBansWhomRulesRefuse: the client of every record of a refused message, and of no other,
// whatever stands in the other fields.
func TestFail2banBansWhomRulesRefuse(t *testing.T) {
	t.Parallel()
	harness.Need(t, "fail2ban-regex")
	values := append(forgeries(), "plain")
	var refused, others []string
	for _, set := range strangers {
		for _, value := range values {
			e := eventstest.Sample()
			set(e, value)
			if !e.IsProbe() {
				refused = append(refused, written(e)...)
			}
			for _, verdict := range []string{"accept", "quarantine", "discard", "tempfail", "aborted"} {
				e.Verdict = verdict
				others = append(others, written(e)[len(others)%3])
			}
			e.Verdict = "accept"
			others = append(others, written(e)...)
		}
	}
	got := banned(t, refused)
	if len(got) != len(refused) {
		t.Errorf("%d of %d refused messages are found", len(got), len(refused))
		reportFirst(t, refused, 1)
	}
	if slices.ContainsFunc(got, func(address string) bool { return address != genuineClient }) {
		t.Errorf("others than the clients are banned: %q", slices.Compact(slices.Sorted(slices.Values(got))))
	}

	for _, change := range []func(e *events.Event){
		func(e *events.Event) { e.Mode = events.ModeTrusted },
		func(e *events.Event) { e.Mode = events.ModeUnsigned },
		func(e *events.Event) { e.ID = events.ProbeID + "00001" },
		func(e *events.Event) { e.Client = "local" },
		func(e *events.Event) { e.Client = "unreadable" },
	} {
		e := eventstest.Sample()
		change(e)
		others = append(others, written(e)...)
	}
	for _, value := range values { // what other programs log of strangers
		value = strings.NewReplacer("\n", " ", "\r", " ").Replace(value)
		others = append(others,
			"Nov 23 14:00:00 mx postfix/cleanup[9]: 4Xyz: warning: header Subject: "+value,
			"Nov 23 14:00:00 mx postfix/cleanup[9]: "+value,
			"2026-11-23T14:00:00.1+00:00 mx sshd[9]: "+value)
	}
	if got := banned(t, others); len(got) > 0 {
		t.Errorf("%q is banned, though nobody was refused", got)
		reportFirst(t, others, 0)
	}
	filter, err := os.ReadFile(harness.Repository("packaging/fail2ban/dkimd.conf"))
	if err != nil {
		t.Fatal(err)
	}
	entry := string(events.Journal(events.Text.AppendUntimed, nil)(nil, eventstest.Sample()))
	matches := regexp.MustCompile(`DKIMD_\w+=\w+`).FindAllString(string(filter), -1)
	for _, match := range matches {
		if !strings.Contains(entry, "\n"+match+"\n") {
			t.Errorf("no entry of the journal has %s", match)
		}
	}
	if len(matches) == 0 {
		t.Error("the filter reads all of the journal")
	}
}

// TestLogReadersAsTheGuideSays: fail2ban takes filter and jail. logwatch reports the records of yesterday,
// from files that were rotated too, and nothing in them becomes a line of its report.
func TestLogReadersAsTheGuideSays(t *testing.T) {
	t.Parallel()
	harness.Need(t, "logwatch", "fail2ban-client")
	root := harness.NewFreshRoot(t)
	now := time.Now()
	noon := time.Date(now.Year(), now.Month(), now.Day(), 12, 0, 0, 0, time.Local)
	var lines []string
	for days, values := range map[int][]string{-1: forgeries(), -2: {"long ago"}, 0: {"today"}} {
		for _, value := range values {
			for _, set := range strangers {
				e := eventstest.Sample()
				set(e, value)
				e.Time = noon.AddDate(0, 0, days)
				if !e.IsProbe() {
					lines = append(lines, string(events.JSON.Append(nil, e)))
				}
			}
		}
	}
	half := len(lines) / 2
	run := func(script string) string {
		t.Helper()
		out, err := root.Run(t, script)
		if err != nil {
			t.Fatalf("%s: %v: %s\n%s", script, err, out, root.Process.Log)
		}
		return out
	}
	run(fmt.Sprintf(`ln -sf '%s' /usr/bin/dkimd
ln -s '%s' /usr/share/dkimd
rm -rf /var/log/dkimd && mkdir /var/log/dkimd
rm -f /etc/fail2ban/jail.d/defaults-debian.conf # there is no sshd here
`, harness.Binary(t), harness.Repository("packaging")))
	follow(t, root, harness.ReadGuide(t, loggingGuide, "fail2ban"))
	if out := run("fail2ban-client -d\n"); !strings.Contains(out, "['add', 'dkimd', 'systemd']") || !strings.Contains(out, "DKIMD_VERDICT=reject") {
		t.Errorf("fail2ban's commands are:\n%s", out)
	}
	follow(t, root, harness.ReadGuide(t, loggingGuide, "logwatch"))
	write := func(name string, lines []string) {
		if err := os.WriteFile(root.Path(t, name), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("/var/log/dkimd/dkimd.json", lines[half:])
	write("/var/log/dkimd/dkimd.json.1", lines[:half])
	run("gzip /var/log/dkimd/dkimd.json.1\n")
	report := func(of string) string {
		return run("logwatch --service dkimd --output stdout --format text --range " + of + " 2>&1\n")
	}
	yesterday := report("yesterday")
	if want := fmt.Sprintf(" %d messages, ", len(lines)-2*len(strangers)); !strings.Contains(yesterday, want) {
		t.Errorf("the report has no %q:\n%s", want, yesterday)
	}
	if strings.ContainsFunc(yesterday, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
		t.Errorf("the report has characters that are not printable: %q", yesterday)
	}
	for line := range strings.Lines(yesterday) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "REJECT     verify") && strings.HasPrefix(line, "2026-") || strings.HasPrefix(line, `{"time"`) {
			t.Errorf("a line of the report is a stranger's: %q", line)
		}
	}
	if today, want := report("today"), fmt.Sprintf(" %d messages, ", len(strangers)); !strings.Contains(today, want) {
		t.Errorf("the report of today has no %q:\n%s", want, today)
	}
	// Without files it asks the journal, of which this stands in the place.
	run(fmt.Sprintf(`rm -f /usr/bin/journalctl
cat >/usr/bin/journalctl <<'END-OF-FILE'
#!/bin/sh
[ "$*" = '--quiet --unit dkimd --output cat --since %s --until %s' ] && cat /root/journal
END-OF-FILE
chmod 755 /usr/bin/journalctl
mv /var/log/dkimd/dkimd.json /root/journal
rm /var/log/dkimd/*
`, now.AddDate(0, 0, -1).Format(time.DateOnly), now.Format(time.DateOnly)))
	if journal := report("yesterday"); !strings.Contains(journal, " messages, ") {
		t.Errorf("from the journal comes\n%s", journal)
	}
	run("rm /root/journal\n")
	if empty := report("yesterday"); strings.Contains(empty, "dkimd Begin") {
		t.Errorf("without mail there is a report:\n%s", empty)
	}
}
