package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dkimd/internal/control"
	"dkimd/internal/events"
	"dkimd/internal/fault"
	"dkimd/internal/logtest"
	"dkimd/internal/resolver/dnstest"
	"dkimd/internal/smtpreply"

	"github.com/spf13/cobra"
)

const commandsDocument = "../../docs/commands.md"

// answers are the types of what commands print with --json.
func answers() map[string]reflect.Type {
	return map[string]reflect.Type{
		"check": reflect.TypeFor[checked](), "check --sender": reflect.TypeFor[senderChecked](), "import": reflect.TypeFor[imported](), "config": reflect.TypeFor[configuration](), "key list": reflect.TypeFor[keyList](), "key rotate": reflect.TypeFor[rotated](),
		"key show": reflect.TypeFor[shownKeys](), "key check": reflect.TypeFor[checkedKeys](), "log": reflect.TypeFor[logAnswer](), "report": reflect.TypeFor[reported](),
		"policy explain": reflect.TypeFor[explanation](), "policy replay": reflect.TypeFor[replay](), "policy test": reflect.TypeFor[testedRules](), "probe": reflect.TypeFor[probeAnswer](),
		"reload": reflect.TypeFor[control.Reload](), "status": reflect.TypeFor[control.Status](), "version": reflect.TypeFor[versionAnswer](),
	}
}

// jsonKeys are the paths of all keys of a type, such as keys[].domain, in their order. Faults and records of the log have a
// description of their own.
func jsonKeys(t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	opaque := []reflect.Type{reflect.TypeFor[fault.Finding](), reflect.TypeFor[events.Event](), reflect.TypeFor[smtpreply.Reply]()}
	switch {
	case t.Kind() == reflect.Slice:
		return jsonKeys(t.Elem(), path+"[]")
	case t.Kind() != reflect.Struct || t.PkgPath() == "time" || path != "" && slices.Contains(opaque, t):
		return nil
	}
	if path != "" {
		path += "."
	}
	var all []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-", path == "" && (name == "faults" || name == "warnings"): // every answer has those
		case f.Anonymous && name == "":
			all = append(all, jsonKeys(f.Type, strings.TrimSuffix(path, "."))...)
		case f.IsExported():
			all = append(all, path+name)
			all = append(all, jsonKeys(f.Type, path+name)...)
		}
	}
	return all
}

// section is what docs/commands.md says of a command.
type section struct {
	keys     []string
	examples []string // command lines
}

func sections(t *testing.T, document string) map[string]*section {
	t.Helper()
	all := map[string]*section{}
	var now *section
	for line := range strings.Lines(document) {
		line = strings.TrimSuffix(line, "\n")
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			now = &section{}
			all[strings.TrimPrefix(heading, "dkimd ")] = now
		}
		if key, ok := strings.CutPrefix(line, "| `"); ok {
			cells := strings.Split(line, " | ")
			if len(cells) != 3 || len(cells[2]) < 10 {
				t.Errorf("docs/commands.md says nothing of %s", cells[0])
			}
			key, _, _ = strings.Cut(key, "`")
			now.keys = append(now.keys, key)
		}
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			now.examples = append(now.examples, command)
		}
	}
	return all
}

