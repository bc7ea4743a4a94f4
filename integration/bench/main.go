// Command bench measures what dkimd costs a message beside OpenDKIM, rspamd,
// go-msgauth's dkim-milter and a server that does nothing, on the same load: CPU
// time of the daemon, messages a second, latency and memory. Every answer is
// checked. It writes its section of docs/performance.md and compares with the
// figures of the last run that was committed.
//
// It needs root: the peers ask DNS at port 53 of 127.0.0.77. scripts/install-bench-deps
// installs them; one that is missing is left out.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	dkimd    string
	base     string
	document string
	figures  string
	rounds   int
	quick    bool
	write    bool
	draw     bool
	only     string
	peers    bool
	latency  bool
	scale    bool
	exim     bool
}

func main() {
	os.Exit(run(os.Args[1:])) //nolint:forbidigo // this is main
}

func run(args []string) int {
	var o options
	var floor string
	var newcomers int
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.dkimd, "dkimd", "bin/dkimd", "the daemon to measure")
	flags.StringVar(&o.base, "base", "", "another build of dkimd to measure beside it")
	flags.StringVar(&o.document, "document", "docs/performance.md", "where the tables go")
	flags.StringVar(&o.figures, "figures", "integration/bench/figures.json", "the committed figures")
	flags.IntVar(&o.rounds, "rounds", 0, "rounds; 0: 7, or 3 with -short")
	flags.BoolVar(&o.quick, "short", false, "fewer rows and rounds; writes nothing")
	flags.BoolVar(&o.write, "write", false, "write the document and the figures")
	flags.BoolVar(&o.draw, "draw", false, "measure nothing: write the document and its charts from the committed figures")
	flags.StringVar(&o.only, "only", "", "rows whose name has this in it")
	flags.BoolVar(&o.peers, "peers", true, "measure OpenDKIM, rspamd and go-msgauth too")
	flags.BoolVar(&o.latency, "latency", true, "measure latency too")
	flags.BoolVar(&o.scale, "scale", true, "measure many connections, domains and names too")
	flags.BoolVar(&o.exim, "exim", true, "measure mail that leaves through Exim too")
	flags.StringVar(&floor, "floor", "", "be the server that does nothing, on this socket")
	flags.IntVar(&newcomers, "crowd", 0, "be so many MTAs that connect at once to the socket that is the argument")
	if flags.Parse(args) != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case floor != "":
		err = serveFloor(ctx, floor)
	case o.draw:
		committed := &report{}
		if err = committed.read(o.figures); err == nil {
			err = committed.document(o.document)
		}
	case newcomers > 0:
		err = crowd(ctx, flags.Arg(0), newcomers)
	default:
		err = bench(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

func bench(ctx context.Context, o options) error {
	if o.rounds == 0 {
		o.rounds = 7
		if o.quick {
			o.rounds = 3
		}
	}
	dir, err := os.MkdirTemp("", "bench") // a socket's path must be short
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	w, err := newWorld(ctx, dir, o)
	if err != nil {
		return err
	}
	defer w.close()
	rows := rowsOf(o)
	results := make([]result, 0, len(rows))
	for _, r := range rows {
		measured, err := w.measure(ctx, r, o.rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
		results = append(results, measured)
		fmt.Println(measured.line())
	}
	report := &report{Taken: time.Now().UTC(), Machine: machine(ctx, o.dkimd), Rounds: o.rounds, Results: results}
	if o.latency {
		if report.Latency, err = w.measureLatency(ctx, o.quick); err != nil {
			return err
		}
	}
	if o.scale && !o.quick {
		if report.Scale, err = w.measureScale(ctx); err != nil {
			return err
		}
	}
	if o.exim && !o.quick {
		lines, err := w.leavingExim(ctx)
		if err != nil {
			return err
		}
		report.Scale = append(report.Scale, lines...)
	}
	if err := report.compare(os.Stdout, o.figures); err != nil {
		return err
	}
	if o.write && !o.quick && o.only == "" {
		return report.save(o.document, o.figures)
	}
	return nil
}

// machine says what was measured on.
func machine(ctx context.Context, dkimd string) string {
	cpu := "unknown CPU"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				cpu = strings.TrimLeft(strings.TrimSpace(name), ": \t")
				break
			}
		}
	}
	version, err := exec.CommandContext(ctx, dkimd, "version").Output()
	if err != nil {
		version = []byte(filepath.Base(dkimd))
	}
	first, _, _ := strings.Cut(string(version), "\n")
	return fmt.Sprintf("%s, %d cores, %s", cpu, cores(), first)
}
