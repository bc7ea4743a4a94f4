package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"time"
)

// report is everything that was measured.
type report struct {
	Taken   time.Time     `json:"taken"`
	Machine string        `json:"machine"`
	Rounds  int           `json:"rounds"`
	Results []result      `json:"results"`
	Latency []latencyLine `json:"latency"`
	Scale   []scaleLine   `json:"scale"`
}

// Only what is between these lines of the document is ours.
const (
	beginMark = "<!-- written by make bench: begin -->"
	endMark   = "<!-- written by make bench: end -->"
)

// moved is by how much a ratio may differ from the committed one and still be
// noise, as it is where the rounds of both overlap.
const moved = 0.15

// compare says which ratios are not those that were committed. Times are not compared: machines differ.
func (r *report) compare(out io.Writer, path string) error {
	var before report
	if err := before.read(path); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(out, "no committed figures to compare with")
		return nil
	} else if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	rows := map[row]result{}
	for _, old := range before.Results {
		rows[old.Row] = old
	}
	changes := 0
	say := func(r row, what string, old, now ratio, lessIsBetter bool) {
		change := now.Median/old.Median - 1
		apart := now.Least > old.Most || now.Most < old.Least
		if old.Median == 0 || math.Abs(change) < moved || !apart {
			return
		}
		changes++
		word := "worse"
		if (change < 0) == lessIsBetter {
			word = "better"
		}
		fmt.Fprintf(out, "%s: %s: %s was %s\n", word, fmt.Sprint(r, ", ", what), now, old)
	}
	for _, now := range r.Results {
		old, ok := rows[now.Row]
		if !ok {
			continue
		}
		say(now.Row, "to the floor", old.ToFloor, now.ToFloor, true)
		for subject, times := range now.Times {
			say(now.Row, "against "+subject, old.Times[subject], times, false)
		}
	}
	if changes == 0 {
		fmt.Fprintf(out, "no ratio moved by more than %.0f %% since %s\n", moved*100, before.Taken.Format(time.DateOnly))
	}
	return nil
}

// read reads figures that were saved.
func (r *report) read(figures string) error {
	data, err := os.ReadFile(figures) //nolint:gosec // named by whoever runs us
	if err != nil {
		return err
	}
	return json.Unmarshal(data, r)
}

// save writes the figures, and the document.
func (r *report) save(document, figures string) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(figures, append(data, '\n'), 0o644); err != nil { //nolint:gosec // to be committed
		return err
	}
	return r.document(document)
}

// document writes our section of the document, and the charts beside it.
func (r *report) document(document string) error {
	text, err := os.ReadFile(document) //nolint:gosec // named by whoever runs us
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(document, []byte(replaceSection(string(text), r.markdown(document))), 0o644); err != nil { //nolint:gosec // to be committed
		return err
	}
	return r.saveCharts(document)
}

// replaceSection puts our section in place of the one that is there, or at the end.
func replaceSection(document, section string) string {
	section = beginMark + "\n" + section + endMark
	before, rest, ok := strings.Cut(document, beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	switch {
	case ok && ended:
		return before + section + after
	case document == "":
		return "# Performance\n\n" + section + "\n"
	}
	return strings.TrimRight(document, "\n") + "\n\n" + section + "\n"
}

func (r *report) markdown(document string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `## A message

%s
%s; %s.
%d connections at a time on unix sockets, all daemons in turn, %d rounds after one that does not count. CPU is the
daemon's user and system time for one message, the median of the rounds. Every answer was checked: signed, or as many
times dkim=pass as there are signatures, and spf=pass and dmarc=pass in the rows with SPF and DMARC, where "OpenDKIM"
is OpenDKIM and OpenDMARC, asked one after the other. DNS is on this host; OpenDMARC keeps nothing of it. "Floor" is a
go-milter server in dkimd's connection wrapper that adds one field and writes one line, plus the bare cryptography:
signatures, and SHA-256 of the message. Ratios are taken round by round: median (least-most). "times dkimd" is how
much more CPU a peer takes. RSA signs as the engine of the build has it (libcrypto where the processor has AVX512-IFMA
takes 0.25 ms, elsewhere 0.5 to 0.8 ms; crypto/rsa 0.8 ms on the former).

| deed | size | messages a connection | dkimd ms | floor + cryptography ms | dkimd to floor | target | OpenDKIM, times dkimd | rspamd, times dkimd | go-msgauth, times dkimd |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`, r.chartLinks(document), r.Machine, r.Taken.Format(time.DateOnly), connections, r.Rounds)
	for _, one := range r.Results {
		target := ""
		if limit := one.Row.limit(); limit > 0 {
			target = fmt.Sprintf("%.1f", limit)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %.3f | %.3f + %.3f | %s | %s |", one.Row.Deed, size(one.Row.Size), one.Row.PerConn,
			one.Figures[subjectDkimd].CPU, one.Figures[subjectFloor].CPU, one.Crypto, one.ToFloor, target)
		for _, subject := range []string{subjectOpen, subjectRspamd, subjectMsgauth} {
			if times, ok := one.Times[subject]; ok {
				fmt.Fprintf(&b, " %s |", times)
			} else {
				b.WriteString(" |")
			}
		}
		b.WriteString("\n")
	}
	b.WriteString(`
Messages a second, latency of a message (connection included where it is the first, four at a time on the same cores as
the load), and peak memory:

| deed | size | messages a connection | daemon | CPU ms | messages/s | p50 ms | p99 ms | max ms | peak MiB |
|---|--:|--:|---|--:|--:|--:|--:|--:|--:|
`)
	for _, one := range r.Results {
		for _, subject := range subjects() {
			if f, ok := one.Figures[subject]; ok {
				fmt.Fprintf(&b, "| %s | %s | %d | %s | %.3f | %.0f | %.2f | %.2f | %.2f | %.0f |\n", one.Row.Deed, size(one.Row.Size), one.Row.PerConn,
					subject, f.CPU, f.PerSecond, f.P50, f.P99, f.Max, f.Peak)
			}
		}
	}
	b.WriteString(latencyTable(r.Latency))
	b.WriteString(scaleTable(r.Scale))
	return b.String()
}
