package dmarc_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
)

// naive is section 4.10 of RFC 9989 as it stands there, without a thought of cost.
type naive struct {
	zone    world
	queries int
}

var (
	errOpen  = errors.New("open")
	isRecord = regexp.MustCompile(`^[vV][ \t]*=[ \t]*DMARC1[ \t]*(;|$)`)
)

func (n *naive) record(labels []string) (string, error) {
	n.queries++
	text := n.zone["_dmarc."+strings.Join(labels, ".")]
	if text == servfail {
		return "", errOpen
	}
	var records []string
	for txt := range strings.SplitSeq(text, "|") {
		if isRecord.MatchString(txt) {
			records = append(records, txt)
		}
	}
	if len(records) != 1 {
		return "", nil
	}
	return records[0], nil
}

// tag is the value of a tag that is there once.
func tag(record, name string) (value string, there bool) {
	found := regexp.MustCompile(`(?i);[ \t]*`+name+`[ \t]*=([^;]*)`).FindAllStringSubmatch(record, -1)
	if len(found) != 1 {
		return "", len(found) > 1
	}
	return strings.ToLower(strings.Trim(found[0][1], " \t")), true
}

// isSuffix is about the names of this test.
func isSuffix(name string) bool { return domain.Name(name).IsPublicSuffix() || name == "ck" }

func psd(record, name string) string {
	value, _ := tag(record, "psd")
	if isSuffix(name) && record != "" {
		return "y" // the veto
	}
	return value
}

// walk returns the names with a record, longest first.
func (n *naive) walk(name string) (found []string, err error) {
	labels := strings.Split(name, ".")
	for step := 0; ; step++ {
		record, err := n.record(labels)
		if err != nil {
			return nil, err
		}
		here := strings.Join(labels, ".")
		if record != "" {
			found = append(found, here)
		}
		if p := psd(record, here); record != "" && (p == "y" || p == "n") {
			return found, nil
		}
		if step == 0 && len(labels) >= 8 {
			labels = labels[len(labels)-7:]
		} else {
			labels = labels[1:]
		}
		if len(labels) == 0 {
			return found, nil
		}
	}
}

// organizational is not known where what nobody could tell makes a difference: at a public suffix, each answer is tried.
func (n *naive) organizational(name string) (string, []string, error) {
	for at := name; at != ""; _, at, _ = strings.Cut(at, ".") {
		if n.zone["_dmarc."+at] != servfail || !isSuffix(at) || at == name {
			continue
		}
		one := naive{zone: maps.Clone(n.zone)}
		delete(one.zone, "_dmarc."+at)
		org, found, err := one.organizational(name)
		for _, record := range []string{"v=DMARC1", "v=DMARC1; psd=y", "v=DMARC1; psd=n"} {
			one.zone["_dmarc."+at] = record
			if other, names, _ := one.organizational(name); other != org || !slices.Contains(found, org) && !slices.Equal(found, names) {
				return "", nil, errOpen
			}
		}
		return org, found, err
	}
	found, err := n.walk(name)
	if err != nil {
		return "", nil, err
	}
	for _, at := range found {
		record, _ := n.record(strings.Split(at, "."))
		switch psd(record, at) {
		case "n":
			return at, found, nil
		case "y":
			if at != name {
				labels := strings.Split(name, ".")
				n := strings.Count(at, ".") + 2
				for n < len(labels) && isSuffix(strings.Join(labels[len(labels)-n:], ".")) {
					n++ // the veto
				}
				return strings.Join(labels[len(labels)-n:], "."), found, nil
			}
		}
	}
	if len(found) > 0 {
		return found[len(found)-1], found, nil
	}
	return name, nil, nil
}

// judge is the policy record's name, its word, and whether an identifier is aligned: "?" where that is open.
func (n *naive) judge(author, id string) (at, policy, aligned string) {
	record, err := n.record(strings.Split(author, "."))
	if err != nil {
		return "", "?", "?"
	}
	at = author
	if record == "" {
		org, found, err := n.organizational(author)
		if err != nil {
			return "", "?", "?"
		}
		at = ""
		for _, name := range found {
			r, _ := n.record(strings.Split(name, "."))
			if name == org || psd(r, name) == "y" && at == "" {
				at, record = name, r
			}
		}
		if at == "" {
			return "", "", ""
		}
	}
	p, _ := tag(record, "p")
	sp, hasSP := tag(record, "sp")
	np, hasNP := tag(record, "np")
	valid := func(s string) bool { return s == "none" || s == "quarantine" || s == "reject" }
	switch {
	case !valid(p), hasSP && !valid(sp), hasNP && !valid(np):
		p = ""
		if rua, _ := tag(record, "rua"); strings.HasPrefix(rua, "mailto:") {
			p = "none"
		}
	case at == author:
	case hasNP && n.zone[author] == "":
		p = np
	case hasSP:
		p = sp
	}
	if t, _ := tag(record, "t"); t == "y" {
		p = map[string]string{"reject": "quarantine", "quarantine": "none", "none": "none", "": ""}[p]
	}
	aligned = "no"
	if id == author {
		aligned = "yes"
	} else {
		one, _, err := n.organizational(author)
		other, _, err2 := n.organizational(id)
		switch {
		case err != nil, err2 != nil && (one == id || strings.HasSuffix(id, "."+one)):
			aligned = "?"
		case err2 == nil && one == other:
			aligned = "yes"
		}
		if strings.TrimPrefix(id[strings.LastIndexByte(id, '.')+1:], ".") != author[strings.LastIndexByte(author, '.')+1:] {
			aligned = "no"
		}
	}
	if s, _ := tag(record, "adkim"); s == "s" && id != author {
		aligned = "no"
	}
	return at, p, aligned
}

