package events_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"

	"github.com/google/go-cmp/cmp"
)

// oracle is the record as encoding/json would write it: the tags of Event,
// spans in milliseconds, values and lists cut to their bounds.
func oracle(t *testing.T, e *events.Event) []byte {
	t.Helper()
	fields := map[string]any{}
	c := *e
	c.Signatures = slices.Clone(c.Signatures)
	for i := range c.Signatures { // an empty list is written as one, nil too
		c.Signatures[i].Duplicates = append([]string{}, c.Signatures[i].Duplicates...)
	}
	for _, list := range []*[]string{&c.Originator.Faults, &c.Originator.Domains, &c.Originator.Sender} {
		*list = append([]string{}, *list...)
	}
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("json")
		if name == "-" {
			continue
		}
		switch field := v.Field(i).Interface().(type) {
		case time.Duration:
			fields[name] = float64(field.Microseconds()) / 1000
		case time.Time:
			fields[name] = field.UTC().Truncate(time.Microsecond).Format("2006-01-02T15:04:05.000000Z07:00")
		default:
			if v.Field(i).Kind() == reflect.Slice && v.Field(i).IsNil() {
				fields[name] = []any{}
				continue
			}
			fields[name] = field
		}
	}
	data, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, data)
	}
	return v
}

func TestJSONDecodesAsByEncodingJSON(t *testing.T) {
	t.Parallel()
	worlds := map[string]*events.Event{"rejected": eventstest.Sample(), "signed": eventstest.Signed(), "empty": {}}
	for name, s := range eventstest.Hostile() {
		if len(s) <= events.MaxValue {
			worlds[name] = eventstest.Poisoned(s)
		}
	}
	for name, e := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := e.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decode(t, oracle(t, e)), decode(t, got)); diff != "" {
				t.Errorf("%s\n%s", diff, got)
			}
			again, err := json.Marshal(e)
			if err != nil || !reflect.DeepEqual(decode(t, again), decode(t, got)) {
				t.Errorf("json.Marshal: %v\n%s", err, again)
			}
		})
	}
}

// keys walks a record and lists its keys in order: signatures[].d.
func keys(t *testing.T, data []byte) []string {
	t.Helper()
	var list []string
	d := json.NewDecoder(bytes.NewReader(data))
	var walk func(prefix string)
	walk = func(prefix string) {
		token, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		switch token {
		case json.Delim('{'):
			for d.More() {
				key, err := d.Token()
				if err != nil {
					t.Fatal(err)
				}
				name := prefix + key.(string)
				if !slices.Contains(list, name) {
					list = append(list, name)
				}
				walk(name + ".")
			}
			_, _ = d.Token()
		case json.Delim('['):
			for d.More() {
				walk(strings.TrimSuffix(prefix, ".") + "[].")
			}
			_, _ = d.Token()
		}
	}
	walk("")
	return list
}

// tags lists the keys that Event promises.
func tags(typ reflect.Type, prefix string) []string {
	var list []string
	for field := range typ.Fields() {
		name := field.Tag.Get("json")
		if name == "-" {
			continue
		}
		list = append(list, prefix+name)
		if field.Type.Kind() == reflect.Slice && field.Type.Elem().Kind() == reflect.Struct {
			list = append(list, tags(field.Type.Elem(), prefix+name+"[].")...)
		}
		if field.Type.Kind() == reflect.Struct && field.Type != reflect.TypeFor[time.Time]() {
			list = append(list, tags(field.Type, prefix+name+".")...)
		}
	}
	return list
}

