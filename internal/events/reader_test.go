package events_test

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
)

func readAll(t *testing.T, stream string) ([]*events.Event, *events.Reader) {
	t.Helper()
	r := events.NewReader(strings.NewReader(stream))
	var all []*events.Event
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, r
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

// What is written is read, but for what only the format exim has.
func TestReaderReadsWhatIsWritten(t *testing.T) {
	t.Parallel()
	var stream strings.Builder
	for _, e := range []*events.Event{eventstest.Sample(), eventstest.Signed()} {
		record, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		stream.Write(append(record, '\n'))
	}
	all, r := readAll(t, strings.TrimSuffix(stream.String(), "\n"))
	ignore := cmpopts.IgnoreFields(events.Signature{}, "Code", "Identity", "SignatureBits", "Timestamp", "Expiration", "BodyLength")
	if d := cmp.Diff([]*events.Event{eventstest.Sample(), eventstest.Signed()}, all, ignore, cmpopts.EquateEmpty()); d != "" || r.Skipped() != 0 {
		t.Errorf("%d skipped (-want +got):\n%s", r.Skipped(), d)
	}
}

func TestReaderSkipsWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	record, err := json.Marshal(eventstest.Signed())
	if err != nil {
		t.Fatal(err)
	}
	stream := "-- Boot 1234 --\n\n{}\n" + string(record) + "\n[1]\n" + strings.Repeat("x", 3<<20) + "\n" +
		`{"time":"2026-11-23T14:00:00Z","mode":"sign","verdict":7}` + "\n" + string(record) + "\n" + string(record[:40])
	all, r := readAll(t, stream)
	if len(all) != 2 || r.Skipped() != 6 {
		t.Errorf("%d records, %d skipped; want 2 and 6", len(all), r.Skipped())
	}
}

// The quick way of reading gives what encoding/json does, or leaves it to that.
func FuzzDecode(f *testing.F) {
	for _, e := range []*events.Event{eventstest.Sample(), eventstest.Signed(), eventstest.Poisoned("a\u2028\"\\\x00ü"), {}} {
		record, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(record))
		f.Add(strings.Replace(string(record), `"list":false,`, "", 1))
	}
	f.Add(`{"time":"2026-11-23T14:00:00Z","mode":"sign","verdict":"accept","dns_ms":1.0005,"total_ms":01}`)
	f.Fuzz(func(t *testing.T, line string) {
		quick, whole := new(events.Event), new(events.Event)
		if !events.Decode(quick, line) {
			return
		}
		if err := json.Unmarshal([]byte(line), whole); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if d := cmp.Diff(whole, quick); d != "" {
			t.Error(d)
		}
	})
}

// All records of ours are read the quick way, also those from before a key was added.
func TestOurRecordsAreReadTheQuickWay(t *testing.T) {
	t.Parallel()
	worlds := []*events.Event{eventstest.Sample(), eventstest.Signed(), {}}
	for _, s := range eventstest.Hostile() {
		worlds = append(worlds, eventstest.Poisoned(s))
	}
	for _, e := range worlds {
		record, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{string(record), strings.Replace(string(record), `,"list":false`, "", 1)} {
			if !events.Decode(new(events.Event), line) {
				t.Errorf("left to encoding/json: %s", line)
			}
		}
	}
}

// All gives what Next does, whatever lies where blocks meet.
func TestAllIsNext(t *testing.T) {
	t.Parallel()
	var stream strings.Builder
	for i := range 5000 {
		e := eventstest.Sample()
		e.ID = strconv.Itoa(i)
		e.Helo = strings.Repeat("x", i%700)
		record, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		stream.Write(append(record, '\n'))
		if i%1000 == 0 {
			stream.WriteString("no record\n" + strings.Repeat("y", i*600) + "\n")
		}
	}
	want, r := readAll(t, stream.String())
	all := events.NewReader(strings.NewReader(stream.String()))
	var got []*events.Event
	for e, err := range all.All() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if len(want) != 5000 || !cmp.Equal(want, got) || all.Skipped() != r.Skipped() {
		t.Errorf("%d records, %d skipped; want %d and %d", len(got), all.Skipped(), len(want), r.Skipped())
	}
	for _, err := range all.All() { // at its end
		t.Error("more", err)
	}
	for _, want := range []error{io.ErrClosedPipe, io.ErrUnexpectedEOF} { // the second as of a compressed file that was cut
		failing := events.NewReader(io.MultiReader(strings.NewReader(stream.String()[:2000]), iotest.ErrReader(want)))
		var last error
		for e, err := range failing.All() {
			if last = err; e != nil {
				continue
			}
		}
		if !errors.Is(last, want) {
			t.Errorf("got %v, want %v", last, want)
		}
	}
	for _, err := range events.NewReader(strings.NewReader(stream.String())).All() {
		if err != nil {
			t.Error(err)
		}
		break // leaves nothing behind: the test waits for its goroutines
	}
}

func TestAbout(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{"4Xyz8q2Nk1z": true, "<a.b@gmail.com>": true, "a.b@gmail.com": true, "b@gmail.com": false, "": false} {
		if got := eventstest.Sample().About(id); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
}

func TestSummaryCounts(t *testing.T) {
	t.Parallel()
	var s events.Summary
	unsigned := eventstest.Signed()
	unsigned.Mode, unsigned.ReasonCode, unsigned.Reason, unsigned.Signed = events.ModeUnsigned, "no_key", "no key for example.org", nil
	none := eventstest.Sample()
	none.Signatures, none.Policy, none.Verdict, none.From, none.Sender = nil, nil, "accept", nil, ""
	for _, e := range []*events.Event{eventstest.Sample(), eventstest.Sample(), eventstest.Signed(), unsigned, none} {
		s.Add(e)
	}
	rows := func(t events.Table) string {
		var lines []string
		for _, r := range t.Rows() {
			by, _ := json.Marshal(r.By)
			lines = append(lines, strings.Join(append(r.Key[:], string(by)), "|"))
		}
		return strings.Join(lines, "\n")
	}
	for name, got := range map[string][2]string{
		"domains": {rows(s.Domains), "example.org||{\"accept\":2}\ngmail.com||{\"reject\":2}\n(none)||{\"accept\":1}"},
		"results": {rows(s.Results), "fail|body hash did not verify|{\"strict\":2}\npass||{\"unaligned\":2}\nnone||{\"\":1}"},
		"reasons": {rows(s.Reasons), "unsigned|no_key: no key for example.org|{\"accept\":1}"},
		"rules":   {rows(s.Rules), "esp.example.toml|try|{\"(tempfail)\":2}\ngmail.com.toml|gmail must be signed|{\"reject\":2}"},
		"modes":   {rows(s.Modes), "verify||{\"accept\":1,\"reject\":2}\nsign||{\"accept\":1}\nunsigned||{\"accept\":1}"},
	} {
		if d := cmp.Diff(got[1], got[0]); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	if s.Messages != 5 || !s.First.Equal(eventstest.Signed().Time) || !s.Last.Equal(eventstest.Sample().Time) {
		t.Errorf("%d %s %s", s.Messages, s.First, s.Last)
	}
}
