package pipeline_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
)

const quarantineRule = `
mode = "enforce"
[[rule]]
name = "DMARC asks for it"
dmarc = ["fail"]
published = ["quarantine", "reject"]
not_list = true
action = "quarantine"
[[rule]]
name = "SPF is broken"
spf = ["permerror"]
action = "reject"
`

// What SPF and DMARC say of mail from outside: in Authentication-Results, in the record and in the verdict.
func TestMailIsJudgedBySPFAndDMARC(t *testing.T) {
	t.Parallel()
	const spfPass, spfFail = "v=spf1 ip4:" + outside + " -all", "v=spf1 -all"
	tests := map[string]struct {
		dns    string // "name: record" lines, "FAIL" for one that nobody answers
		sender string
		fields []string // in front
		client string
		want   string // action, then results
		record events.DMARC
	}{
		"SPF passes and is aligned": {
			"m.sender.example: " + spfPass + "\n_dmarc.sender.example: v=DMARC1; p=reject", "joe@m.sender.example", nil, outside,
			"accept spf=pass smtp.mailfrom=m.sender.example; dmarc=pass header.from=sender.example; dkim=none",
			events.DMARC{Result: "pass", Policy: "reject", Published: "reject", Domain: "sender.example", Org: "sender.example", AlignedBy: "spf m.sender.example"},
		},
		"SPF passes and is not aligned": {
			"other.example: " + spfPass + "\n_dmarc.sender.example: v=DMARC1; p=reject", "joe@other.example", nil, outside,
			"quarantine spf=pass smtp.mailfrom=other.example; dmarc=fail header.from=sender.example policy.dmarc=reject; dkim=none",
			events.DMARC{Result: "fail", Policy: "reject", Published: "reject", Domain: "sender.example", Org: "sender.example"},
		},
		"a null sender whose HELO is aligned": {
			"helo.sender.example: " + spfPass + "\n_dmarc.sender.example: v=DMARC1; p=reject", "", nil, outside,
			"accept spf=pass smtp.helo=helo.sender.example; dmarc=pass header.from=sender.example; dkim=none",
			events.DMARC{Result: "pass", Policy: "reject", Published: "reject", Domain: "sender.example", Org: "sender.example", AlignedBy: "spf helo.sender.example"},
		},
		"a policy that is tested": {
			"sender.example: " + spfFail + "\n_dmarc.sender.example: v=DMARC1; p=quarantine; t=y", "joe@sender.example", nil, outside,
			"accept spf=fail smtp.mailfrom=sender.example; dmarc=fail header.from=sender.example policy.dmarc=none; dkim=none",
			events.DMARC{Result: "fail", Policy: "none", Published: "quarantine", Domain: "sender.example", Testing: true},
		},
		"a mailing list": {
			"_dmarc.sender.example: v=DMARC1; p=reject", "joe@sender.example",
			[]string{"List-Id: <l.example>"},
			outside,
			"accept spf=none smtp.mailfrom=sender.example; dmarc=fail header.from=sender.example policy.dmarc=reject; dkim=none",
			events.DMARC{Result: "fail", Policy: "reject", Published: "reject", Domain: "sender.example"},
		},
		"no policy": {
			"", "joe@sender.example", nil, outside,
			"accept spf=none smtp.mailfrom=sender.example; dmarc=none header.from=sender.example; dkim=none",
			events.DMARC{Result: "none", Org: "sender.example"},
		},
		"the policy is not known": {
			"_dmarc.sender.example: FAIL", "joe@sender.example", nil, outside,
			"tempfail",
			events.DMARC{Result: "temperror", Reason: "temporary DNS failure: no answer in time"},
		},
		"whether the domain exists is not known, and would decide": {
			"_dmarc.example: v=DMARC1; p=none; np=reject; psd=y\nsender.example: FAIL", "joe@other.example", nil, outside,
			"tempfail",
			events.DMARC{Result: "temperror", Domain: "example", Org: "sender.example", Reason: "temporary DNS failure: no answer in time"},
		},
		"SPF is not known, and would decide": {
			"sender.example: FAIL\n_dmarc.sender.example: v=DMARC1; p=reject", "joe@sender.example", nil, outside,
			"tempfail",
			events.DMARC{Result: "temperror", Policy: "reject", Published: "reject", Domain: "sender.example", Reason: "spf of sender.example is not known"},
		},
		"SPF is not known, and cannot be aligned": {
			"other.example: FAIL\n_dmarc.sender.example: v=DMARC1; p=reject", "joe@other.example", nil, outside,
			"quarantine spf=temperror smtp.mailfrom=other.example; dmarc=fail header.from=sender.example policy.dmarc=reject; dkim=none",
			events.DMARC{Result: "fail", Policy: "reject", Published: "reject", Domain: "sender.example", Org: "sender.example"},
		},
		"SPF is broken": {
			"sender.example: v=spf1 +all nonsense", "joe@sender.example", nil, outside, "reject", events.DMARC{Result: "none", Org: "sender.example"},
		},
		"two From fields": {
			"_dmarc.sender.example: v=DMARC1; p=reject", "joe@sender.example",
			[]string{"From: joe@sender.example"},
			outside,
			"quarantine spf=none smtp.mailfrom=sender.example; dmarc=permerror header.from=sender.example; dkim=none",
			events.DMARC{Result: "permerror", Policy: "reject", Published: "reject", Domain: "sender.example", Reason: "there are several From fields"},
		},
		"a client without a readable address: the strictest": {
			"_dmarc.sender.example: v=DMARC1; p=reject", "joe@sender.example", nil, "junk",
			"quarantine dkim=none",
			events.DMARC{Policy: "reject", Published: "reject", Domain: "sender.example"},
		},
		"a trusted client is not checked": {
			"_dmarc.sender.example: v=DMARC1; p=reject", "joe@sender.example", nil, relay, "accept dkim=none", events.DMARC{},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.config.SPF = true
			w.rules["_default.toml"] = quarantineRule
			w.answer(test.dns)
			m := from(test.client).with(test.fields...)
			m.head[len(test.fields)] = "From: joe@sender.example"
			m.env.Sender, m.env.Helo = test.sender, "helo.sender.example"
			out, e := w.run(w.pipeline(), m)
			got := []string{out.Action.String()}
			for _, add := range out.Add {
				_, results, _ := strings.Cut(add.Value, ";")
				got = append(got, strings.Fields(results)...)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, " "), test.want)
			}
			if e.DMARC != test.record {
				t.Errorf("got  %+v\nwant %+v", e.DMARC, test.record)
			}
		})
	}
}

