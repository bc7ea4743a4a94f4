package pipeline

import (
	"fmt"

	"dkimd/verifier"
)

// bodyNotSeen begins the reason of signatures that could not be judged without the body.
const bodyNotSeen = "body not seen: "

// BodyUnseen says that the body given is not the one that came, and why: no
// signature can be judged by it. Like a fault of ours this never opens the door,
// and it rejects nobody either.
func (m *Message) BodyUnseen(why string) { m.unseen = why }

// withoutBody takes back what was said of signatures by the body. It reports
// false where nothing was: the verdict stands then.
func withoutBody(report *verifier.Report, why string) (changed bool) {
	for i := range report.Results {
		r := &report.Results[i]
		switch r.Status {
		case verifier.Pass, verifier.Fail, verifier.Policy:
			// RFC 8601 section 2.7.1: neutral is what could not be tested.
			r.Status, r.Err = verifier.Neutral, fmt.Errorf("%s%s", bodyNotSeen, why)
			changed = true
		case verifier.None, verifier.Neutral, verifier.TempError, verifier.PermError:
		}
	}
	if changed {
		report.Rejudge()
	}
	return changed
}