func TestKeysAreThoseOfEventAndOfTheDocument(t *testing.T) {
	t.Parallel()
	e := eventstest.Sample()
	e.Signed = eventstest.Signed().Signed
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want := tags(reflect.TypeFor[events.Event](), "")
	if diff := cmp.Diff(want, keys(t, data)); diff != "" {
		t.Errorf("Event and its JSON differ:\n%s", diff)
	}

	document, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	before, journal, _ := strings.Cut(string(document), "\n## Journal\n")
	if !strings.Contains(journal, "\n## Syslog\n") {
		t.Error("docs/events.md has no section for the journal")
	}
	for line := range strings.Lines(before) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		name, found := strings.CutPrefix(cells[0], "| `")
		if !found {
			continue
		}
		if len(cells) != 3 || len(cells[2]) < 10 {
			t.Errorf("docs/events.md says nothing of %s", cells[0])
		}
		documented = append(documented, strings.TrimSuffix(name, "`"))
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("Event and docs/events.md differ:\n%s", diff)
	}
}

func TestEveryKeyIsInEveryRecord(t *testing.T) {
	t.Parallel()
	data, err := (&events.Event{}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range tags(reflect.TypeFor[events.Event](), "") {
		if !strings.Contains(name, "[]") {
			want = append(want, name)
		}
	}
	if diff := cmp.Diff(want, keys(t, data)); diff != "" {
		t.Error(diff)
	}
	if bytes.Contains(data, []byte("null")) {
		t.Errorf("null: %s", data)
	}
}

func TestJSONIsBounded(t *testing.T) {
	t.Parallel()
	e := eventstest.Poisoned(strings.Repeat("\x01", 100000))
	e.From = slices.Repeat(e.From, 5000)
	e.Signatures = slices.Repeat(e.Signatures, 5000)
	e.Signed = slices.Repeat(e.Signed, 5000)
	e.Policy = slices.Repeat(e.Policy, 5000)
	e.Warnings = slices.Repeat(e.Warnings, 5000)
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	decode(t, data)
	if len(data) > 512<<10 {
		t.Errorf("%d bytes", len(data))
	}
}

func TestLongListsAreCutAndSaySo(t *testing.T) {
	t.Parallel()
	e := eventstest.Sample()
	e.Signatures = slices.Repeat(e.Signatures, 100)
	e.From = slices.Repeat(e.From, 101)
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		From       []string
		Signatures []any
		Policy     []any
		Warnings   []string
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a line is longer than 998 octets", "dkimd: this record leaves out 1 of 101 from", "dkimd: this record leaves out 100 of 200 signatures",
	}
	if len(got.From) != 100 || len(got.Signatures) != 100 || len(got.Policy) != 2 || !slices.Equal(got.Warnings, want) {
		t.Errorf("%d from, %d signatures, %d policy, warnings %q", len(got.From), len(got.Signatures), len(got.Policy), got.Warnings)
	}
}

func TestLongValuesAreCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	for shift := range 4 {
		e := &events.Event{Helo: strings.Repeat("x", shift) + strings.Repeat("😀", 1000)}
		data, err := e.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		helo := decode(t, data).(map[string]any)["helo"].(string)
		if !strings.HasSuffix(helo, "😀...") || len(helo) > events.MaxValue+3 || len(helo) < events.MaxValue-3 {
			t.Errorf("shift %d: %d bytes, %q", shift, len(helo), helo[len(helo)-10:])
		}
	}
}

// FuzzJSON: any value gives one line of valid JSON that decodes as encoding/json's.
func FuzzJSON(f *testing.F) {
	for _, s := range eventstest.Hostile() {
		f.Add(s, int64(1), 5)
	}
	f.Fuzz(func(t *testing.T, s string, n int64, count int) {
		e := eventstest.Poisoned(s)
		e.Bytes, e.Recipients, e.DNS, e.Total = n, count, time.Duration(n), time.Duration(count)
		data, err := e.MarshalJSON()
		if err != nil || !utf8.Valid(data) {
			t.Fatalf("%v %q", err, data)
		}
		for _, c := range data {
			if c < ' ' || c == 0x7f {
				t.Fatalf("control character in %q", data)
			}
		}
		got := decode(t, data)
		if len(s) > events.MaxValue {
			return
		}
		if diff := cmp.Diff(decode(t, oracle(t, e)), got); diff != "" {
			t.Error(diff)
		}
	})
}