// answer makes lines the whole DNS.
func (w *world) answer(lines string) (asked func() []string) {
	var mu sync.Mutex
	var names []string
	zone := map[string]string{}
	for line := range strings.SplitSeq(lines, "\n") {
		name, text, _ := strings.Cut(line, ": ")
		zone[name] = text
	}
	w.lookup = func(name string) (resolver.Answer, error) {
		mu.Lock()
		defer mu.Unlock()
		names = append(names, name)
		switch text, ok := zone[name]; {
		case !ok:
			return resolver.Answer{}, resolver.ErrNotExist
		case text == "FAIL":
			return resolver.Answer{}, &resolver.Failure{Cause: resolver.ErrTimeout}
		default:
			return resolver.Answer{Records: []string{text}}, nil
		}
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return names
	}
}

// Nothing is looked up where neither a rule nor verify.spf asks for it, nor for mail of ours.
func TestNobodyIsAskedForNothing(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spf    bool
		rules  string // _default.toml
		client string
		login  string
		want   string
	}{
		"nobody asks":                 {false, "", outside, "", ""},
		"a rule of another kind":      {false, "[[rule]]\nclients='192.0.2.0/24'\naction='reject'", outside, "", ""},
		"a rule on SPF":               {false, "[[rule]]\nspf='fail'\naction='quarantine'", outside, "", "sender.example"},
		"a rule on DMARC":             {false, "[[rule]]\nnot_dmarc='pass'\naction='quarantine'", outside, "", "_dmarc.example _dmarc.sender.example sender.example"},
		"a rule on what is published": {false, "[[rule]]\npublished='reject'\naction='quarantine'", outside, "", "_dmarc.example _dmarc.sender.example sender.example"},
		"verify.spf":                  {true, "", outside, "", "_dmarc.example _dmarc.sender.example sender.example"},
		"verify.spf, ours":            {true, "", inside, "", ""},
		"verify.spf, a login":         {true, "", outside, "joe", ""},
		"verify.spf, trusted":         {true, "", relay, "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.config.SPF = test.spf
			if test.rules != "" {
				w.rules["_default.toml"] = test.rules
			}
			asked := w.answer("")
			m := from(test.client)
			m.head[0] = "From: joe@sender.example"
			m.env.Sender, m.env.AuthUser = "joe@sender.example", test.login
			w.run(w.pipeline(), m)
			if got := strings.Join(slices.Sorted(slices.Values(asked())), " "); got != test.want {
				t.Errorf("asked %q; want %q", got, test.want)
			}
		})
	}
}

