package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dkimd/internal/rotate"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

func keyRotateCommand(std stdio) *cobra.Command {
	r := &rotated{Plan: []string{}, Keys: []rotate.Line{}, Done: []string{}}
	var asJSON bool
	c := &cobra.Command{
		Use:   "rotate DOMAIN... | --all",
		Short: "Replace the keys that sign by new ones, step by step",
		Long: `Rotate makes the next key of each domain, has its record published as
[[publish]] says, and returns; dkimd serve does the rest: it waits until every
name server has the record and no cache remembers its absence, lets the new key
sign, retires the one before it, and revokes that once no mail with its
signatures is under way. A rotation that is under way goes on: run again, it
does what is due by now.

Exit status: 0 all of it goes its way, 1 something is stuck, 2 fix something
first.`,
		ValidArgsFunction: signingDomains,
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.all == (len(args) > 0) {
				return usageError(errors.New("rotate: want the names of domains, or --all"), "key rotate --help")
			}
			return say(std, asJSON, r, r.run(cmd, args))
		},
	}
	c.Flags().BoolVar(&r.all, "all", false, "all domains")
	c.Flags().BoolVar(&r.dryRun, "dry-run", false, "print what would be done, with times, and change nothing")
	c.Flags().BoolVar(&r.wait, "wait", false, "stay until the new keys sign")
	return jsonFlag(c, &asJSON)
}

// rotated is the answer of the command.
type rotated struct {
	Plan []string      `json:"plan"` // with --dry-run
	Done []string      `json:"done"` // what was done
	Keys []rotate.Line `json:"keys"` // that are not at rest
	found

	all, dryRun, wait bool
}

func (r *rotated) run(cmd *cobra.Command, names []string) error {
	h, err := openHand(cmd)
	if err != nil {
		return err
	}
	defer h.close()
	if r.all {
		for _, name := range keys.Names(h.config.Sign.Directory) {
			names = append(names, string(name))
		}
	}
	failed := false
	for _, name := range names {
		err := r.rotate(cmd.Context(), h.engine, name)
		switch {
		case err == nil, r.all && errors.Is(err, rotate.ErrNoKey):
		case !r.all && errors.Is(err, keys.ErrNoKeys), !r.all && errors.Is(err, rotate.ErrNoKey):
			return userError{err, "dkimd key generate " + name}
		default:
			failed = true
			r.fault(err)
		}
	}
	h.wake(cmd.Context(), r.Keys)
	if h.unheard != nil && len(r.Done) > 0 {
		r.warn(h.unheard)
	}
	if failed || slices.ContainsFunc(r.Keys, func(l rotate.Line) bool { return l.Stuck }) {
		return errQuiet
	}
	return nil
}

func (r *rotated) rotate(ctx context.Context, e *rotate.Engine, name string) error {
	if r.dryRun {
		plan, err := e.Plan(ctx, name, "")
		r.Plan = append(r.Plan, plan...)
		return err
	}
	err := e.Begin(ctx, name, "")
	for err == nil {
		var report rotate.Report
		report, err = e.Step(ctx, name)
		for _, moved := range report.Moved {
			r.Done = append(r.Done, name+"/"+moved)
		}
		if err != nil || !r.wait || report.Signs() {
			r.Keys = append(r.Keys, report.Lines...)
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(max(report.After, time.Second)):
		}
	}
	return err
}

func (r *rotated) print(std stdio) error {
	var b strings.Builder
	for _, line := range r.Plan {
		fmt.Fprintln(&b, line)
	}
	for _, done := range r.Done {
		fmt.Fprintln(&b, done)
	}
	for _, l := range r.Keys {
		fmt.Fprintf(&b, "%s/%s: %s: %s\n", l.Domain, l.Selector, l.Stage, l.Text)
	}
	_, err := fmt.Fprint(std.out, b.String())
	return err
}
