package socket

// Moment is something that happens to the connections of a front door.
type Moment uint8

// The moments.
const (
	Opened   Moment = iota // a connection is served
	Closed                 // and is not any more
	Held                   // the limit is reached: a new one waits
	Failed                 // the system gave no connection, mostly for want of file descriptors
	MadeRoom               // an idle one is closed for a new one
	Refused                // its process is none of the peers
)

// Meter counts moments. Many goroutines call it, and it must not block.
type Meter interface{ Connection(what Moment) }

// Unmetered is a Meter that counts nothing.
type Unmetered struct{}

// Connection is Meter.
func (Unmetered) Connection(Moment) {}
