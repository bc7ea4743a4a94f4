package control

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
)

// hanging is a daemon that takes questions and answers none.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

// Commands ask while they hold the keys of a domain: a daemon that hangs must not keep them from everybody else.
func TestClientDoesNotWaitForADaemonThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &Client{http: http.Client{Transport: hanging{}}}
		if _, err := c.Elsewhere(t.Context()); err == nil {
			t.Error("no error")
		}
		if err := c.Rotate(t.Context(), nil); err == nil {
			t.Error("no error")
		}
	})
}
