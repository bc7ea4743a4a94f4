// Package publish brings TXT records of keys into DNS and takes them away again: by
// dynamic update (RFC 2136), by a command, through a file that a zone includes, or by somebody's hand. It
// changes what it is told to and only where DNS has what it is said to have before: a record of somebody else is never
// overwritten. Whether all servers have a record is not its business.
package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What a change comes to when it is not made. Compare with errors.Is.
var (
	// ErrLater: it may work later.
	ErrLater = errors.New("try again later")
	// ErrTaken: the name has a record that is not ours.
	ErrTaken = errors.New("there is another record")
	// ErrByHand: somebody has to do it.
	ErrByHand = errors.New("to be done by hand")
)

// Change is one TXT record that comes, changes or goes.
type Change struct {
	Domain, Selector string
	Name             string // of the record, at the end of aliases, without a dot at its end
	Zone             string // that has the name
	Old              string // what DNS has; empty: nothing
	New              string // what it is to have; empty: nothing
	TTL              time.Duration
}

// Op is what is done, in one word: publish, replace or remove.
func (c Change) Op() string {
	switch {
	case c.Old == "":
		return "publish"
	case c.New == "":
		return "remove"
	}
	return "replace"
}

// String is the change for people.
func (c Change) String() string {
	switch c.Op() {
	case "publish":
		return "publish " + c.Line()
	case "remove":
		return "remove the TXT record of " + c.Name
	}
	return "replace the TXT record of " + c.Name + " by " + c.Line()
}

// Line is the record as zone files have it, on one line.
func (c Change) Line() string {
	return fmt.Sprintf("%s. %d IN TXT %s", c.Name, int(c.TTL.Seconds()), strings.Join(quoted(c.New), " "))
}

// Method is a way to change records.
type Method interface {
	// Apply makes a change, or finds it made already.
	Apply(ctx context.Context, c Change) error
	String() string
}

// ByHand is the method of those who have none: somebody reads what is to be done.
type ByHand struct{}

// Apply is ErrByHand.
func (ByHand) Apply(context.Context, Change) error { return ErrByHand }

func (ByHand) String() string { return "by hand" }

// maxString is the length of the longest character-string of a TXT record (RFC 1035 section 3.3).
const maxString = 255

// pieces are a text in strings that fit into a TXT record.
func pieces(text string) (all []string) {
	for text != "" {
		n := min(len(text), maxString)
		all = append(all, text[:n])
		text = text[n:]
	}
	return all
}

// quoted are the strings of a text as zone files have them.
func quoted(text string) []string {
	all := pieces(text)
	for i, s := range all {
		all[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return all
}
