package daemon

import (
	"context"
	"sync"
	"time"
)

const (
	// hostsEvery is how often the hosts in lists of clients are looked up.
	hostsEvery = 5 * time.Minute
	// hostsAgain is when they are where DNS could not tell all of them.
	hostsAgain = 30 * time.Second
	// firstHosts is how long a start or a reload waits for them. What is late then counts with the next time.
	firstHosts = 5 * time.Second
)

// watchHosts looks up the hosts in lists of clients until ctx ends. What the first lookup missed comes soon after.
func (d *daemon) watchHosts(ctx context.Context) {
	for wait := hostsAgain; sleep(ctx, wait); {
		if wait = hostsEvery; !d.current.Load().refreshHosts(ctx) {
			wait = hostsAgain
		}
	}
}

// refreshHosts looks them up once, and reports whether DNS told all.
func (s *Setup) refreshHosts(ctx context.Context) bool {
	told := make([]bool, len(s.clients))
	var lists sync.WaitGroup
	for i, list := range s.clients {
		lists.Go(func() { told[i] = list.Refresh(ctx) })
	}
	lists.Wait()
	for _, all := range told {
		if !all {
			return false
		}
	}
	return true
}
