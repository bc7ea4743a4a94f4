package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"dkimd/internal/fault"
)

func TestFindings(t *testing.T) {
	t.Parallel()
	a, b := fault.Fault{Path: "f", Line: 3, Key: "k", Got: "G", Want: "W", Hint: "H"}, fault.Fault{Key: "\x1b"}
	const jsonA = `{"text":"f:3: k: got G; want W (hint: H)","path":"f","line":3,"key":"k","got":"G","want":"W","hint":"H"}`
	const jsonB = `{"text":"\\x1b: ","key":"\u001b"}`
	tests := map[string]struct {
		err  error
		want string
	}{
		"none":          {nil, `[]`},
		"no faults":     {fault.Faults{}, `[]`},
		"a fault":       {a, `[` + jsonA + `]`},
		"faults":        {fault.Faults{a, b}, `[` + jsonA + `,` + jsonB + `]`},
		"joined":        {errors.Join(fault.Faults{a}, errors.New("more")), `[` + jsonA + `,{"text":"more"}]`},
		"wrapped":       {fmt.Errorf("check: %w", a), `[{"text":"check: ` + jsonA[len(`{"text":"`):] + `]`},
		"several lines": {errors.New("a\nb\x1b"), `[{"text":"a"},{"text":"b\\x1b"}]`},
	}
	for name, test := range tests {
		got, err := json.Marshal(fault.Findings(test.err))
		if err != nil || string(got) != test.want {
			t.Errorf("%s: got %s, want %s (%v)", name, got, test.want, err)
		}
	}
}
