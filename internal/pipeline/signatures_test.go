package pipeline_test

import (
	"testing"

	"dkimd/policy"
)

// RFC 6376 section 4.2: a signer does not remove the signatures of others, and
// a verifier none at all.
func TestSigningLeavesOtherSignaturesAlone(t *testing.T) {
	t.Parallel()
	for _, client := range []string{inside, outside, relay} {
		w := newWorld(t)
		w.rules = nil
		m := from(client).with("DKIM-Signature: v=1; d=mx.example.net; rubbish", "Xuthentication-Results: mx.example.net; dkim=pass")
		out, e := w.run(w.pipeline(), m)
		if out.Action != policy.Accept || len(out.RemoveAuthRes) != 0 {
			t.Errorf("client %s: %v, removed %v: %s", client, out.Action, out.RemoveAuthRes, text(e))
		}
	}
}

// RFC 6376 section 6.3: why a signature does not verify is logged, and not told to the reader of the mail alone.
func TestRecordsSayWhySignaturesFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.pipeline()
	m := w.signed(p)
	m.body = "Hello Eve.\r\n"
	_, e := w.run(p, m)
	for _, s := range e.Signatures {
		if s.Result != "fail" || s.Reason != "body hash did not verify" {
			t.Errorf("%s (%s)", s.Result, s.Reason)
		}
	}
	if len(e.Signatures) == 0 {
		t.Error("no signature in the record")
	}
}
