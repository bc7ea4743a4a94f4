package autoreply

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Limit bounds answers, so that a flood of mail is not followed by one of answers, and a signed message that a stranger
// sends again and again is answered once. The state is in a small file that processes share.
type Limit struct {
	File   string
	Domain int           // answers for one domain in a window
	All    int           // for all domains together, MaxAnswers at most; it bounds the file, too
	Window time.Duration // after which counting begins again
	Now    time.Time
}

// MaxAnswers is the largest Limit.All.
const MaxAnswers = 3000

const (
	maxState    = 2 << 20 // of the file: MaxAnswers domains of 253 octets and maxAnswered signatures are less
	maxAnswered = 10_000  // signatures that are remembered
)

// counts is what the file holds.
type counts struct {
	Since    time.Time      `json:"since"`
	All      int            `json:"all"`
	Domains  map[string]int `json:"domains"`
	Answered []string       `json:"answered"` // the last signatures, shortened, the oldest first
}

// Take counts one more answer for a domain, to a message with these signatures; otherwise it says why that must not be
// sent. An error says that nobody can tell: then nothing must be sent either.
func (l Limit) Take(domain string, signatures []string) (refusal string, err error) {
	err = l.change(func(c *counts) bool {
		switch {
		case slices.ContainsFunc(signatures, func(s string) bool { return slices.Contains(c.Answered, short(s)) }):
			refusal = "a message with the same signature was answered before"
		case c.Domains[domain] >= l.Domain:
			refusal = "enough answers were sent to " + domain
		case c.All >= l.All:
			refusal = "enough answers were sent in all"
		default:
			c.All++
			c.Domains[domain]++
			for _, s := range signatures {
				c.Answered = append(c.Answered, short(s))
			}
			c.Answered = c.Answered[max(len(c.Answered)-maxAnswered, 0):]
		}
		return refusal == ""
	})
	return refusal, err
}

// Forget lets a message be answered whose answer could not be sent. It stays counted.
func (l Limit) Forget(signatures []string) error {
	return l.change(func(c *counts) bool {
		for _, s := range signatures {
			c.Answered = slices.DeleteFunc(c.Answered, func(one string) bool { return one == short(s) })
		}
		return true
	})
}

// short is a signature as the file has it.
func short(signature string) string {
	const enough = 9 // bytes
	sum := sha256.Sum256([]byte(signature))
	return base64.RawStdEncoding.EncodeToString(sum[:enough])
}

// change reads the file, and writes it again where work wants that. No other process has it meanwhile.
func (l Limit) change(work func(c *counts) bool) (err error) {
	f, err := os.OpenFile(l.File, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }() // ends the lock
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("%s is not a regular file", l.File))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", l.File, err)
	}
	old, c, err := l.read(f)
	if err != nil || !work(&c) {
		return err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(text, 0); err != nil { // a full disk has room for what was there
		_, undo := f.WriteAt(old, 0)
		return errors.Join(err, undo, f.Truncate(int64(len(old))))
	}
	return f.Truncate(int64(len(text)))
}

// read is what the file holds, and its text.
func (l Limit) read(f *os.File) (text []byte, c counts, err error) {
	if text, err = io.ReadAll(io.LimitReader(f, maxState)); err != nil {
		return nil, c, err
	}
	if len(text) > 0 && json.Unmarshal(text, &c) != nil {
		// A crash cut it off, and nobody knows how many answers were sent: none is before their window is over.
		info, err := f.Stat()
		if err != nil {
			return nil, c, err
		}
		if age := l.Now.Sub(info.ModTime()); age >= 0 && age < l.Window {
			return nil, c, fmt.Errorf("%s cannot be read; it is begun anew %s after it was written", l.File, l.Window)
		}
		c = counts{}
	}
	// A time to come was written by a clock that is right again.
	if c.Since.After(l.Now) || l.Now.Sub(c.Since) >= l.Window || c.Domains == nil {
		c.Since, c.All, c.Domains = l.Now, 0, map[string]int{}
	}
	return text, c, nil
}
