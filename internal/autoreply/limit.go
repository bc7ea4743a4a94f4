package autoreply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Limit bounds answers, so that a flood of mail is not followed by one of answers. The state is in a small file that
// processes share.
type Limit struct {
	File   string
	Domain int           // answers for one domain in a window
	All    int           // for all domains together, MaxAnswers at most; it bounds the file, too
	Window time.Duration // after which counting begins again
	Now    time.Time
}

// MaxAnswers is the largest Limit.All.
const MaxAnswers = 3000

// maxState is how large the file is at most: MaxAnswers domains, each of 253 octets, are less.
const maxState = 1 << 20

// counts is what the file holds.
type counts struct {
	Since   time.Time      `json:"since"`
	All     int            `json:"all"`
	Domains map[string]int `json:"domains"`
}

// Take counts one more answer for a domain, and reports whether it may be sent. An error says that nobody can tell: then
// nothing must be sent.
func (l Limit) Take(domain string) (ok bool, err error) {
	f, err := os.OpenFile(l.File, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }() // ends the lock
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false, errors.Join(err, fmt.Errorf("%s is not a regular file", l.File))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return false, fmt.Errorf("lock %s: %w", l.File, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxState))
	if err != nil {
		return false, err
	}
	var c counts
	// What cannot be read was cut off by a crash. A time to come was written by a clock that is right again.
	if json.Unmarshal(text, &c) != nil || c.Since.After(l.Now) || l.Now.Sub(c.Since) >= l.Window || c.Domains == nil {
		c = counts{Since: l.Now, Domains: map[string]int{}}
	}
	if c.All >= l.All || c.Domains[domain] >= l.Domain {
		return false, nil
	}
	c.All++
	c.Domains[domain]++
	if text, err = json.Marshal(c); err != nil {
		return false, err
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		return false, err
	}
	return true, f.Truncate(int64(len(text)))
}
