package signer

import "errors"

// Reason says why a message is signed, or is not.
type Reason struct {
	Code string // to search and to count for: one of the codes below, or of those of the pipeline
	Text string // for an administrator; text from the message in it is quoted
}

// The codes of a Reason why a message of ours is not signed.
const (
	MultipleFrom   = "multiple_from"
	FromMissing    = "from_missing"
	FromUnreadable = "from_unreadable"
	NoKey          = "no_key"
	KeyUnusable    = "key_unusable" // what Finish fails with: see ErrKeyUnusable
	UserMismatch   = "user_mismatch"
	Limit          = "limit"
)

// ErrKeyUnusable is what Finish fails with when a domain has keys and none of them signs.
var ErrKeyUnusable = errors.New("no usable key")
