// Go reads files of the control group at each start, to choose a number of threads. It does not matter here.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command dkimd-exim-sign is Exim's transport_filter, a program of its own because Exim starts it at
// each delivery: dkimd exim-sign is the same, and costs the start of all of dkimd.
package main

import (
	"os"

	"dkimd/internal/exim/filter"
)

func main() {
	os.Exit(filter.Command(os.Args[1:], os.Stdin, os.Stdout)) //nolint:forbidigo // this is main
}
