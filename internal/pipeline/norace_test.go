//go:build !race

package pipeline_test

// What is measured is run so often, and may take so many times as long: the race
// detector slows down our code, and not the hashes that it is compared with.
const (
	runs = 3
	slow = 1
)