// Every command with --json has a section, whose table has all its keys and no other, and an example.
func TestCommandsDocumentHasEveryKey(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(commandsDocument)
	if err != nil {
		t.Fatal(err)
	}
	described := sections(t, string(document))
	same := func(name string, want []string) {
		if described[name] == nil {
			t.Errorf("docs/commands.md has no section for %s", name)
			return
		}
		got := described[name].keys
		for _, key := range want {
			if !slices.Contains(got, key) {
				t.Errorf("docs/commands.md, %s: add the row | `%s` | type | meaning |", name, key)
			}
		}
		for _, key := range got {
			if !slices.Contains(want, key) {
				t.Errorf("docs/commands.md, %s: there is no key %s", name, key)
			}
		}
	}
	same("Faults and warnings", jsonKeys(reflect.TypeFor[fault.Finding](), ""))
	types := answers()
	for name, answer := range types {
		same(name, jsonKeys(answer, ""))
		if s := described[name]; s != nil && !slices.ContainsFunc(s.examples, func(e string) bool { return strings.HasPrefix(e, "dkimd "+name) && strings.Contains(e, "--json") }) {
			t.Errorf("docs/commands.md, %s: there is no example", name)
		}
		for _, key := range jsonKeys(answer, "") {
			if !regexp.MustCompile(`^[a-z0-9_.\[\]]+$`).MatchString(key) {
				t.Errorf("%s: the key %s is not snake_case", name, key)
			}
		}
	}
	for name := range described {
		if _, known := types[name]; !known && name != "Faults and warnings" {
			t.Errorf("docs/commands.md describes %s, which has no --json", name)
		}
	}
	for _, name := range commandsWithJSON() {
		if _, known := types[name]; !known {
			t.Errorf("%s has --json: add its type here, and a section to docs/commands.md", name)
		}
	}
}

// commandsWithJSON are the commands that have the flag.
func commandsWithJSON() []string {
	var names []string
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Flags().Lookup("json") != nil {
			names = append(names, strings.TrimPrefix(c.CommandPath(), "dkimd "))
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(stdio{strings.NewReader(""), io.Discard, io.Discard}))
	return names
}

// commandsWorld is the system that the examples of docs/commands.md run on.
type commandsWorld struct {
	dir     string
	toWorld *strings.Replacer // of a command line in the document
	toPage  *strings.Replacer // of what is printed
}

// The key of RFC 8463 appendix A.2, and one more.
const (
	commandsKey    = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n"
	commandsKeyNew = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEzNCJtufwOj4TYP+/qLEY2lBOaHbr/M7nuWWUS/3Lx7\n-----END PRIVATE KEY-----\n"
)

