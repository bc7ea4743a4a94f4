package pipeline

import (
	"dkimd/internal/message"
	"dkimd/internal/smtpreply"
	"dkimd/policy"
)

// GoneError is the cause with which a front door ends the context of a message
// whose MTA has left: nobody hears the answer, and the record says so.
type GoneError struct{ Cause error }

func (e GoneError) Error() string { return e.Cause.Error() }

// Outcome is what a front door answers for one message.
type Outcome struct {
	Action policy.Action
	Reply  smtpreply.Reply // of a reject or tempfail
	// Quarantine is the reason given to the MTA with policy.Quarantine.
	Quarantine string
	// Replace lists fields that were folded before they were signed. It comes before the removals.
	Replace []message.Folded
	// RemoveAuthRes lists Authentication-Results fields to delete: their
	// 1-based index among the fields of that name, highest first.
	RemoveAuthRes []int
	// Add lists fields to insert at the top; the first one ends topmost.
	Add []Addition
}

// Addition is one header field to insert. The value starts with a space, has
// CRLF at its folds and none at its end.
type Addition struct{ Name, Value string }