// Nor for mail that is ours by its daemon or its certificate.
func TestMailOfOursByDaemonOrCertificateAsksNobody(t *testing.T) {
	t.Parallel()
	for name, envelope := range map[string]func(*message.Envelope){
		"daemon":      func(e *message.Envelope) { e.DaemonName = "submission" },
		"certificate": func(e *message.Envelope) { e.Certificate.Subject = "laptop" },
	} {
		w := newWorld(t)
		w.config.SPF, w.config.DaemonNames, w.config.TLSClients = true, []string{"submission"}, []string{"laptop"}
		asked := w.answer("")
		m := from(outside)
		m.head[0] = "From: joe@sender.example"
		m.env.Sender = "joe@sender.example"
		envelope(&m.env)
		p := w.pipeline()
		synctest.Test(t, func(*testing.T) {
			msg := p.Begin(&m.env)
			synctest.Wait()
			msg.Abort("the MTA left")
		})
		if got := asked(); len(got) > 0 {
			t.Errorf("%s: asked for %q", name, got)
		}
	}
}

// A record waits 5 s for what no rule asks for; a rule waits for all that it asks for.
func TestWhatIsOnlyRecordedHoldsUpNobody(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rule string
		want string
		took time.Duration
	}{
		"no rule asks":        {"list = true\naction = 'reject'", "accept spf=temperror smtp.helo=helo.sender.example;", 5 * time.Second},
		"a rule on alignment": {"not_result = 'pass'\naction = 'quarantine'", "quarantine spf=temperror smtp.helo=helo.sender.example;", 5 * time.Second},
		"a rule on SPF":       {"spf = 'fail'\naction = 'reject'", "tempfail", 20 * time.Second},
	}
	for name, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.config.SPF = true
			w.rules["_default.toml"] = "mode = 'enforce'\n[[rule]]\n" + test.rule
			w.answer("")
			w.lookupIn = func(done <-chan struct{}) { <-done }
			m := from(outside)
			m.head[0] = "From: joe@sender.example"
			m.env.Sender, m.env.Helo = "", "helo.sender.example"
			start := time.Now()
			out, _ := w.run(w.pipeline(), m)
			took := time.Since(start)
			got := out.Action.String()
			if len(out.Add) > 0 {
				got += " " + strings.Join(strings.Fields(out.Add[0].Value)[1:3], " ")
			}
			if got != test.want || took != test.took {
				t.Errorf("%s: got %s after %s; want %s after %s", name, got, took, test.want, test.took)
			}
		})
	}
}

// A check that has begun ends with its message, whatever becomes of that.
func TestSPFEndsWithTheMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.SPF = true
	ended := make(chan struct{})
	w.lookupIn = func(done <-chan struct{}) {
		<-done
		close(ended)
	}
	env := from(outside).env
	w.pipeline().Begin(&env).Abort("the MTA left")
	<-ended
}
