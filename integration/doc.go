// Package integration shows dkimd beside real programs: Debian's Postfix runs
// as an instance of its own on loopback ports, with its own configuration,
// queue and log; Dovecot checks its users' passwords; python3-dkim, Mail::DKIM
// and OpenDKIM sign the mail that comes in and verify the mail that goes out.
// Debian's Exims and Sendmail run unpacked beside it.
//
// The tests have the build tag integration and need root. Programs that are
// missing skip a test with the reason; DKIMD_REQUIRE_ALL=1 makes that a failure.
// scripts/install-test-deps installs everything. Nothing of the machine's own
// Postfix is touched.
package integration
