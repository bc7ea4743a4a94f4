//go:build integration

package soak_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// addition is a header field that dkimd has added, the value without the space in front.
type addition struct{ name, value string }

// answerText writes an answer in the one way that can be compared: "accept", then what was
// added, in the order of names.
func answerText(verdict, reply string, added []addition) string {
	switch verdict {
	case "reject":
		return verdict + " " + reply
	case "tempfail":
		return verdict + " " + reply[:min(9, len(reply))]
	}
	var words []string
	for _, a := range added {
		value := strings.Join(strings.Fields(a.value), " ")
		switch a.name {
		case "DKIM-Signature":
			words = append(words, "signed="+tag(value, "d")+"/"+tag(value, "s"))
		case "Authentication-Results":
			_, results, _ := strings.Cut(value, "dkim=")
			words = append(words, "dkim="+strings.FieldsFunc(results+" ", func(r rune) bool { return r == ' ' || r == ';' })[0])
		case "X-Soak":
			words = append(words, "tag="+value)
		default:
			words = append(words, a.name+"="+value)
		}
	}
	slices.Sort(words)
	return strings.Join(append([]string{verdict}, words...), " ")
}

// tag is the value of a tag of a signature.
func tag(field, name string) string {
	for part := range strings.SplitSeq(field, ";") {
		if key, value, _ := strings.Cut(strings.TrimSpace(part), "="); key == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// verifyEvery is how many signed messages there are to one that is verified here.
const verifyEvery = 8

// checkSigned verifies some of the signatures that dkimd made, with a verifier that
// is not its own, and looks at their dates.
func (w *world) checkSigned(r *rand.Rand, m *message, signed []byte) error {
	var dates []int64
	for _, found := range signatureDate.FindAllSubmatch(signed, -1) {
		at, _ := strconv.ParseInt(string(found[1]), 10, 64)
		dates = append(dates, at)
	}
	if len(dates) == 0 {
		return errors.New("no t= in a signature")
	}
	now := time.Now()
	for _, at := range dates {
		if !slices.ContainsFunc(w.clocks.since(m.clocks), func(wrong time.Duration) bool {
			return at >= m.began.Add(wrong-time.Second).Unix() && at <= now.Add(wrong+time.Second).Unix()
		}) {
			return fmt.Errorf("t=%d, which no clock showed at %s", at, now.UTC())
		}
	}
	if r.IntN(verifyEvery) > 0 {
		return nil
	}
	results, err := dkim.VerifyWithOptions(bytes.NewReader(signed), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		return []string{w.records[strings.TrimSuffix(name, ".")+"."]}, nil
	}})
	if err != nil {
		return err
	}
	for _, result := range results {
		if result.Err != nil {
			return fmt.Errorf("the signature of %s: %w", result.Domain, result.Err)
		}
	}
	if len(results) == 0 {
		return errors.New("no signature is found")
	}
	return nil
}

var signatureDate = regexp.MustCompile(`(?m)[;\s]t=(\d+)`)
