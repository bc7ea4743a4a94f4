package control

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// hanging is a daemon that takes questions and answers none, or begins an answer.
type hanging struct{ begins bool }

func (h hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	if h.begins {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(waiting{r.Context()})}, nil
	}
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

type waiting struct{ context.Context }

func (w waiting) Read([]byte) (int, error) {
	<-w.Done()
	return 0, context.Cause(w)
}

// older is a daemon that has none of the questions.
type older struct{}

func (older) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusNotFound, Body: io.NopCloser(strings.NewReader("404 page not found\n"))}, nil
}

func TestClientOfAnOlderDaemon(t *testing.T) {
	t.Parallel()
	c := &Client{http: http.Client{Transport: older{}}}
	if _, err := c.Elsewhere(t.Context()); err == nil || !strings.Contains(err.Error(), "systemctl restart dkimd") {
		t.Error(err)
	}
}

// Commands ask while they hold the keys of a domain: a daemon that hangs must not keep them from everybody else.
func TestClientDoesNotWaitForADaemonThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, begins := range []bool{false, true} {
			c := &Client{http: http.Client{Transport: hanging{begins}}}
			_, elsewhere := c.Elsewhere(t.Context())
			_, status := c.Status(t.Context())
			_, reload := c.Reload(t.Context(), false)
			for question, err := range map[string]error{"elsewhere": elsewhere, "status": status, "reload": reload, "rotate": c.Rotate(t.Context(), nil)} {
				if err == nil || !strings.Contains(err.Error(), "does not answer") || !strings.Contains(err.Error(), "restart") {
					t.Errorf("%s: %v", question, err)
				}
			}
		}
	})
}
