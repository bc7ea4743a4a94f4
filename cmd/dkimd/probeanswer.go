package main

import (
	"time"

	"dkimd/internal/milter/client"
)

// probeAnswer is what dkimd probe finds out, in JSON. As text it is printed while the responses come.
type probeAnswer struct {
	Socket string       `json:"socket,omitempty"`
	Client string       `json:"client,omitempty"`
	Agreed *agreement   `json:"negotiated,omitempty"`
	Steps  []step       `json:"steps,omitempty"`
	Result *probeResult `json:"result,omitempty"`
	Load   *loadAnswer  `json:"load,omitempty"` // with -n or -c, instead of the three above
	found
}

func (a *probeAnswer) print(stdio) error { return nil }

// agreement is what was negotiated.
type agreement struct {
	Version    uint32              `json:"version"`
	Seconds    float64             `json:"seconds"` // it took, with the connecting
	Actions    []string            `json:"actions"` // the milter may do
	NotTold    []string            `json:"not_told"`
	Unanswered []string            `json:"unanswered"`
	Besides    []string            `json:"besides"`
	Macros     map[string][]string `json:"macros,omitempty"` // it asked for, by stage
}

// step is a step of the message.
type step struct {
	Name     string  `json:"name"`
	Detail   string  `json:"detail"`
	Sent     bool    `json:"sent"`
	Answered bool    `json:"answered"`
	Action   string  `json:"action,omitempty"`
	Reply    string  `json:"reply,omitempty"`
	Error    string  `json:"error,omitempty"`
	Seconds  float64 `json:"seconds"`
}

func stepOf(s client.Step) step {
	one := step{
		Name: s.Name, Detail: s.Detail, Sent: s.Sent, Answered: s.Answered,
		Action: string(s.Result.Action), Reply: s.Result.Reply, Seconds: s.Took.Seconds(),
	}
	if s.Err != nil {
		one.Error = s.Err.Error()
	}
	return one
}

// probeResult is what the milter wants done with the message.
type probeResult struct {
	Accepts    bool    `json:"accepts"`
	Action     string  `json:"action"`
	Reply      string  `json:"reply"`
	Quarantine string  `json:"quarantine"`
	Edits      []edit  `json:"edits"`
	Seconds    float64 `json:"seconds"` // in all
}

// edit is one change of the message.
type edit struct {
	Kind  string `json:"kind"`
	Index int    `json:"index"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

func resultOf(r client.Result, took time.Duration) *probeResult {
	result := &probeResult{
		Accepts: accepts(r), Action: string(r.Action), Reply: r.Reply, Quarantine: r.Quarantine, Edits: []edit{}, Seconds: took.Seconds(),
	}
	if r.Action == client.Continue { // at the end of a message that accepts it
		result.Action = string(client.Accept)
	}
	for _, e := range r.Edits {
		result.Edits = append(result.Edits, edit{string(e.Kind), e.Index, e.Name, e.Value})
	}
	return result
}

// loadAnswer is how many messages took how long.
type loadAnswer struct {
	Messages    int            `json:"messages"`
	Connections int            `json:"connections"`
	Seconds     float64        `json:"seconds"`
	Median      float64        `json:"median_seconds"`
	P90         float64        `json:"p90_seconds"`
	P99         float64        `json:"p99_seconds"`
	Longest     float64        `json:"longest_seconds"`
	Answers     map[string]int `json:"answers"` // messages by answer
}
