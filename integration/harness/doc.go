// Package harness is what the tests of integration/ run dkimd in. A World is what one
// test has to itself: a dkimd with its configuration, a DNS server that it asks, and an
// MTA in front of it: a Lane of the Postfix that all tests of a package share, or an
// Exim (NewEximWorld) or Sendmail (NewSendmailWorld) of its own. A Session is an SMTP
// client, a Sink the host that takes what the MTA delivers, and a Stream the records
// that dkimd writes. FreshRoot is a machine of its own in which a guide is followed. An
// Internet is DNS with real name servers in it: StartBIND, StartKnot, StartPowerDNS.
//
// SignWith... and VerifyWith... run other DKIM programs. Process, Run, Eventually and
// Poll are for any child process; it never outlives the tests.
//
// A package that uses a World, or OnStage, calls Main in its TestMain.
package harness
