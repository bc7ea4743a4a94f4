package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// dnsEvery is how often the name servers are looked after.
const dnsEvery = 5 * time.Second

// watchDNS looks after the name servers until ctx ends, and tells once when they are in
// trouble, and once when they are well again.
func (d *daemon) watchDNS(ctx context.Context) {
	told := false
	for {
		troubles := d.attendDNS(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case len(troubles) > 0 && !told:
			d.log.Warn("DNS is in trouble", "troubles", troubles)
		case len(troubles) == 0 && told:
			d.log.Info("DNS is well again", "servers", d.current.Load().Resolver.Servers())
		}
		told = len(troubles) > 0
		if !sleep(ctx, dnsEvery) {
			return
		}
	}
}

// attendDNS looks after the name servers once.
func (d *daemon) attendDNS(ctx context.Context) (troubles []string) {
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("panic in looking after the name servers", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	r := d.current.Load().Resolver
	r.Attend(ctx)
	return r.Troubles()
}
