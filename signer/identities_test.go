package signer_test

import (
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/keys"
	"dkimd/signer"
)

// A message from a domain without a key, in which each identity names a domain of its own that has one.
func TestSignedByAnotherIdentity(t *testing.T) {
	t.Parallel()
	all := []signer.Identity{signer.ByFrom, signer.BySender, signer.ByListID, signer.ByEnvelope, signer.ByLogin}
	field := func(name, value string) func(w *world) {
		return func(w *world) {
			for i, f := range w.fields {
				if strings.HasPrefix(f, name+":") {
					w.fields[i] = name + ": " + value
				}
			}
		}
	}
	by := func(order ...signer.Identity) func(w *world) {
		return func(w *world) { w.config.IdentityFrom = order }
	}
	both := func(changes ...func(w *world)) func(w *world) {
		return func(w *world) {
			for _, change := range changes {
				change(w)
			}
		}
	}
	login := func(user string) func(w *world) {
		return func(w *world) { w.config.UserMatch, w.env.AuthUser = signer.MatchDomain, user }
	}
	fallback := func(w *world) { w.config.FallbackDomain = "example.org" }
	tests := map[string]struct {
		change func(w *world)
		want   string // who signs, or the code of the reason
		text   string
	}{
		"nothing is set":       {func(*world) {}, "no_key", ""},
		"From alone":           {by(signer.ByFrom), "no_key", ""},
		"Sender":               {by(signer.BySender), "sender.example", "signed as sender.example by Sender"},
		"Sender, for want":     {by(signer.ByFrom, signer.BySender), "sender.example", "signed as sender.example by Sender: From has no key"},
		"List-Id":              {by(signer.ByListID), "list.example", "signed as list.example by List-Id"},
		"MAIL FROM":            {by(signer.ByEnvelope), "envelope.example", "signed as envelope.example by MAIL FROM"},
		"the login":            {by(signer.ByLogin), "login.example", "signed as login.example by login"},
		"the order":            {by(signer.ByEnvelope, signer.BySender), "envelope.example", "signed as envelope.example by MAIL FROM"},
		"From has a key":       {both(by(all...), field("From", "joe@example.org")), "example.org", ""},
		"From comes last":      {both(by(signer.BySender, signer.ByFrom), field("From", "joe@example.org")), "sender.example", "signed as sender.example by Sender"},
		"From alone is asked":  {both(by(signer.ByFrom, signer.ByLogin), field("From", "joe@example.org"), login("joe@login.example")), "user_mismatch", "joe@login.example"},
		"before the fallback":  {both(by(signer.ByFrom, signer.BySender), fallback), "sender.example", "signed as sender.example by Sender: From has no key"},
		"the fallback":         {both(by(signer.ByFrom, signer.BySender), fallback, field("Sender", "joe@other.example")), "example.org", ""},
		"without a key":        {both(by(signer.BySender, signer.ByListID), field("Sender", "joe@other.example")), "list.example", "signed as list.example by List-Id"},
		"two senders":          {both(by(signer.BySender), field("Sender", "joe@sender.example, ann@sender.example")), "no_key", ""},
		"an unreadable sender": {both(by(signer.BySender), field("Sender", "joe@sender.example <")), "no_key", ""},
		"two Sender fields":    {both(by(signer.BySender), func(w *world) { w.fields = append(w.fields, "Sender: joe@sender.example") }), "no_key", ""},
		"the name of a list":   {both(by(signer.ByListID), field("List-Id", "\"<x.sender.example>\" <a.list.example>")), "list.example", "signed as list.example by List-Id"},
		"a list alone":         {both(by(signer.ByListID), field("List-Id", "<list.example>")), "no_key", ""},
		"a list without <":     {both(by(signer.ByListID), field("List-Id", "a.list.example")), "no_key", ""},
		"a list and more":      {both(by(signer.ByListID), field("List-Id", "<a.list.example> <b.sender.example> x")), "no_key", ""},
		"a bounce":             {both(by(signer.ByEnvelope), func(w *world) { w.env.Sender = "" }), "no_key", ""},
		"a login without @":    {both(by(signer.ByLogin), func(w *world) { w.env.AuthUser = "joe" }), "no_key", ""},
		"user_match: Sender":   {both(by(signer.BySender), login("eve@other.example")), "user_mismatch", "may not send as sender.example"},
		"user_match: its own":  {both(by(signer.BySender), login("eve@sender.example")), "sender.example", "signed as sender.example by Sender"},
		"user_match: listed":   {both(by(signer.BySender), login("eve"), func(w *world) { w.write("sender.example", "domain.toml", "users = [\"eve\"]") }), "sender.example", "signed as sender.example by Sender"},
		"user_match goes on":   {both(by(signer.BySender, signer.ByLogin), login("joe@login.example")), "user_mismatch", "may not send as sender.example"},
		"two From fields":      {both(by(all...), func(w *world) { w.fields = append(w.fields, "From: joe@example.org") }), "multiple_from", ""},
		"no From field":        {both(by(all...), field("From", "")), "from_unreadable", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, domain := range []string{"sender.example", "list.example", "envelope.example", "login.example"} {
				w.key(domain, "s1", keys.Ed25519)
			}
			field("From", "joe@nokey.example")(w)
			field("List-Id", "A list <a.list.example>")(w)
			w.fields = append(w.fields, "Sender: Joe <joe@Sender.example>")
			w.env.Sender, w.env.AuthUser = "joe@envelope.example", "joe@login.example"
			tt.change(w)
			h := w.header()
			signing, reason := w.signer().Begin(t.Context(), w.env, h, message.ReadFrom(h))
			if signing == nil {
				if reason.Code != tt.want || !strings.Contains(reason.Text, tt.text) {
					t.Errorf("not signed: %+v", reason)
				}
				return
			}
			signed, err := signing.Finish(t.Context())
			if err != nil || len(signed.Signatures) != 1 || signed.Signatures[0].Domain != tt.want || reason.Code != "" || reason.Text != tt.text {
				t.Errorf("%v %+v %+v", err, signed.Signatures, reason)
			}
		})
	}
}
