package keys

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// batch is how many domains CheckAll has looked at before it hands out results.
const batch = 64

// CheckAll checks the keys of many domains as CheckDomain does, some domains at a
// time, and hands out the results of each in their order. It ends early, with
// the error, when ctx ends or each returns one.
func CheckAll(ctx context.Context, lookup Lookup, domains []*Domain, parallel int, each func(*Domain, []CheckResult) error) error {
	var fault atomic.Pointer[error]
	for len(domains) > 0 {
		now := domains[:min(batch, len(domains))]
		domains = domains[len(now):]
		results := make([][]CheckResult, len(now))
		work := make(chan int, len(now))
		for i := range now {
			work <- i
		}
		close(work)
		var workers sync.WaitGroup
		for range min(max(1, parallel), len(now)) {
			workers.Go(func() {
				defer func() {
					if p := recover(); p != nil {
						err := fmt.Errorf("check keys: panic: %v\n%s", p, debug.Stack())
						fault.Store(&err)
					}
				}()
				for i := range work {
					results[i] = CheckDomain(ctx, lookup, now[i], "")
				}
			})
		}
		workers.Wait()
		if err := fault.Load(); err != nil {
			return *err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		for i, d := range now {
			if err := each(d, results[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
