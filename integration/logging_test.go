//go:build integration

package integration_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"dkimd/integration/harness"
	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"

	"github.com/pelletier/go-toml/v2"
)

// loggingGuide is the document whose files these tests use.
const loggingGuide = "docs/logging.md"

// TestLogsReachRsyslogAsTheGuideSays: the files of the guide, with rsyslog's configuration as Debian
// ships it, but for the sockets of this machine. A record arrives as dkimd wrote it.
func TestLogsReachRsyslogAsTheGuideSays(t *testing.T) {
	t.Parallel()
	harness.Need(t, "rsyslogd")
	root := harness.NewFreshRoot(t)
	run := func(script string) string {
		t.Helper()
		out, err := root.Run(t, script)
		if err != nil {
			t.Fatalf("%s: %v: %s\n%s", script, err, out, root.Process.Log)
		}
		return out
	}
	run(fmt.Sprintf(`ln -s '%s' /usr/local/bin/dkimd
sed -e '/imklog/d' -e 's/^module(load="imuxsock")/module(load="imuxsock" SysSock.Use="off")/' -i /etc/rsyslog.conf
rm -f /etc/rsyslog.d/* /var/log/dkimd* /var/log/mail.log
echo '127.0.0.1 logs.example.org' >>/etc/hosts
mkdir -p /etc/dkimd/rules
cat >/etc/dkimd/dkimd.toml <<'END-OF-FILE'
[milter]
listen = "unix:/run/dkimd.sock"
END-OF-FILE
cat >/etc/dkimd/rules/theirs.example.toml <<'END-OF-FILE'
mode = "enforce"
[[rule]]
name = "must be signed"
action = "reject"
result = ["none"]
END-OF-FILE
`, harness.Binary(t)))

	follow(t, root, harness.ReadGuide(t, loggingGuide, "rsyslog: into a file"))
	startRsyslogd := `rsyslogd -i /run/rsyslogd.pid
until test -S /run/dkimd.log; do sleep 0.1; done
`
	run(startRsyslogd + `runuser -u nobody -- dkimd serve >/var/log/dkimd.out 2>&1 &
until grep -q msg=ready /var/log/dkimd.out; do sleep 0.1; done
`)
	show := func(from string) {
		t.Helper()
		run(fmt.Sprintf(`printf 'From: %s\nMessage-ID: <caf\303\251\342\200\256@theirs.example>\n\nhello\n' >/tmp/message
dkimd probe unix:/run/dkimd.sock /tmp/message || true
`, from))
	}
	show("<bob@theirs.example>")
	show("<bob@other.example>")
	records := func(file string, n int) []string {
		t.Helper()
		harness.Eventually(t, harness.WaitLimit, fmt.Sprintf("%d records in %s", n, file), func() bool {
			return strings.Count(root.Read(t, file), "\n") >= n
		})
		lines := strings.Split(strings.TrimSuffix(root.Read(t, file), "\n"), "\n")
		if len(lines) != n {
			t.Errorf("%s has %d records, want %d: %q", file, len(lines), n, lines)
		}
		return lines
	}
	for i, want := range []string{`"from":["bob@theirs.example"]`, `"from":["bob@other.example"]`} {
		line := records("/var/log/dkimd.json", 2)[i]
		if !strings.HasPrefix(line, `{"time":"`) || !strings.Contains(line, want) || !strings.Contains(line, `"message_id":"<caf\u00e9\u202e@theirs.example>"`) {
			t.Errorf("record %d is %q", i, line)
		}
	}
	if look := records("/var/log/dkimd-look.log", 1)[0]; !strings.Contains(look, `"verdict":"reject"`) {
		t.Errorf("dkimd-look.log: %q", look)
	}
	if out := run("dkimd log --probes /var/log/dkimd.json\n"); !strings.HasPrefix(out, "2 messages, ") {
		t.Errorf("dkimd log: %s", out)
	}

	// To another host, which is away at first.
	run("kill $(cat /run/rsyslogd.pid)\nwhile test -e /run/rsyslogd.pid; do sleep 0.1; done\n")
	follow(t, root, harness.ReadGuide(t, loggingGuide, "rsyslog: to another host"))
	run(startRsyslogd)
	show("<bob@theirs.example>")
	other := harness.ReadGuide(t, loggingGuide, "The other host")
	other[0].Path = "/etc/other.d/10-dkimd-hosts.conf"
	follow(t, root, other)
	run(`mkdir -p /var/spool/other
sed -e 's|/etc/rsyslog.d|/etc/other.d|' -e 's|/var/spool/rsyslog|/var/spool/other|' /etc/rsyslog.conf >/etc/other.conf
rsyslogd -f /etc/other.conf -i /run/other.pid
`)
	show("<bob@other.example>")
	harness.Eventually(t, harness.WaitLimit, "both records at the other host", func() bool {
		text := root.Read(t, "/var/log/dkimd-hosts/mail.example.org.json")
		return strings.Contains(text, `"from":["bob@theirs.example"]`) && strings.Contains(text, `"from":["bob@other.example"]`)
	})
	if out := run("dkimd log --probes /var/log/dkimd-hosts/mail.example.org.json 2>&1\n"); strings.Contains(out, "as no record") {
		t.Errorf("the other host has lines that are no records: %s", out)
	}
	run("logger --server logs.example.org --port 10514 --tcp --rfc5424 --tag dkimd '@cee: {\"cut'\n")
	if line := records("/var/log/dkimd-hosts/other.log", 1)[0]; !strings.Contains(line, `{"cut`) {
		t.Errorf("what is no record is %q", line)
	}
}

