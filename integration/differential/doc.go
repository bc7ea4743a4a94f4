// Package differential compares dkimd with other DKIM programs: OpenDKIM,
// python3-dkim, Mail::DKIM and go-msgauth. Thousands of generated messages, signed by
// each of them, plain and then damaged in every way that came to mind, are judged by all.
//
// A judgement other than dkimd's fails the test, unless it belongs to a class that
// docs/divergences.md lists and the table in divergences_test.go recognises.
//
// The tests have the build tag integration. DKIMD_DIFF_SEED replaces the seed,
// which is printed, and DKIMD_DIFF_COUNT multiplies the number of messages. Programs that are
// missing skip their part with the reason; DKIMD_REQUIRE_ALL=1 makes that a failure.
package differential
