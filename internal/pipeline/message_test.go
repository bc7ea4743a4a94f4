package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/resolver"
	"dkimd/policy"
)

func TestWhoseMailIsOurs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(m *mail)
		mode   string
		reason string
	}{
		"client in networks":              {func(*mail) {}, "sign", "network"},
		"client outside":                  {func(m *mail) { m.env.Client = message.NewClient("", outside) }, "verify", "not_ours"},
		"local submission":                {func(m *mail) { m.env.Client = message.NewClient("", "") }, "sign", "local"},
		"address that cannot be read":     {func(m *mail) { m.env.Client = message.NewClient("", "junk") }, "verify", "not_ours"},
		"outside, logged in":              {func(m *mail) { m.env.Client, m.env.AuthUser = message.NewClient("", outside), "joe" }, "sign", "login"},
		"outside, auth type only":         {func(m *mail) { m.env.Client, m.env.AuthType = message.NewClient("", outside), "EXTERNAL" }, "sign", "login"},
		"outside, through our daemon":     {func(m *mail) { m.env.Client, m.env.DaemonName = message.NewClient("", outside), "ORIGINATING" }, "sign", "daemon_name"},
		"outside, another daemon":         {func(m *mail) { m.env.Client, m.env.DaemonName = message.NewClient("", outside), "smtpd" }, "verify", "not_ours"},
		"trusted":                         {func(m *mail) { m.env.Client = message.NewClient("", relay) }, "trusted", "trusted"},
		"trusted wins over authenticated": {func(m *mail) { m.env.Client, m.env.AuthUser = message.NewClient("", relay), "joe" }, "trusted", "trusted"},
		"IPv4-mapped address":             {func(m *mail) { m.env.Client = message.NewClient("", "::ffff:"+inside) }, "sign", "network"},
		"two From fields":                 {func(m *mail) { *m = m.with("From: x@example.org") }, "unsigned", "multiple_from"},
		"an unquoted address as name":     {func(m *mail) { m.head[0] = "From: joe@example.org <joe@example.org>" }, "sign", "network"},
		"two domains in one From":         {func(m *mail) { m.head[0] = "From: a@example.org, b@other.example" }, "unsigned", "from_unreadable"},
		"no key for the domain":           {func(m *mail) { m.head[0] = "From: joe@other.example" }, "unsigned", "no_key"},
	}
	w := newWorld(t)
	p := w.pipeline()
	for name, tt := range tests { //nolint:paralleltest // they share a world
		t.Run(name, func(t *testing.T) {
			m := from(inside)
			tt.change(&m)
			_, e := w.run(p, m)
			if e.Mode != tt.mode {
				t.Errorf("mode %q, want %q: %s", e.Mode, tt.mode, text(e))
			}
			if e.ReasonCode != tt.reason || e.Reason == "" {
				t.Errorf("reason %q, want %q: %s", e.ReasonCode, tt.reason, text(e))
			}
		})
	}
}