// TestCollectorsReadWhatRecordsHave: Debian has neither Vector nor Promtail. Their files are well
// formed, and what they ask of a record is in it.
func TestCollectorsReadWhatRecordsHave(t *testing.T) {
	t.Parallel()
	data, err := eventstest.Sample().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	record := map[string]any{}
	if err := json.Unmarshal(data, &record); err != nil {
		t.Fatal(err)
	}
	if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(record["time"])); err != nil || !at.Equal(eventstest.Sample().Time) {
		t.Errorf("time is %v: %v", record["time"], err)
	}
	has := func(where string, keys ...string) {
		t.Helper()
		if len(keys) == 0 {
			t.Errorf("%s asks for nothing", where)
		}
		for _, key := range keys {
			if _, found := record[key]; !found {
				t.Errorf("%s asks for %q, which no record has", where, key)
			}
		}
	}

	var vector struct {
		Sources map[string]struct {
			MaxLineBytes int `toml:"max_line_bytes"`
		}
		Transforms map[string]struct {
			Inputs []string
			Source string
		}
		Sinks map[string]struct {
			Inputs []string
			Labels map[string]string
		}
	}
	if err := toml.Unmarshal([]byte(harness.ReadGuide(t, loggingGuide, "Vector")[0].Text), &vector); err != nil {
		t.Fatal(err)
	}
	if source := vector.Sources["dkimd"]; source.MaxLineBytes <= longestRecord(t) {
		t.Errorf("Vector reads lines of %d bytes, and a record may have %d", source.MaxLineBytes, longestRecord(t))
	}
	transform, sink := vector.Transforms["dkimd_records"], vector.Sinks["loki"]
	if len(transform.Inputs) != 1 || transform.Inputs[0] != "dkimd" || len(sink.Inputs) != 1 || sink.Inputs[0] != "dkimd_records" {
		t.Errorf("Vector's parts are not connected: %v, %v", transform.Inputs, sink.Inputs)
	}
	for _, m := range regexp.MustCompile(`\(\.(\w+)`).FindAllStringSubmatch(transform.Source, -1) {
		if m[1] != "message" { // Vector's own
			has("Vector's transform", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\{\{ (\w+) \}\}`).FindAllStringSubmatch(fmt.Sprint(sink.Labels), -1) {
		has("Vector's sink", m[1])
	}

	script := "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))"
	parse := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", script)
	parse.Stdin = strings.NewReader(harness.ReadGuide(t, loggingGuide, "Promtail and Alloy")[0].Text)
	out, err := parse.Output()
	if err != nil {
		harness.SkipOrFail(t, fmt.Sprintf("python3 with yaml: %v", err))
	}
	var promtail struct {
		Jobs []struct {
			Stages []struct {
				JSON      struct{ Expressions map[string]string }
				Timestamp struct{ Source, Format string }
				Labels    map[string]any
			} `json:"pipeline_stages"`
		} `json:"scrape_configs"`
	}
	if err := json.Unmarshal(out, &promtail); err != nil || len(promtail.Jobs) != 1 || len(promtail.Jobs[0].Stages) != 3 {
		t.Fatalf("Promtail's file: %v: %s", err, out)
	}
	stages := promtail.Jobs[0].Stages
	extracted := stages[0].JSON.Expressions
	for _, key := range extracted {
		has("Promtail", key)
	}
	if stages[1].Timestamp.Format != "RFC3339Nano" || extracted[stages[1].Timestamp.Source] != "time" || len(stages[2].Labels) == 0 {
		t.Errorf("Promtail's stages: %s", out)
	}
	for label := range stages[2].Labels {
		if extracted[label] == "" {
			t.Errorf("Promtail's label %s comes from nowhere", label)
		}
	}
}

// longestRecord is about how long strangers can make a record.
func longestRecord(t *testing.T) int {
	t.Helper()
	e := eventstest.Poisoned(strings.Repeat("\x00", events.MaxValue))
	for range events.MaxList {
		e.From, e.Warnings = append(e.From, e.Helo), append(e.Warnings, e.Helo)
		e.Signatures, e.Signed, e.Policy = append(e.Signatures, e.Signatures[0]), append(e.Signed, e.Signed[0]), append(e.Policy, e.Policy[0])
	}
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return len(data)
}
