package keys

import "dkimd/internal/fault"

// Parse reads the content of a key file that is no part of a Store; path only names it. data is cleared.
func Parse(path string, data []byte) (*Private, *fault.Fault) { return parse(path, data) }