func TestForeignMailIsJudged(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(w *world, m *mail)
		action policy.Action
	}{
		"both signatures hold":              {func(*world, *mail) {}, policy.Accept},
		"the body was changed":              {func(_ *world, m *mail) { m.body = "Hello Eve.\r\n" }, policy.Reject},
		"From was changed":                  {func(_ *world, m *mail) { m.head[2] = "From: Eve <joe@example.org>" }, policy.Reject},
		"a second From was put in":          {func(_ *world, m *mail) { *m = m.with("From: joe@example.org") }, policy.Reject},
		"one signature is broken":           {func(_ *world, m *mail) { m.head[0] = strings.Replace(m.head[0], "bh=", "bh=A", 1) }, policy.Accept},
		"unsigned":                          {func(_ *world, m *mail) { m.head = m.head[2:] }, policy.Reject},
		"unsigned, the null sender":         {func(_ *world, m *mail) { m.head, m.env.Sender = m.head[2:], "" }, policy.Reject},
		"unsigned, only MAIL FROM":          {func(_ *world, m *mail) { m.head = []string{"From: eve@evil.example"} }, policy.Reject},
		"unsigned, only From":               {func(_ *world, m *mail) { m.head, m.env.Sender = m.head[2:], "eve@evil.example" }, policy.Reject},
		"unsigned, From not well formed":    {func(_ *world, m *mail) { m.head, m.env.Sender = []string{`From: "x <joe@example.org>`}, "" }, policy.Reject},
		"keys are gone":                     {func(w *world, _ *mail) { w.txt = nil }, policy.Reject},
		"keys cannot be fetched":            {func(w *world, _ *mail) { w.fail(resolver.ErrTemporary) }, policy.TempFail},
		"a lookup panics":                   {func(w *world, _ *mail) { w.lookup = func(string) (resolver.Answer, error) { panic("lookup") } }, policy.TempFail},
		"2001 fields":                       {func(_ *world, m *mail) { *m = m.with(slices.Repeat([]string{"X: y"}, 2001)...) }, policy.Reject},
		"a header over 1 MiB":               {func(_ *world, m *mail) { *m = m.with("X: " + strings.Repeat("y", 1<<20)) }, policy.Reject},
		"from a trusted host, body changed": {func(_ *world, m *mail) { m.body, m.env.Client = "x", message.NewClient("", relay) }, policy.Accept},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.pipeline()
			m := w.signed(p)
			tt.change(w, &m)
			out, e := w.run(p, m)
			if out.Action != tt.action || e.Verdict != tt.action.String() {
				t.Errorf("%v %q, want %v: %s", out.Action, out.Reply, tt.action, text(e))
			}
			first := func() string {
				if len(out.Add) == 0 {
					return ""
				}
				return out.Add[0].Name
			}()
			if passes := out.Action == policy.Accept; passes != (first == "Authentication-Results") {
				t.Errorf("%v, and the first field added is %q", out.Action, first)
			}
		})
	}
}

// A rule that would accept for the sake of one recipient does not where dkimd
// keeps only some of them: one that it does not know may need the next rule.
func TestRecipientsPastTheLimitAcceptNothing(t *testing.T) {
	t.Parallel()
	for count, action := range map[int]policy.Action{message.MaxRecipients: policy.Accept, message.MaxRecipients + 1: policy.Reject} {
		w := newWorld(t)
		w.rules["example.org.toml"] = `
			sender = "either"
			mode = "enforce"
			[[rule]]
			recipients = "example.net"
			action = "accept"
			[[rule]]
			action = "reject"`
		m := from(outside)
		// begin adds one more.
		for range count - 1 {
			m.env.AddRecipient("ann@example.net")
		}
		if out, e := w.run(w.pipeline(), m); out.Action != action {
			t.Errorf("%d recipients: %v, want %v: %s", count, out.Action, action, text(e))
		}
	}
}

func (w *world) fail(err error) {
	w.lookup = func(string) (resolver.Answer, error) { return resolver.Answer{}, err }
}

func TestForgedResultsAreRemoved(t *testing.T) {
	t.Parallel()
	for _, client := range []string{inside, outside, relay} {
		w := newWorld(t)
		w.rules = nil
		m := from(client).with(
			"Authentication-Results: mx.example.net; dkim=pass header.d=gmail.com",
			"Authentication-Results: other.example; dkim=pass",
			"authentication-results:\r\n (hi) \"MX.example.NET\" 1 ; spf=pass",
			"Authentication-Results: mx.example.net.evil.example; dkim=pass",
			"Authentication-Results \t: mx.example.net; dkim=pass", // RFC 5322 section 4.5; Postfix and Sendmail remove the space, Exim does not
		)
		out, e := w.run(w.pipeline(), m)
		if !slices.Equal(out.RemoveAuthRes, []int{5, 3, 1}) || e.Stripped != 3 {
			t.Errorf("client %s: removed %v, recorded %d", client, out.RemoveAuthRes, e.Stripped)
		}
	}
}

