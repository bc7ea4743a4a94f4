//go:build !linux

package keys

import "testing"

// asNobody would need the rights of another user for one thread.
func asNobody(t *testing.T, _ func()) {
	t.Helper()
	t.Skip("Linux only")
}
