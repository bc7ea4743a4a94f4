package policy

import "fmt"

// Action is what becomes of a message. The values are in order of strictness:
// where several files judge one message, the greatest holds.
type Action uint8

// The actions, mildest first. The action tag is none of them: it adds a header
// field and goes on with the next rule.
const (
	Accept     Action = iota
	Quarantine        // the MTA holds it back for a person to look at
	Discard           // accepted from the client, delivered to nobody
	TempFail          // refused for now: the client will try again
	Reject            // refused for good
)

// String is the action as rules files name it.
func (a Action) String() string {
	switch a {
	case Accept:
		return "accept"
	case Quarantine:
		return "quarantine"
	case Discard:
		return "discard"
	case TempFail:
		return "tempfail"
	case Reject:
		return "reject"
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// MarshalText writes what String says.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }
