package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"dkimd/keys"
)

// checked counts what a check of all keys found.
type checked struct {
	all    int
	states map[keys.State]int
	fail   bool
}

// checkParallel is how many domains are asked about at a time.
const checkParallel = 16

// tabulate checks the keys of all domains and prints a table, as the answers come.
func tabulate(ctx context.Context, w io.Writer, lookup keys.Lookup, domains []*keys.Domain) (checked, error) {
	count := checked{states: map[keys.State]int{}}
	widths := [2]int{len("domain"), len("selector")}
	for _, d := range domains {
		widths[0] = max(widths[0], len(d.Name))
		for _, k := range slices.Concat(d.Keys, d.Pending) {
			widths[1] = max(widths[1], len(k.Selector))
		}
	}
	const form = "%-*s  %-*s  %-5s  %-11s  %s"
	row := func(domain, selector, role, state, text string) error {
		line := fmt.Sprintf(form, widths[0], domain, widths[1], selector, role, state, text)
		_, err := fmt.Fprintln(w, strings.TrimRight(line, " "))
		return err
	}
	err := keys.CheckAll(ctx, lookup, domains, checkParallel, func(d *keys.Domain, results []keys.CheckResult) error {
		for _, r := range results {
			if count.all == 0 {
				if err := row("domain", "selector", "key", "DNS", "what to do"); err != nil {
					return err
				}
			}
			count.all++
			count.states[r.State]++
			count.fail = count.fail || !r.Serves()
			words := r.Words()
			if r.State == keys.Published {
				words = ""
			}
			if err := row(d.Name, r.Key.Selector, roleOf(r.Key), r.State.String(), words); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || count.all == 0 {
		return count, err
	}
	var parts []string
	for state := keys.Unusable; state <= keys.Unreachable; state++ {
		if n := count.states[state]; n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+state.String())
		}
	}
	_, err = fmt.Fprintf(w, "\n%s: %s\n", plural(count.all, "key"), strings.Join(parts, ", "))
	return count, err
}
