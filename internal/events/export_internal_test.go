package events

// Decode is the quick way of reading a record; false: it is left to encoding/json.
func Decode(e *Event, line string) bool { return e.decode(line) }