func randomName(r *rand.Rand) string {
	labels := []string{[]string{"com", "uk", "example", "ck"}[r.IntN(4)]}
	for range r.IntN(10) {
		labels = append([]string{[]string{"a", "b", "co"}[r.IntN(3)]}, labels...)
	}
	return strings.Join(labels, ".")
}

func randomRecord(r *rand.Rand) string {
	one := func(words string) string {
		all := strings.Split(words, "|")
		return all[r.IntN(len(all))]
	}
	var text strings.Builder
	text.WriteString(one("v=DMARC1|v=DMARC1|v = DMARC1 |V=DMARC1|v=DMARC1|v=spf1|v=dmarc1"))
	for range r.IntN(5) {
		text.WriteString(one(";|; |;; ") + one("p=none|p=reject|P=Quarantine|sp=none|sp=quarantine|np=reject|np=none|psd=y|psd=n|psd=u|psd=y|psd=n|t=y|t=n|p=x|sp=|rua=mailto:a@b|adkim=s|x=y|=|junk"))
	}
	return text.String()
}

// FuzzWalk compares with the naive implementation over random zones: the record, the policy, the alignment and the number of questions.
func FuzzWalk(f *testing.F) {
	for seed := range uint64(2000) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		author, id := randomName(r), randomName(r)
		if r.IntN(2) == 0 { // related names
			for cut := r.IntN(3); cut > 0 && strings.Contains(author, "."); cut-- {
				_, id, _ = strings.Cut(author, ".")
			}
			id = strings.Repeat("c.", r.IntN(4)) + id
		}
		w := world{}
		for _, name := range []string{author, id} {
			for name != "" {
				if text := randomRecord(r); r.IntN(3) == 0 {
					if r.IntN(6) == 0 {
						text += "|" + randomRecord(r)
					}
					if r.IntN(20) == 0 {
						text = servfail
					}
					w["_dmarc."+name] = text
				}
				_, name, _ = strings.Cut(name, ".")
			}
		}
		if r.IntN(2) == 0 {
			w[author] = exists
		}
		n := naive{zone: w}
		at, policy, aligned := n.judge(author, id)
		var asked []string
		d := dmarc.Discover(w.lookup(&asked), domain.Name(author), []domain.Name{domain.Name(id)})
		v := d.Judge([]dmarc.Identifier{{Domain: domain.Name(id)}}, dmarc.SPFAsked)
		want := map[string]dmarc.Result{"yes": dmarc.Pass, "no": dmarc.Fail, "?": dmarc.TempError}[aligned]
		switch {
		case at == "" && policy == "":
			want = dmarc.None
		case at != "" && policy == "":
			want = dmarc.PermError
		}
		if policy == "?" {
			policy = ""
		}
		if v.Result != want || v.Policy.String() != policy || string(v.At) != at {
			t.Errorf("author %s, identifier %s, zone %v:\ngot %+v\nwant %s %s at %s", author, id, w, v, want, policy, at)
		}
		seen := map[string]bool{}
		for _, name := range asked {
			if seen[name] {
				t.Errorf("%s asked for twice", name)
			}
			seen[name] = true
		}
		if len(asked) > 8+1+8 {
			t.Errorf("%d questions: %q", len(asked), asked)
		}
	})
}

// FuzzRecord: whatever stands in a record, it is one by the grammar of its beginning and of nothing else, and the verdict has the words it may have.
func FuzzRecord(f *testing.F) {
	for _, text := range []string{"v=DMARC1; p=reject; rua=mailto:a@b!10m", "v = DMARC1;p=x;;t=y", "v=spf1", "v=DMARC1;np==\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "|") || text == exists || text == servfail || text == timeout || text == dangling {
			return
		}
		var asked []string
		v := dmarc.Discover(world{"_dmarc.example": text}.lookup(&asked), "example", nil).Judge(nil, dmarc.SPFAsked)
		if isRecord.MatchString(text) != (v.Result != dmarc.None) {
			t.Errorf("%q: %+v", text, v)
		}
		if (v.Policy == dmarc.PolicyAbsent) != (v.Result == dmarc.None || v.Result == dmarc.PermError) || v.Policy > dmarc.PolicyReject || v.Published < v.Policy {
			t.Errorf("%q: %+v", text, v)
		}
	})
}