// A removal costs the MTA more the more there are, and a forged result that stays is believed.
func TestTooManyForgedResultsAreRefused(t *testing.T) {
	t.Parallel()
	const forged = "Authentication-Results: mx.example.net; dkim=pass header.d=gmail.com"
	for _, client := range []string{inside, outside, relay} {
		w := newWorld(t)
		w.rules = nil
		m := from(client).with(slices.Repeat([]string{forged}, 1000)...)
		if out, e := w.run(w.pipeline(), m); out.Action != policy.Accept || len(out.RemoveAuthRes) != 1000 || len(e.Warnings) > 0 {
			t.Errorf("client %s: %v with %d removed, warnings %q", client, out.Action, len(out.RemoveAuthRes), e.Warnings)
		}
		out, e := w.run(w.pipeline(), m.with(forged))
		if out.Action != policy.Reject || !strings.HasPrefix(out.Reply.String(), "550 5.7.1 ") || len(out.RemoveAuthRes)+len(out.Add) > 0 {
			t.Errorf("client %s: %v %q with %d edits", client, out.Action, out.Reply, len(out.RemoveAuthRes)+len(out.Add))
		}
		if e.Verdict != "reject" || !slices.Contains(e.Warnings, "over the limit of forged Authentication-Results fields") {
			t.Errorf("client %s: record %q, warnings %q", client, e.Verdict, e.Warnings)
		}
	}
}

func TestOurNameIsWhatTheMTASays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.Hostname, w.config.HostNames = "", []string{"host.example", "host"}
	p := w.pipeline()
	m := from(outside)
	m.env.Sender, m.head[0] = "", "From: a@other.example"
	out, _ := w.run(p, m)
	if !strings.HasPrefix(out.Add[0].Value, " mta.example.net;") {
		t.Errorf("authserv-id in %q", out.Add[0].Value)
	}
	m.env.MTA = ""
	if out, _ = w.run(p, m); !strings.HasPrefix(out.Add[0].Value, " host.example;") {
		t.Errorf("authserv-id in %q", out.Add[0].Value)
	}
}

// Without a hostname in dkimd.toml nobody can tell which of its names a host used when it said whom to trust.
func TestResultsInAnyOfOurNamesAreForged(t *testing.T) {
	t.Parallel()
	for _, mta := range []string{"", "mta.example.net", "host.example"} {
		w := newWorld(t)
		w.config.Hostname, w.config.HostNames, w.rules = "", []string{"host.example", "host"}, nil
		m := from(outside).with(
			"Authentication-Results: foreign.example; dkim=pass",
			"Authentication-Results: HOST.example 1; dkim=pass",
			"Authentication-Results: mta.example.net; dkim=pass",
			"Authentication-Results: host; dkim=pass",
			"Authentication-Results: host.example.org; dkim=pass")
		m.env.MTA = mta
		want := []int{4, 2}
		if mta == "mta.example.net" {
			want = []int{4, 3, 2}
		}
		if out, _ := w.run(w.pipeline(), m); !slices.Equal(out.RemoveAuthRes, want) {
			t.Errorf("MTA %q: %d removed, want %d", mta, out.RemoveAuthRes, want)
		}
		w.config.Hostname = "mx.example.net"
		if out, _ := w.run(w.pipeline(), m); len(out.RemoveAuthRes) != 0 {
			t.Errorf("MTA %q: %d removed though dkimd.toml names us", mta, out.RemoveAuthRes)
		}
	}
}

