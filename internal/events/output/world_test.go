package output_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"dkimd/internal/events"
	"dkimd/internal/events/output"
)

// writerFunc is an output that a test steers.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func open(t *testing.T, cfg output.Config) *output.Log {
	t.Helper()
	l, err := output.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func numbered(n int) *events.Event { return &events.Event{ID: strconv.Itoa(n)} }

// ids are the ids of the records in a stream, which must be whole JSON lines.
func ids(t *testing.T, stream string) []string {
	t.Helper()
	var list []string
	for line := range strings.Lines(stream) {
		var e struct{ ID string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "}\n") {
			t.Errorf("not a record: %q", line)
		}
		list = append(list, e.ID)
	}
	return list
}

// written is what a format makes of a record.
func written(format events.Format, e *events.Event) string {
	return string(format.Append(nil, e)) + "\n"
}
