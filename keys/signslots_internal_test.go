package keys

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"

	"golang.org/x/sync/semaphore"
)

// TestPrivateKeysAreServedInTurn: no operation starts while all processors are
// taken, and those that wait are served first come first served.
func TestPrivateKeysAreServedInTurn(t *testing.T) {
	if !signSlots.TryAcquire(int64(runtime.GOMAXPROCS(0))) {
		t.Fatal("not as many as there are processors")
	}
	if signSlots.TryAcquire(1) {
		t.Error("more than there are processors")
	}
	signSlots.Release(int64(runtime.GOMAXPROCS(0)))

	synctest.Test(t, func(t *testing.T) {
		gate := semaphore.NewWeighted(1)
		_ = gate.Acquire(t.Context(), 1)
		var order []int
		for i := range 20 {
			go func() {
				if gate.Acquire(t.Context(), 1) == nil {
					order = append(order, i)
					gate.Release(1)
				}
			}()
			synctest.Wait()
		}
		gate.Release(1)
		synctest.Wait()
		for i, n := range order {
			if i != n {
				t.Fatal("not in turn: ", order)
			}
		}
	})
}

// TestPrivateKeysWaitEndsWithContext: Finish gives up when the message's time is over.
func TestPrivateKeysWaitEndsWithContext(t *testing.T) {
	all := int64(runtime.GOMAXPROCS(0))
	if err := signSlots.Acquire(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	defer signSlots.Release(all)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := signSlots.Acquire(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
