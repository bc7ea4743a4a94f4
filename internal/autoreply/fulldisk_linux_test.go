package autoreply_test

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dkimd/internal/autoreply"

	"golang.org/x/sys/unix"
)

// A full disk takes back no answer that was counted.
func TestFullDiskKeepsTheCount(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Skip("no tmpfs can be mounted: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	l := autoreply.Limit{File: filepath.Join(dir, "state"), Domain: 3000, All: 3000, Window: time.Hour, Now: time.Now()}
	sent, err := 0, error(nil)
	for ; err == nil && sent < 3000; sent++ {
		_, err = l.Take("a.example", []string{strconv.Itoa(sent)})
	}
	if !errors.Is(err, unix.ENOSPC) || sent < 100 {
		t.Fatalf("%d answers, then %v", sent, err)
	}
	if _, err := l.Take("a.example", []string{"another"}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("again: %v", err)
	}
	l.Domain = sent - 1 // as many as were counted
	if why, err := l.Take("a.example", nil); err != nil || !strings.Contains(why, "a.example") {
		t.Errorf("after %d: %q, %v", sent-1, why, err)
	}
	if why, err := l.Take("b.example", []string{"0"}); err != nil || !strings.Contains(why, "before") {
		t.Errorf("the first message again: %q, %v", why, err)
	}
}