// A fault of ours must not open the door: where a rule could have stopped the
// message, it is deferred.
func TestFaultsFollowTheRules(t *testing.T) {
	t.Parallel()
	monitor := map[string]string{"example.org.toml": "mode = \"monitor\"\n[[rule]]\naction = \"reject\""}
	tests := map[string]struct {
		client string
		rules  map[string]string // nil: the world's
		before bool              // the fault comes before the end of the header
		change func(w *world)
		action policy.Action
	}{
		"foreign, rules enforced":         {client: outside, action: policy.TempFail},
		"foreign, rules only monitor":     {client: outside, rules: monitor, action: policy.Accept},
		"foreign, no rules":               {client: outside, rules: map[string]string{}, action: policy.Accept},
		"foreign, sender not known yet":   {client: outside, before: true, action: policy.TempFail},
		"no rules, sender not known yet":  {client: outside, before: true, rules: map[string]string{}, action: policy.Accept},
		"ours":                            {client: inside, action: policy.TempFail},
		"ours, on_error unsigned":         {client: inside, change: func(w *world) { w.config.SendUnsigned = true }, action: policy.Accept},
		"trusted":                         {client: relay, action: policy.Accept},
		"ours, before the header's end":   {client: inside, before: true, action: policy.TempFail},
		"trusted, before the header ends": {client: relay, before: true, action: policy.TempFail},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tt.rules != nil {
				w.rules = tt.rules
			}
			if tt.change != nil {
				tt.change(w)
			}
			msg := begin(w.pipeline(), from(tt.client))
			if !tt.before {
				msg.EndOfHeader(t.Context())
			}
			msg.Fault(errors.New("it broke"))
			out := msg.Finish(t.Context())
			if out.Action != tt.action {
				t.Errorf("%v %q, want %v", out.Action, out.Reply, tt.action)
			}
			if len(w.records) != 1 || w.records[0].Error != "it broke" {
				t.Errorf("records %v", w.records)
			}
		})
	}
}

func TestManyResultsStandInSeveralFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules = nil
	m := from(outside)
	for range 7 {
		m = m.with("DKIM-Signature: v=1; d=")
	}
	out, _ := w.run(w.pipeline(), m)
	if len(out.Add) != 2 || strings.Count(out.Add[0].Value, "dkim=permerror") != 5 || strings.Count(out.Add[1].Value, "dkim=permerror") != 2 {
		t.Errorf("added %q", out.Add)
	}
}

func TestPanicIsAFaultOfOneMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.pipeline()
	p.Signer = nil // the first step that needs it panics
	out, e := w.run(p, from(inside))
	if out.Action != policy.TempFail || !strings.Contains(e.Error, "panic at end of header") {
		t.Errorf("%v: %s", out.Action, text(e))
	}
	if !strings.Contains(w.log.String(), "panic while handling a message") {
		t.Errorf("log: %s", w.log)
	}
}

func TestAbortLeavesARecordOnceDataHasBegun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.pipeline()
	env := from(outside).env
	p.Begin(&env).Abort("no data yet")
	if len(w.records) != 0 {
		t.Errorf("a record without data: %s", text(w.records[0]))
	}
	msg := begin(p, from(outside))
	msg.EndOfHeader(t.Context())
	msg.Abort("the MTA left")
	msg.Abort("again")
	if len(w.records) != 1 || w.records[0].Mode != "aborted" || w.records[0].Reason != "the MTA left" {
		t.Errorf("records %v", w.records)
	}
	msg = begin(p, from(outside))
	msg.EndOfHeader(t.Context())
	msg.Finish(t.Context())
	msg.Abort("after the end")
	if len(w.records) != 2 {
		t.Errorf("%d records", len(w.records))
	}
}

func TestQuarantineThatIsNotOfferedDefers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules["example.org.toml"] = "mode = \"enforce\"\n[[rule]]\nname = \"hold\"\naction = \"quarantine\""
	p := w.pipeline()
	m := from(outside)
	if out, _ := w.run(p, m); out.Action != policy.Quarantine || out.Quarantine == "" || len(out.Add) == 0 {
		t.Errorf("offered: %+v", out)
	}
	m.env.CannotQuarantine = true
	if out, e := w.run(p, m); out.Action != policy.TempFail || !strings.HasPrefix(out.Reply.String(), "451 ") || e.Verdict != "tempfail" || len(out.Add) != 0 {
		t.Errorf("not offered: %+v", out)
	}
}

