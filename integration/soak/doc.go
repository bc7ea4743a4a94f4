// Package soak runs dkimd for minutes under load while everything around it goes
// wrong at once: 50 connections sign and verify, every second brings a SIGHUP
// with other rules and another key or with broken ones, DNS fails and recovers,
// mail servers leave in mid-message, the disk of the log fills up, descriptors
// run out, and the wall clock jumps. The answer to each message is known
// beforehand, every message has its one record, and memory, goroutines and
// descriptors are in the end what they were after the warm-up.
//
// It is `make soak`, for 10 minutes, or for SOAK=60s; DKIMD_SOAK_SEED repeats the
// chaos of a run, though not its timing.
//
// The clock. Nothing sets the machine's clock: that would be everybody's, and a
// time namespace shifts only the clocks that do not jump. Instead the wall clock of
// the one process under test jumps: the code by which the kernel lets a process read
// the time (the vDSO, which each process has mapped) is replaced in dkimd's memory
// by one that asks the kernel and adds an offset of ours, to CLOCK_REALTIME alone.
// The monotonic clock goes on as it is, as it does when an administrator or ntpd sets
// the time. dkimd itself is the binary that is shipped. This needs amd64 and
// the right to write another process's memory; elsewhere this part is skipped.
package soak
