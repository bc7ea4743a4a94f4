package fault_test

import (
	"errors"
	"testing"

	"dkimd/internal/fault"
)

func TestFaultLeavesOutEmptyParts(t *testing.T) {
	t.Parallel()
	tests := map[string]fault.Fault{
		"f:3: k: got G; want W (hint: H)": {Path: "f", Line: 3, Key: "k", Got: "G", Want: "W", Hint: "H"},
		"f: want W":                       {Path: "f", Want: "W"},
		"k: got G":                        {Key: "k", Got: "G"},
		"f:3: (hint: H)":                  {Path: "f", Line: 3, Hint: "H"},
		`a\nb\x1b: got \xff\u2028`:        {Path: "a\nb\x1b", Got: "\xff\u2028"},
	}
	for want, fault := range tests {
		if got := fault.Error(); got != want {
			t.Errorf("got %s; want %s", got, want)
		}
	}
	if fault.Faults(nil).Err() != nil {
		t.Error("no fault is an error")
	}
	err := fault.Faults{{Key: "a"}, {Key: "b"}}.Err()
	if err.Error() != "a: \nb: " {
		t.Errorf("joined: %q", err)
	}
	if f, ok := errors.AsType[fault.Fault](err); !ok || f.Key != "a" {
		t.Errorf("a fault cannot be found in %v", err)
	}
}

// Whatever a file holds, the text of a fault is one line.
func TestFaultIsOneLine(t *testing.T) {
	t.Parallel()
	f := fault.Fault{Path: "/a\nb", Key: "k\x1b[31m", Got: "\u202e", Want: "\xff", Hint: "a\r\nb"}
	if got, want := f.Error(), `/a\nb: k\x1b[31m: got \u202e; want \xff (hint: a\r\nb)`; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

// Each fault is listed once, in the order of the lines, and no more than anybody reads.
func TestSorted(t *testing.T) {
	t.Parallel()
	var faults fault.Faults
	for i := range 250 {
		faults = append(faults, fault.Fault{Path: "f", Line: 250 - i, Got: "x"}, fault.Fault{Path: "f", Line: 250 - i, Got: "x"})
	}
	sorted := faults.Sorted()
	if len(sorted) != 101 || sorted[0].Line != 1 || sorted[99].Line != 100 || sorted[100].Error() != "f: got 150 more faults" {
		t.Errorf("%d faults, the last %v", len(sorted), sorted[len(sorted)-1])
	}
	if few := faults[:20].Sorted(); len(few) != 10 || few[9].Line != 250 {
		t.Errorf("%v", few)
	}
}