func newCommandsWorld(t *testing.T) *commandsWorld {
	t.Helper()
	dir, err := os.MkdirTemp("", "dk") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	dns, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	if err := dns.SetZone(`s1._domainkey.example.org. 3600 IN TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="` + "\n"); err != nil {
		t.Fatal(err)
	}
	w := &commandsWorld{
		dir:     dir,
		toWorld: strings.NewReplacer("/etc/dkimd", dir+"/etc", "/run/dkimd", dir+"/run", "/var/log/dkimd", dir+"/log"),
		toPage:  strings.NewReplacer(dir+"/etc", "/etc/dkimd", dir+"/run", "/run/dkimd", dir+"/log", "/var/log/dkimd", dns.Addr(), "127.0.0.1:53"),
	}
	const record = `{"time":"2026-11-30T09:00:00.000000Z","id":"4Xyz8q2Nk1z","message_id":"<1@gmail.com>","front":"milter","mode":"verify","reason_code":"not_ours","reason":"the client is none of ours","client":"203.0.113.9","helo":"there.example","auth":"","sender":"alice@gmail.com","from":["alice@gmail.com"],"recipients":1,"bytes":120,"signatures":[],"signed":[],"stripped":0,"policy":[{"file":"gmail.com.toml","rule":"unsigned","mode":"enforce","action":"reject","reply":"550 5.7.20 no signature of gmail.com passes"}],"verdict":"reject","dns_ms":0,"total_ms":1.5,"warnings":[],"error":""}` + "\n"
	for name, text := range map[string]string{
		"etc/keys/example.org/s1.pem":     commandsKey,
		"etc/keys/example.org/s2.pem.new": commandsKeyNew,
		"etc/rules/gmail.com.toml":        "mode = \"enforce\"\n\n[[rule]]\nname = \"unsigned\"\nresult = [\"none\", \"fail\"]\naction = \"reject\"\n",
		"etc/new-rules/gmail.com.toml":    "mode = \"enforce\"\n\n[[rule]]\nname = \"look at it\"\nnot_result = [\"pass\"]\naction = \"quarantine\"\n",
		"etc/rules/gmail.com.test.toml":   "[[case]]\nname = \"signed\"\nsignatures = [\"gmail.com pass\"]\naction = \"accept\"\n\n[[case]]\nname = \"unsigned\"\naction = \"reject\"\n",
		"etc/message.eml":                 "From: alice@gmail.com\nSubject: Hello\n\nHello\n",
		"log/dkimd.json":                  record,
		"run/none":                        "",
		"etc/opendkim.conf":               "Canonicalization relaxed/simple\nSignatureTTL 604800\nPidFile /run/opendkim/opendkim.pid\nQuarantine yes\n",
		"etc/dkimd.toml": "hostname = \"mx.example.net\"\n[milter]\nlisten = [\"unix:" + dir + "/run/milter.sock\"]\n[sign]\ndirectory = \"" + dir + "/etc/keys\"\n" +
			"[policy]\ndirectory = \"" + dir + "/etc/rules\"\n[log]\noutput = [\"" + dir + "/log/dkimd.json\"]\n[control]\nlisten = [\"unix:" + dir + "/run/control.sock\"]\n" +
			"[dns]\nservers = [\"" + dns.Addr() + "\"]\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// serve runs the daemon of the world until the test ends.
func (w *commandsWorld) serve(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	log, ended := new(logtest.Lines), make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--config", filepath.Join(w.dir, "etc", "dkimd.toml")}, stdio{out: new(logtest.Lines), err: log})
	}()
	t.Cleanup(func() {
		stop()
		if status := <-ended; status != exitDone {
			t.Errorf("serve ends with %d:\n%s", status, log)
		}
	})
	log.Wait(t, 1, `msg=ready`)
	log.Wait(t, 1, `msg="keys checked"`)
}

// run is what a command line of the document prints.
func (w *commandsWorld) run(t *testing.T, line string) string {
	t.Helper()
	args := word.FindAllString(w.toWorld.Replace(line), -1)[1:]
	for i := range args {
		args[i] = strings.Trim(args[i], "'")
	}
	if args[0] == "check" && args[1] != "--sender" || args[0] == "import" {
		args = append(args, "--user", strconv.Itoa(os.Geteuid()))
	}
	args = append(args, "--config", filepath.Join(w.dir, "etc", "dkimd.toml"))
	var out, said bytes.Buffer
	run(t.Context(), args, stdio{strings.NewReader(""), &out, &said})
	if said.Len() > 0 {
		t.Errorf("%s: a program needs standard output alone, but on standard error is: %s", line, said.String())
	}
	return changing.ReplaceAllString(w.toPage.Replace(out.String()), `"$1$2": @`)
}

// changing is what differs from run to run.
var changing = regexp.MustCompile(`"(\w*seconds|pid|connections|active|made)": [0-9][0-9.e-]*|"(started|loaded|version|go|os|arch)": "[^"]*"`)

// word is one of a command line.
var word = regexp.MustCompile(`'[^']*'|\S+`)

// example is a command line of the document and what it prints.
var example = regexp.MustCompile("(?s)```\n\\$ (dkimd [^\n]*)\n(.*?)```\n")

// cut is what stands in an example for lines that are left out.
const cut = "\n    ...\n"

// shortened is an output with the lines left out that the page leaves out.
func shortened(got, page string) string {
	before, after, found := strings.Cut(page, cut)
	lines, first, last := strings.Split(got, "\n"), strings.Count(before, "\n")+1, strings.Count(after, "\n")+1
	if !found || len(lines) <= first+last {
		return got
	}
	return strings.Join(lines[:first], "\n") + cut + strings.Join(lines[len(lines)-last:], "\n")
}

// TestCommandsDocumentShowsRealOutput runs the examples of docs/commands.md. With -update it writes what they print.
func TestCommandsDocumentShowsRealOutput(t *testing.T) {
	document, err := os.ReadFile(commandsDocument)
	if err != nil {
		t.Fatal(err)
	}
	w := newCommandsWorld(t)
	w.serve(t)
	count := 0
	page := example.ReplaceAllStringFunc(string(document), func(block string) string {
		count++
		m := example.FindStringSubmatch(block)
		got := w.run(t, m[1])
		if bytes.Contains([]byte(got), []byte("null")) {
			t.Errorf("%s: null in %s", m[1], got)
		}
		got = shortened(got, m[2])
		if changing.ReplaceAllString(m[2], `"$1$2": @`) == got {
			return block
		}
		if !*update {
			t.Errorf("docs/commands.md: %s prints\n%s\nand the page has\n%s\ngo test ./cmd/dkimd -run TestCommands -update writes it", m[1], got, m[2])
			return block
		}
		return "```\n$ " + m[1] + "\n" + sampled.Replace(got) + "```\n"
	})
	if count < len(answers()) {
		t.Errorf("docs/commands.md has %d examples only", count)
	}
	if *update {
		if err := os.WriteFile(commandsDocument, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sampled are values in the place of those that differ from run to run.
var sampled = strings.NewReplacer(`"version": @`, `"version": "1.0.0"`, `"go": @`, `"go": "go1.26.0"`, `"os": @`, `"os": "linux"`, `"arch": @`, `"arch": "amd64"`,
	`"active": @`, `"active": 1`, `"made": @`, `"made": 0`, `"pid": @`, `"pid": 4711`, `"started": @`, `"started": "2026-11-30T08:00:00Z"`, `"loaded": @`, `"loaded": "2026-11-30T08:00:00Z"`,
	`seconds": @`, `seconds": 0.0021`, `"connections": @`, `"connections": 0`)

// What goes wrong is in the JSON as well, with the exit status that the command has without it.
func TestAnswersTellFaults(t *testing.T) {
	t.Parallel()
	w := newCommandsWorld(t)
	file := func(name string) string { return filepath.Join(w.dir, name) }
	for name, text := range map[string]string{
		"etc/keys/garbage.example/s1.pem": "no key", "etc/rules/text.example.toml": "mode: enforce\n", "etc/broken.toml": "[dns]\nservers = \"localhost\"\n",
		"etc/rules/gmail.com.test.toml": "[[case]]\nname = \"wrong\"\naction = \"accept\"\n", "etc/rules/warned.example.toml": "[[rule]]\naction = \"accept\"\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file(name)), 0o750), os.WriteFile(file(name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	whole, broken := file("etc/dkimd.toml"), file("etc/broken.toml")
	tests := map[string]struct {
		args, config string
		faults       []fault.Fault // a part of each; path, line and key
		warnings     int
	}{
		"check": {"check --user " + strconv.Itoa(os.Geteuid()), whole, []fault.Fault{
			{Path: file("etc/rules/text.example.toml"), Line: 1},
			{Path: file("etc/keys/garbage.example/s1.pem")},
			{Path: file("etc/rules/gmail.com.test.toml"), Line: 1, Key: `case[1] "wrong"`},
		}, 3},
		"policy test": {"policy test", whole, []fault.Fault{
			{Path: file("etc/rules/text.example.toml"), Line: 1}, {Path: file("etc/rules/gmail.com.test.toml"), Line: 1, Key: `case[1] "wrong"`},
		}, 0},
		"config":                  {"config", broken, []fault.Fault{{Path: broken, Line: 2, Key: "dns.servers"}}, 0},
		"key list":                {"key list", broken, []fault.Fault{{Path: broken, Line: 2, Key: "dns.servers"}}, 0},
		"key show":                {"key show", broken, []fault.Fault{{Path: broken, Line: 2, Key: "dns.servers"}}, 0},
		"key check":               {"key check", broken, []fault.Fault{{Path: broken, Line: 2, Key: "dns.servers"}}, 0},
		"policy explain":          {"policy explain --from a@gmail.com", broken, []fault.Fault{{Path: broken, Line: 2, Key: "dns.servers"}}, 0},
		"policy explain, part":    {"policy explain --from a@gmail.com", whole, []fault.Fault{{Path: file("etc/rules/text.example.toml"), Line: 1}}, 0},
		"policy explain, address": {"policy explain --from a", whole, []fault.Fault{{Path: file("etc/rules/text.example.toml"), Line: 1}, {Key: "--from", Hint: "dkimd policy explain --help"}}, 0},
		"policy replay":           {"policy replay", broken, []fault.Fault{{Path: broken, Line: 2, Key: "dns.servers"}}, 0},
		"log":                     {"log", broken, []fault.Fault{{Path: broken, Line: 2, Key: "dns.servers"}}, 0},
		"log, absent":             {"log " + file("none"), whole, []fault.Fault{{}}, 0},
		"key show, none":          {"key show none.example", whole, []fault.Fault{{Hint: "dkimd key generate none.example"}}, 0},
		"key show, selector":      {"key show example.org s9", whole, []fault.Fault{{Hint: "dkimd key list example.org"}}, 0},
		"key check, selector":     {"key check example.org s9", whole, []fault.Fault{{Hint: "dkimd key check example.org"}}, 0},
		"probe":                   {"probe " + file("none.sock") + " " + file("etc/message.eml"), whole, []fault.Fault{{}}, 0},
		"probe, message":          {"probe " + file("none.sock") + " " + file("none.eml"), whole, []fault.Fault{{}}, 0},
		"key list, garbage":       {"key list", whole, nil, 0},
		"key check, garbage":      {"key check", whole, nil, 0},
		"log, no record":          {"log --id none", whole, nil, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append(strings.Fields(test.args), "--config", test.config)
			var text, out, said bytes.Buffer
			want := run(t.Context(), args, stdio{strings.NewReader(""), io.Discard, &text})
			status := run(t.Context(), append(args, "--json"), stdio{strings.NewReader(""), &out, &said})
			if status != want || status == exitDone && len(test.faults) > 0 && name != "policy explain, part" {
				t.Errorf("exit status %d, and %d without --json: %s", status, want, text.String())
			}
			if said.Len() > 0 {
				t.Errorf("on standard error: %s", said.String())
			}
			var got found
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || bytes.Contains(out.Bytes(), []byte("null")) {
				t.Fatalf("%v: %s", err, out.String())
			}
			if len(got.Faults) != len(test.faults) || len(got.Warnings) != test.warnings {
				t.Fatalf("%d faults, %d warnings: %s", len(got.Faults), len(got.Warnings), out.String())
			}
			for i, want := range test.faults {
				f := got.Faults[i]
				if f.Path != want.Path || f.Line != want.Line || f.Key != want.Key || want.Hint != "" && f.Hint != want.Hint {
					t.Errorf("fault %+v, want %+v", f, want)
				}
				if f.Text == "" || !strings.Contains(text.String(), f.Text) {
					t.Errorf("%q is not what the command says without --json: %s", f.Text, text.String())
				}
			}
		})
	}
}

// A stranger's text moves no line of a terminal.
func TestJSONIsPrintable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	hostile := "a\x1b[31m\u202e\u009b\u2028\U000e0001\xff\n<&>é"
	if err := printJSON(&out, map[string]string{"k": hostile}); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.String() {
		if r != '\n' && !strconv.IsPrint(r) {
			t.Errorf("%U in %q", r, out.String())
		}
	}
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["k"] != strings.ToValidUTF8(hostile, "\ufffd") {
		t.Errorf("%v: %q", err, back)
	}
}
