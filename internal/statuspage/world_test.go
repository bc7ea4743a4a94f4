package statuspage_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"dkimd/internal/control"
	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/fault"
	"dkimd/internal/statuspage"
)

// world is a page with what it shows.
type world struct {
	t *testing.T
	statuspage.Config

	record statuspage.Recorder
}

type nowhere struct{}

func (nowhere) Write(*events.Event) {}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.History = statuspage.NewHistory(1<<20, time.Unix(0, 0), slog.New(slog.DiscardHandler))
	w.record = w.History.Before(nowhere{})
	w.Status = func() control.Status { return control.Status{Version: "1.2.3", Ready: true, Started: time.Now()} }
	w.Rules = func() statuspage.Rules { return statuspage.Rules{} }
	w.Keys = func(context.Context, domain.Name) statuspage.Keys { return statuspage.Keys{} }
	return w
}

// fill shows s wherever the page has a text.
func (w *world) fill(s string) {
	now := time.Now()
	w.Status = func() control.Status {
		findings := []fault.Finding{{Text: s}}
		return control.Status{
			Version: "1.2.3", Config: s, Started: now, Loaded: now, Faults: findings, Warnings: findings,
			Doors:    []control.Door{{Front: "milter", Listen: []string{s}}},
			Keys:     control.Keys{Usable: 1, Unusable: 1, Domains: 1, Kept: 1},
			Rotation: control.Rotation{Stages: control.Stages{Made: 3}, Withheld: []string{s}},
			Rules:    control.Rules{Broken: 1, Kept: 1},
			DNS:      control.DNS{Servers: []string{s}},
			Messages: []control.Count{{Front: "milter", Mode: "verify", Verdict: "accept", Count: 1}},
			Log:      control.Log{Outputs: []string{s}, Lost: 1}, LastReload: &control.Refusal{At: now, Faults: findings},
		}
	}
	w.Rules = func() statuspage.Rules {
		return statuspage.Rules{Files: 1, Listed: []statuspage.Rule{{File: s, Mode: "monitor", Name: s, Action: s}}, Tests: s}
	}
	w.Keys = func(context.Context, domain.Name) statuspage.Keys {
		return statuspage.Keys{Left: 2, Listed: []statuspage.Key{{Domain: s, Selector: s, State: "active", Since: now, Made: now, DNS: s, Trouble: s}}}
	}
}

// ask asks for a path.
func (w *world) ask(path string) (int, string, http.Header) {
	w.t.Helper()
	page, err := statuspage.New(w.Config)
	if err != nil {
		w.t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, path, nil)
	answer := httptest.NewRecorder()
	page.ServeHTTP(answer, r)
	body, err := io.ReadAll(answer.Result().Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.Code, string(body), answer.Header()
}
