// Package proof gives the same messages to the old signer and to dkimd with the imported configuration, and compares the
// signatures. Both run on sockets of their own, with copies of their configurations; nothing of the system is touched.
package proof

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/milter/client"
)

// Probe is one message and who hands it in.
type Probe struct {
	Name string `json:"name"` // in words
	Mail client.Mail
	// Daemon is the port of the mail server that the message comes in by, as {daemon_name}; empty: smtpd.
	Daemon string
	// Foreign: the client is nobody's own, and what becomes of the message counts too. Mail of ours that has no key
	// is verified by OpenDKIM and not by dkimd.
	Foreign bool
}

// Signature is what of a DKIM-Signature the two signers must agree in.
type Signature struct {
	Domain           string `json:"d"`
	Selector         string `json:"s"`
	Algorithm        string `json:"a"`
	Canonicalization string `json:"c"`
	Identity         string `json:"i"`
	Headers          string `json:"h"` // sorted, in lower case
	Expires          bool   `json:"x"`
	Verifies         string `json:"verifies"` // pass, or why not
}

// String is the signature in one line.
func (s Signature) String() string {
	text := fmt.Sprintf("d=%s s=%s a=%s c=%s i=%s h=%s", s.Domain, s.Selector, s.Algorithm, s.Canonicalization, s.Identity, s.Headers)
	if s.Expires {
		text += " x"
	}
	return text + " " + s.Verifies
}

// Outcome is what a signer did with a message.
type Outcome struct {
	Signatures []Signature `json:"signatures"`
	Verdict    string      `json:"verdict"` // accept, or the SMTP reply
}

// Difference is a probe on which the two do not agree.
type Difference struct {
	Probe string   `json:"probe"`
	What  []string `json:"what"` // of the signatures or the verdict
	Old   Outcome  `json:"old"`
	New   Outcome  `json:"new"`
}

// Signer signs a message as a mail server has it signed.
type Signer interface {
	Sign(ctx context.Context, p Probe) (raw []byte, verdict string, err error)
}

// Compare gives every probe to both signers.
func Compare(ctx context.Context, old, now Signer, probes []Probe, v *Verifier) ([]Difference, error) {
	var differences []Difference
	for _, p := range probes {
		before, err := outcome(ctx, old, p, v)
		if err != nil {
			return differences, fmt.Errorf("the old signer, %s: %w", p.Name, err)
		}
		after, err := outcome(ctx, now, p, v)
		if err != nil {
			return differences, fmt.Errorf("dkimd, %s: %w", p.Name, err)
		}
		if what := compare(before, after, p.Foreign); len(what) > 0 {
			differences = append(differences, Difference{p.Name, what, before, after})
		}
	}
	return differences, nil
}

func outcome(ctx context.Context, s Signer, p Probe, v *Verifier) (Outcome, error) {
	raw, verdict, err := s.Sign(ctx, p)
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{Signatures: v.verify(ctx, raw), Verdict: verdict}
	slices.SortFunc(o.Signatures, func(a, b Signature) int { return strings.Compare(a.String(), b.String()) })
	return o, nil
}

// compare names what differs in two outcomes.
func compare(a, b Outcome, verdicts bool) []string {
	var what []string
	differ := func(name string, of func(Signature) string) {
		list := func(o Outcome) string {
			var texts []string
			for _, s := range o.Signatures {
				texts = append(texts, of(s))
			}
			slices.Sort(texts)
			return strings.Join(texts, " ")
		}
		if list(a) != list(b) {
			what = append(what, name)
		}
	}
	differ("who signs", func(s Signature) string { return s.Domain + "/" + s.Selector })
	if len(what) == 0 {
		differ("a", func(s Signature) string { return s.Algorithm })
		differ("c", func(s Signature) string { return s.Canonicalization })
		differ("i", func(s Signature) string { return strings.ToLower(s.Identity) })
		differ("h", func(s Signature) string { return s.Headers })
		differ("x", func(s Signature) string { return strconv.FormatBool(s.Expires) })
		differ("verifies", func(s Signature) string { return s.Verifies })
	}
	if verdicts && a.Verdict != b.Verdict {
		what = append(what, "verdict")
	}
	return what
}
