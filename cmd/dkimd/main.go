// Command dkimd signs outgoing mail and verifies incoming mail with DKIM
// (RFC 6376), beside a mail server that calls it as a milter.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}