// Where forged results stay, a reader would believe them.
func TestForgedResultsThatStayDefer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules = nil
	p := w.pipeline()
	const claim = "Authentication-Results: mx.example.net; dkim=pass header.d=example.org"
	for name, tt := range map[string]struct {
		field, client string
		action        policy.Action
		cannot, keep  bool
		removed       int
	}{
		"removed":            {field: claim, client: outside, action: policy.Accept, removed: 1},
		"stays":              {field: claim, client: outside, cannot: true, action: policy.TempFail},
		"stays in ours":      {field: claim, client: inside, cannot: true, action: policy.TempFail},
		"stays in trusted":   {field: claim, client: relay, cannot: true, action: policy.TempFail},
		"may stay":           {field: claim, client: outside, cannot: true, keep: true, action: policy.Accept},
		"of another host":    {field: "Authentication-Results: mx.example.com; dkim=pass", client: outside, cannot: true, action: policy.Accept},
		"no results at all":  {field: "X-Other: mx.example.net; dkim=pass", client: outside, cannot: true, action: policy.Accept},
		"in the name's case": {field: strings.Replace(claim, "mx", "MX", 1), client: outside, cannot: true, action: policy.TempFail},
	} {
		p.KeepForged = tt.keep
		m := from(tt.client).with(tt.field)
		m.env.CannotRemove = tt.cannot
		out, e := w.run(p, m)
		if out.Action != tt.action || e.Verdict != tt.action.String() || len(out.RemoveAuthRes) != tt.removed || e.Stripped != tt.removed {
			t.Errorf("%s: %v %q, removed %v, recorded %s", name, out.Action, out.Reply, out.RemoveAuthRes, text(e))
		}
		if tt.action == policy.TempFail && (len(out.Add) != 0 || !strings.HasPrefix(out.Reply.String(), "451 4.7.5 ")) {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

// A rule that rejects is not weakened to a deferral.
func TestForgedResultsThatStayDoNotSoftenARejection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := from(outside).with("Authentication-Results: mx.example.net; dkim=pass")
	m.env.CannotRemove = true
	if out, _ := w.run(w.pipeline(), m); out.Action != policy.Reject || out.Reply.String() != "550 5.7.20 unsigned" {
		t.Errorf("%v %q", out.Action, out.Reply)
	}
}

func TestCancelledMessageDefers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.pipeline()
	m := w.signed(p)
	block := make(chan struct{})
	defer close(block)
	w.lookup = func(string) (resolver.Answer, error) { <-block; return resolver.Answer{}, resolver.ErrTemporary }
	for cause, mode := range map[error]string{errors.New("too slow"): "verify", pipeline.GoneError{Cause: errors.New("it quit")}: "aborted"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		msg := begin(p, m)
		msg.EndOfHeader(ctx)
		msg.Body([]byte(m.body))
		cancel(cause)
		if out := msg.Finish(ctx); out.Action != policy.TempFail {
			t.Errorf("%v %q", out.Action, out.Reply)
		}
		if e := w.records[len(w.records)-1]; e.Mode != mode {
			t.Errorf("%v: mode %q: %s", cause, e.Mode, e.Reason)
		}
	}
}

// An MTA that leaves while its message is being signed is no fault of ours.
func TestMTAThatLeavesIsNoFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := from(inside)
	for cause, fault := range map[error]bool{errors.New("too slow"): true, pipeline.GoneError{Cause: errors.New("it quit")}: false} {
		ctx, cancel := context.WithCancelCause(t.Context())
		msg := begin(w.pipeline(), m)
		msg.EndOfHeader(ctx)
		msg.Body([]byte(m.body))
		cancel(cause)
		msg.Finish(ctx)
		if e := w.records[len(w.records)-1]; (e.Error != "") != fault {
			t.Errorf("%v: mode %q, error %q", cause, e.Mode, e.Error)
		}
	}
}

// What a name in From shows is in the record where a rule asks, and only there.
func TestMisleadingNameIsRecorded(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]bool{"": false, "[[rule]]\nfrom = \"misleading\"\naction = \"tag\"\ntag = \"X-Name: misleading\"": true} {
		w := newWorld(t)
		w.rules = map[string]string{"_default.toml": "mode = \"enforce\"\n" + rule}
		m := from(outside)
		m.head = []string{`From: "boss@gmail.com" <x@evil.example>`}
		out, e := w.run(w.pipeline(), m)
		if slices.Contains(e.Warnings, "a name in From shows gmail.com") != want || slices.ContainsFunc(out.Add, func(a pipeline.Addition) bool { return a.Name == "X-Name" }) != want {
			t.Errorf("%q: warnings %q, adds %+v", rule, e.Warnings, out.Add)
		}
	}
}
