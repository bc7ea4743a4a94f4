//go:build !race

package harness

// RaceEnabled tells whether the tests run under the race detector; dkimd then does, too.
const RaceEnabled = false
