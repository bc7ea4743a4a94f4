package control_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"dkimd/internal/control"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/logtest"
)

// broken is a daemon that panics.
type broken struct{}

func (broken) Rotate([]domain.Name) { panic("a defect") }

func (broken) Elsewhere() []string { panic("a defect") }

func (broken) Status() control.Status { panic("a defect") }

func (broken) Reload(context.Context, bool) (control.Reload, error) { panic("a defect") }

// TestPanicIsTheFaultOfOneRequest, and the log has it.
func TestPanicIsTheFaultOfOneRequest(t *testing.T) {
	t.Parallel()
	address := "unix:" + filepath.Join(t.TempDir(), "s")
	log := &logtest.Lines{}
	server, err := control.Listen([]string{address}, broken{}, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(func() { _ = server.Close() })
	client, err := control.NewClient(address)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := client.Status(t.Context()); err == nil {
			t.Error("no error")
		}
	}
	if _, err := client.Elsewhere(t.Context()); err == nil {
		t.Error("no error")
	} else if _, absent := errors.AsType[control.Absent](err); absent {
		t.Errorf("a daemon that breaks is taken for none: %v", err)
	}
	log.Wait(t, 2, "level=ERROR.*a defect")
}

// A command may go on without the daemon only where there is none.
func TestNoDaemonIsAbsent(t *testing.T) {
	t.Parallel()
	client, err := control.NewClient("unix:" + filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Elsewhere(t.Context())
	if _, absent := errors.AsType[control.Absent](err); !absent {
		t.Errorf("no socket: %v", err)
	}
	if _, faults := errors.AsType[fault.Faults](err); !faults {
		t.Errorf("%v is no fault", err)
	}
}
