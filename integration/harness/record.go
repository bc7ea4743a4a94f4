package harness

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"
	"time"
)

// Record is one line of dkimd's log stream, as docs/events.md has it.
type Record struct {
	ID         string   `json:"id"`
	MessageID  string   `json:"message_id"`
	Mode       string   `json:"mode"`
	ReasonCode string   `json:"reason_code"`
	Warnings   []string `json:"warnings"`
	Reason     string   `json:"reason"`
	Client     string   `json:"client"`
	Auth       string   `json:"auth"`
	Sender     string   `json:"sender"`
	From       []string `json:"from"`
	Recipients int      `json:"recipients"`
	Bytes      int64    `json:"bytes"`
	Signatures []struct {
		Domain string `json:"d"`
		Result string `json:"result"`
		Reason string `json:"reason"`
	} `json:"signatures"`
	SPF struct {
		Result string `json:"result"`
		Domain string `json:"domain"`
	} `json:"spf"`
	DMARC struct {
		Result    string `json:"result"`
		Policy    string `json:"policy"`
		AlignedBy string `json:"aligned_by"`
	} `json:"dmarc"`
	Signed []struct {
		Domain    string `json:"d"`
		Algorithm string `json:"a"`
	} `json:"signed"`
	Stripped int `json:"stripped"`
	Policy   []struct {
		File   string `json:"file"`
		Rule   string `json:"rule"`
		Mode   string `json:"mode"`
		Action string `json:"action"`
		Reply  string `json:"reply"`
	} `json:"policy"`
	Verdict string `json:"verdict"`
	Error   string `json:"error"`
}

// Results are the results of the message's signatures, in order.
func (r Record) Results() []string {
	var results []string
	for _, s := range r.Signatures {
		results = append(results, s.Result)
	}
	return results
}

// Stream reads dkimd's log stream from its standard output, line by line.
type Stream struct {
	mu      sync.Mutex
	partial []byte
	records []Record
	broken  []string // lines that are no record
}

func (s *Stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partial = append(s.partial, p...)
	for {
		line, rest, found := bytes.Cut(s.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		s.partial = rest
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			s.broken = append(s.broken, string(line))
			continue
		}
		s.records = append(s.records, r)
	}
}

// All returns the records so far.
func (s *Stream) All() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Record(nil), s.records...)
}

// Wait returns the one record for which match holds.
func (s *Stream) Wait(t *testing.T, what string, match func(Record) bool) Record {
	t.Helper()
	var found []Record
	Eventually(t, 20*time.Second, "a record: "+what, func() bool {
		found = found[:0]
		for _, r := range s.All() {
			if match(r) {
				found = append(found, r)
			}
		}
		return len(found) > 0
	})
	if len(found) > 1 {
		t.Fatalf("%s has %d records, want 1: %+v", what, len(found), found)
	}
	return found[0]
}

// From waits for the record of the message with this MAIL FROM.
func (s *Stream) From(t *testing.T, sender string) Record {
	t.Helper()
	return s.Wait(t, "sender "+sender, func(r Record) bool { return r.Sender == sender && r.Mode != "aborted" })
}
