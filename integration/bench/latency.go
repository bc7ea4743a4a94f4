package main

import (
	"context"
	"fmt"
	"strings"
)

// latencyLine is one measurement of waiting.
type latencyLine struct {
	What  string  `json:"what"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
	Limit string  `json:"limit"`
}

func latencyTable(lines []latencyLine) string {
	if len(lines) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n## Waiting\n\n| what | p50 ms | p99 ms | max ms | wanted |\n|---|--:|--:|--:|---|\n")
	for _, l := range lines {
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.2f | %s |\n", l.What, l.P50, l.P99, l.Max, l.Limit)
	}
	return b.String()
}

func (w *world) measureLatency(context.Context, bool) ([]latencyLine, error) { return nil, nil }
