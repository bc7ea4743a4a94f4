package metrics_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/metrics"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func benchmarked() *metrics.Metrics {
	return metrics.New(metrics.Config{State: func() metrics.State { return metrics.State{} }})
}

// described is one metric as the document has it, or as it is served.
type described struct {
	Type   string
	Labels map[string][]string // values, sorted
}

// served is what a scrape shows, but for the values of dkimd_build_info.
func (w *world) served() map[string]described {
	w.t.Helper()
	all := map[string]described{}
	_, text := w.ask("GET", "/metrics")
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (dkimd_\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		all[m[1]] = described{m[2], map[string][]string{}}
	}
	label := regexp.MustCompile(`(\w+)="([^"]*)"`)
	for line := range w.scrape() {
		name, labels, _ := strings.Cut(line, "{")
		one, ok := all[name]
		if !ok {
			continue // the parts of a histogram
		}
		for _, m := range label.FindAllStringSubmatch(labels, -1) {
			if name == "dkimd_build_info" {
				m[2] = ""
			}
			if !slices.Contains(one.Labels[m[1]], m[2]) {
				one.Labels[m[1]] = append(one.Labels[m[1]], m[2])
			}
			slices.Sort(one.Labels[m[1]])
		}
	}
	return all
}

// TestDocumentAgrees compares docs/metrics.md with what is served, in both directions:
// a row | `name` | type | `label`: `value`, `value`; `label` | meaning | for each metric.
func TestDocumentAgrees(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]described{}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| `dkimd_") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		name := strings.Trim(cells[0], "`")
		if len(cells) != 4 || len(cells[3]) < 15 || got[name].Type != "" {
			t.Fatalf("row of %s: %q", name, cells)
		}
		one := described{cells[1], map[string][]string{}}
		for label := range strings.SplitSeq(cells[2], ";") {
			key, values, _ := strings.Cut(label, ":")
			if key = strings.Trim(strings.TrimSpace(key), "`"); key == "" {
				continue
			}
			for value := range strings.SplitSeq(values, ",") {
				one.Labels[key] = append(one.Labels[key], strings.Trim(strings.TrimSpace(value), "`"))
			}
			slices.Sort(one.Labels[key])
		}
		got[name] = one
	}
	want := newWorld(t).served()
	if len(want) < 30 {
		t.Errorf("only %d metrics are served", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("served (-) and described (+):\n%s", diff)
	}
}

// The alerts of the document ask for metrics, labels and values that there are.
func TestAlertsAskForWhatThereIs(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rules, _ := strings.Cut(string(data), "```yaml\n")
	rules, _, _ = strings.Cut(rules, "```")
	served := newWorld(t).served()
	found := regexp.MustCompile(`(dkimd_\w+)(?:\{(\w+)=~?"([^"]*)"\})?`).FindAllStringSubmatch(rules, -1)
	if len(found) < 10 {
		t.Errorf("only %d metrics in alerts", len(found))
	}
	for _, m := range found {
		one, ok := served[strings.TrimSuffix(m[1], "_bucket")]
		if !ok {
			t.Errorf("no metric %s", m[1])
		}
		for value := range strings.SplitSeq(m[3], "|") {
			if m[2] != "" && !slices.Contains(one.Labels[m[2]], value) {
				t.Errorf("%s has no %s=%q", m[1], m[2], value)
			}
		}
	}
}

// The dashboard asks for metrics, labels and values that there are.
func TestDashboardAsksForWhatThereIs(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../packaging/grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil || len(board.Panels) < 10 {
		t.Fatalf("%d panels: %v", len(board.Panels), err)
	}
	served := newWorld(t).served()
	selector := regexp.MustCompile(`(dkimd_\w+)\{job="\$job",instance=~"\$instance"(?:,(\w+)="(\w+)")?\}`)
	grouped := regexp.MustCompile(`sum by \(([\w, ]+)\) \(rate\((dkimd_\w+)\{`)
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			found := selector.FindAllStringSubmatch(target.Expr, -1)
			if len(found) != strings.Count(target.Expr, "dkimd_") {
				t.Errorf("%s: %s", panel.Title, target.Expr)
			}
			for _, m := range found {
				one, ok := served[strings.TrimSuffix(m[1], "_bucket")]
				if !ok || m[2] != "" && !slices.Contains(one.Labels[m[2]], m[3]) {
					t.Errorf("%s: there is no %s", panel.Title, m[0])
				}
			}
			for _, m := range grouped.FindAllStringSubmatch(target.Expr, -1) {
				for label := range strings.SplitSeq(m[1], ", ") {
					if label != "instance" && label != "le" && served[m[2]].Labels[label] == nil {
						t.Errorf("%s: %s has no label %s", panel.Title, m[2], label)
					}
				}
			}
		}
	}
}

// Prometheus' own linter finds nothing: names, units, help texts.
func TestNamesFollowPrometheus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, text := w.ask("GET", "/metrics")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	for _, name := range []string{"go_goroutines", "process_open_fds", "process_cpu_seconds_total"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("no %s", name)
		}
	}
}
