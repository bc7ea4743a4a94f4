package events_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

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
