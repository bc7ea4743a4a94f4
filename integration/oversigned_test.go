//go:build integration

package integration_test

import (
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// relayed are fields that dkimd signs besides those of every message.
var relayed = []string{
	"Sender: Sales <sales@ours.test>", "In-Reply-To: <1@theirs.example>", "References: <0@theirs.example> <1@theirs.example>",
	"Content-Disposition: inline", "List-Unsubscribe: <https://ours.test/u>, <mailto:u@ours.test>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
	"CFBL-Address: fbl@ours.test; report=arf", "CFBL-Feedback-ID: 111:222:333:4444",
}

// withAll is a message that has every field which dkimd signs against another one of its name.
func withAll() *harness.Mail {
	return harness.NewMail("alice@ours.test", "all fields").With(relayed...)
}

// withNone is one without those that mail servers and lists add.
func withNone() *harness.Mail {
	m := harness.NewMail("alice@ours.test", "few fields")
	for _, name := range []string{"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Date", "Message-ID"} {
		m = m.Without(name)
	}
	return m
}

// Subtests have no commas in their names: opendkim -t takes one in a path for the next file.

// TestMailServersLeaveSignaturesWhole: what Postfix, Sendmail and both Exims write into a message
// on its way breaks no signature, whether it has all the fields that are signed against addition or none.
func TestMailServersLeaveSignaturesWhole(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*harness.Mail{"all fields": withAll(), "few fields": withNone()} {
		t.Run("Postfix "+name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t, harness.Settings{})
			to := harness.Unique("whole") + "@elsewhere.test"
			if got := harness.Dial(t, w.Outside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
				t.Fatal(got)
			}
			data := w.Stage.Sink.Wait(t, to).Data
			checkSigned(t, w, data)
			checkSigned(t, w, throughAnother(t, w, data))
		})
		t.Run("Sendmail "+name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewSendmailWorld(t, harness.SendmailSettings{})
			to := harness.Unique("whole") + "@elsewhere.test"
			if got := w.Dial(t, harness.SendmailInside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
				t.Fatal(got)
			}
			checkSigned(t, w.World, w.Stage.Sink.Wait(t, to).Data)
		})
		for _, build := range harness.EximBuilds {
			t.Run("Exim "+build+" "+name, func(t *testing.T) {
				t.Parallel()
				e := harness.NewEximWorld(t, build, harness.EximSettings{})
				to := harness.Unique("whole") + "@elsewhere.test"
				if got := e.Dial(t, harness.EximInside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
					t.Fatal(got)
				}
				checkSignedByExim(t, e, e.Sink.Wait(t, to).Data)
			})
		}
	}
}

// throughAnother relays a message as the next mail server does, which verifies it.
func throughAnother(t *testing.T, w *harness.World, data []byte) []byte {
	t.Helper()
	to := harness.Unique("next") + "@elsewhere.test"
	c := harness.Dial(t, w.Outside).As("mail.ours.test", "203.0.113.9")
	if got := c.Send("alice@ours.test", to, data); got.Code != 250 {
		t.Fatal(got)
	}
	return w.Stage.Sink.Wait(t, to).Data
}

// TestListsBreakNoMoreThanTheyChange: a mailing list that leaves the text alone and adds its own fields breaks
// a signature only where the message had such a field, and somebody would now see two; a footer breaks it anyway.
func TestListsBreakNoMoreThanTheyChange(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	sent := map[string][]byte{}
	for name, m := range map[string]*harness.Mail{"all": withAll(), "none": withNone(), "plain": harness.NewMail("alice@ours.test", "to a list")} {
		to := harness.Unique("list") + "@elsewhere.test"
		if got := harness.Dial(t, w.Outside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
			t.Fatal(got)
		}
		sent[name] = w.Stage.Sink.Wait(t, to).Data
		checkSigned(t, w, sent[name])
	}
	list := []string{
		"List-Id: Talk <talk.lists.example>", "List-Post: <mailto:talk@lists.example>", "List-Unsubscribe: <mailto:leave@lists.example>",
		"List-Archive: <https://lists.example/>", "List-Help: <mailto:help@lists.example>", "Precedence: list", "X-Mailman-Version: 3.3.8",
		"Sender: talk-bounces@lists.example", "Errors-To: talk-bounces@lists.example", "X-BeenThere: talk@lists.example",
	}
	mime := []string{"MIME-Version: 1.0", `Content-Type: text/plain; charset="us-ascii"`, "Content-Transfer-Encoding: 7bit"}
	threads := []string{"In-Reply-To: <2@theirs.example>", "References: <2@theirs.example>"}
	without := func(fields []string, name string) []string {
		return slices.DeleteFunc(slices.Clone(fields), func(f string) bool { return strings.HasPrefix(f, name) })
	}
	for name, tc := range map[string]struct {
		message string
		fields  []string
		footer  string
		holds   bool
	}{
		"a list's fields":                   {"plain", list, "", true},
		"a list and few fields of ours":     {"none", append(list, mime...), "", true},
		"a relay that completes the thread": {"plain", threads, "", true},
		"fields that are not ours":          {"all", without(without(list, "Sender"), "List-Unsubscribe"), "", true},
		"a second Sender":                   {"all", []string{"Sender: talk-bounces@lists.example"}, "", false},
		"a second List-Unsubscribe":         {"all", []string{"List-Unsubscribe: <mailto:leave@evil.test>"}, "", false},
		"a second Content-Type":             {"plain", mime[1:2], "", false},
		"a footer":                          {"plain", list, "\r\n_____\r\nTalk mailing list\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(strings.Join(append(tc.fields, ""), "\r\n") + string(sent[tc.message]) + tc.footer)
			data = throughAnother(t, w, data)
			for _, v := range harness.VerifyWithPython(t, w.DNS, data) {
				if v.Pass != tc.holds {
					t.Errorf("python3-dkim: %+v, want pass %v", v, tc.holds)
				}
			}
			if pass, said := harness.VerifyWithOpenDKIM(t, w.DNS, data); pass != tc.holds {
				t.Errorf("OpenDKIM: pass %v, want %v: %s", pass, tc.holds, said)
			}
			if tc.holds {
				checkSigned(t, w, data)
			}
		})
	}
}
