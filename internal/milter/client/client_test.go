package client_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dkimd/internal/milter/client"
)

// filter is a milter that says what a test wants, whatever it hears.
func filter(t *testing.T, says ...[]byte) (*client.Session, error) {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { _ = here.Close(); _ = there.Close() })
	go func() { _, _ = io.Copy(io.Discard, there) }()
	go func() {
		for _, s := range says {
			_, _ = there.Write(s)
		}
	}()
	return client.New(here, client.Options{Timeout: 5 * time.Second})
}

func packet(code byte, payload string) []byte {
	p := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)))
	return append(append(p, code), payload...)
}

func agreement(version, actions, protocol uint32, symbols string) []byte {
	p := binary.BigEndian.AppendUint32(nil, version)
	p = binary.BigEndian.AppendUint32(p, actions)
	p = binary.BigEndian.AppendUint32(p, protocol)
	return packet('O', string(p)+symbols)
}

// TestNegotiationIsChecked as MTAs check it: they drop a filter that asks for
// more than was offered.
func TestNegotiationIsChecked(t *testing.T) {
	t.Parallel()
	old := client.Options{Version: 2, Actions: client.OldActions, Protocol: client.OldProtocol}
	tests := map[string]struct {
		o      client.Options
		answer []byte
		ok     bool
	}{
		"as offered":           {old, agreement(2, client.OldActions, client.OldProtocol, ""), true},
		"less":                 {old, agreement(2, 1, 0, ""), true},
		"a newer version":      {old, agreement(6, 1, 0, ""), false},
		"an action too many":   {old, agreement(2, client.ActionQuarantine, 0, ""), false},
		"a flag too many":      {old, agreement(2, 1, client.LeadingSpace, ""), false},
		"too short":            {old, packet('O', "\x00\x00\x00\x02"), false},
		"something else":       {old, packet('c', ""), false},
		"macros":               {client.Options{}, agreement(6, client.AllActions, 0, "\x00\x00\x00\x02i\x00"), true},
		"macros, not agreed":   {client.Options{}, agreement(6, 1, 0, "\x00\x00\x00\x02i\x00"), false},
		"macros without end":   {client.Options{}, agreement(6, client.AllActions, 0, "\x00\x00\x00\x02i"), false},
		"macros of two bytes":  {client.Options{}, agreement(6, client.AllActions, 0, "\x00\x00"), false},
		"a packet of 0 bytes":  {old, []byte{0, 0, 0, 0, 0}, false},
		"a packet of 1 GiB":    {old, []byte{0x40, 0, 0, 0, 'O'}, false},
		"a connection's end":   {old, []byte{0, 0}, false},
		"a version of nothing": {old, agreement(0, 0, 0, ""), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.o.Timeout = 50 * time.Millisecond
			here, there := net.Pipe()
			defer func() { _ = here.Close() }()
			go func() { _, _ = io.Copy(io.Discard, there) }()
			go func() { _, _ = there.Write(tt.answer); _ = there.Close() }()
			if _, err := client.New(here, tt.o); (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestAnswersOutOfStep is what makes the client an instrument: it sees what an
// MTA would silently take for the answer to something else.
func TestAnswersOutOfStep(t *testing.T) {
	t.Parallel()
	all := agreement(6, client.AllActions, client.AllProtocol, "")
	plain := agreement(6, client.ActionAddHeader, 0, "")
	tests := map[string]struct {
		says []byte
		ok   bool
	}{
		"an answer":                  {slices.Concat(all, packet('c', "")), true},
		"patience asked for":         {slices.Concat(all, packet('p', ""), packet('c', "")), true},
		"two answers":                {slices.Concat(all, packet('c', ""), packet('c', "")), false},
		"an answer with data":        {slices.Concat(all, packet('c', "x")), false},
		"no answer at all":           {slices.Concat(all, packet('L', "")), false},
		"a reply":                    {slices.Concat(all, packet('y', "550 5.7.1 no\x00")), true},
		"a reply of two classes":     {slices.Concat(all, packet('y', "550 4.7.1 no\x00")), false},
		"a reply of another class":   {slices.Concat(all, packet('y', "250 2.0.0 ok\x00")), false},
		"a reply with a single %":    {slices.Concat(all, packet('y', "550 5.7.1 100% no\x00")), false},
		"a reply of two lines":       {slices.Concat(all, packet('y', "550 5.7.1 a\r\nb\x00")), false},
		"a reply without end":        {slices.Concat(all, packet('y', "550 5.7.1 no")), false},
		"a change, not agreed":       {slices.Concat(plain, packet('m', "\x00\x00\x00\x01A\x00\x00"), packet('c', "")), false},
		"quarantine, not agreed":     {slices.Concat(plain, packet('q', "why\x00"), packet('c', "")), false},
		"an edit without end":        {slices.Concat(all, packet('i', "\x00\x00\x00\x00A\x00b"), packet('c', "")), false},
		"an edit without name":       {slices.Concat(all, packet('h', "\x00b\x00"), packet('c', "")), false},
		"an edit that is too short":  {slices.Concat(all, packet('i', "\x00\x00"), packet('c', "")), false},
		"an edit of the envelope":    {slices.Concat(all, packet('+', "<a@b.c>\x00"), packet('-', "a@b.c\x00"), packet('e', "<>\x00"), packet('b', "text"), packet('c', "")), true},
		"an address without end":     {slices.Concat(all, packet('+', "<a@b.c>"), packet('c', "")), false},
		"a body, not agreed":         {slices.Concat(plain, packet('b', "text"), packet('c', "")), false},
		"enough of the body":         {slices.Concat(all, packet('s', "")), false}, // this is not the body
		"an edit with more after it": {slices.Concat(all, packet('h', "A\x00b\x00c"), packet('c', "")), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasSuffix(name, "not agreed") {
				s, err := filter(t, tt.says)
				if err != nil {
					t.Fatal(err)
				}
				if r, err := s.EndOfMessage(); !errors.Is(err, client.ErrProtocol) {
					t.Errorf("got %v %v", r, err)
				}
				return
			}
			s, err := filter(t, tt.says)
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.EndOfMessage()
			if (err == nil) != tt.ok {
				t.Errorf("got %+v %v", r, err)
			}
			if err != nil && !errors.Is(err, client.ErrProtocol) {
				t.Errorf("not a protocol error: %v", err)
			}
		})
	}
}

// TestUnaskedAnswer: a filter that answers although it said it would not.
func TestUnaskedAnswer(t *testing.T) {
	t.Parallel()
	s, err := filter(t, append(agreement(6, client.AllActions, client.AllProtocol&^client.NoEvents, ""), packet('c', "")...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Helo("a"); !errors.Is(err, client.ErrProtocol) {
		t.Errorf("got %v", err)
	}
	if err := s.Quit(); !errors.Is(err, client.ErrProtocol) {
		t.Errorf("got %v", err)
	}
}

// TestSkip: after SMFIR_SKIP a filter hears no more of the body, if that was agreed.
func TestSkip(t *testing.T) {
	t.Parallel()
	body := make([]byte, 200_000) // several packets; only the first is answered
	for protocol, ok := range map[uint32]bool{client.Skip: true, 0: false} {
		s, err := filter(t, append(agreement(6, client.AllActions, protocol, ""), packet('s', "")...))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := s.Body(body); (err == nil) != ok || ok && r.Action != client.Continue {
			t.Errorf("protocol %#x: got %v %v", protocol, r, err)
		}
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	const raw = "A: 1\r\nB: 1\r\nA: 2\r\n folded\r\nA: 3\r\n\r\nbody\r\n\r\n"
	edit := func(kind client.EditKind, index int, name, value string) client.Edit {
		return client.Edit{Kind: kind, Index: index, Name: name, Value: value}
	}
	tests := map[string]struct {
		edits             []client.Edit
		postfix, sendmail string
	}{
		"nothing":                  {nil, "A: 1\r\nB: 1\r\nA: 2\r\n folded\r\nA: 3\r\n", ""},
		"insert on top":            {[]client.Edit{edit(client.Insert, 0, "X", " 1\n 2")}, "X: 1\r\n 2\r\nA: 1\r\nB: 1\r\nA: 2\r\n folded\r\nA: 3\r\n", ""},
		"insert below":             {[]client.Edit{edit(client.Insert, 1, "X", " 1")}, "A: 1\r\nX: 1\r\nB: 1\r\nA: 2\r\n folded\r\nA: 3\r\n", ""},
		"insert far down":          {[]client.Edit{edit(client.Insert, 99, "X", " 1")}, "A: 1\r\nB: 1\r\nA: 2\r\n folded\r\nA: 3\r\nX: 1\r\n", ""},
		"add":                      {[]client.Edit{edit(client.Add, 0, "X", " 1")}, "A: 1\r\nB: 1\r\nA: 2\r\n folded\r\nA: 3\r\nX: 1\r\n", ""},
		"change":                   {[]client.Edit{edit(client.Change, 2, "a", " x")}, "A: 1\r\nB: 1\r\na: x\r\nA: 3\r\n", ""},
		"change what is not there": {[]client.Edit{edit(client.Change, 1, "X", " x")}, "A: 1\r\nB: 1\r\nA: 2\r\n folded\r\nA: 3\r\nX: x\r\n", ""},
		"remove what is not there": {[]client.Edit{edit(client.Remove, 4, "A", "")}, "A: 1\r\nB: 1\r\nA: 2\r\n folded\r\nA: 3\r\n", ""},
		"remove from the highest index": {
			[]client.Edit{edit(client.Remove, 3, "A", ""), edit(client.Remove, 1, "A", "")}, "B: 1\r\nA: 2\r\n folded\r\n", "",
		},
		"remove from the lowest index": { // here MTAs differ
			[]client.Edit{edit(client.Remove, 1, "A", ""), edit(client.Remove, 2, "A", "")}, "B: 1\r\nA: 2\r\n folded\r\n", "B: 1\r\nA: 3\r\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.sendmail == "" {
				tt.sendmail = tt.postfix
			}
			for mta, want := range map[client.MTA]string{client.Postfix: tt.postfix, client.Sendmail: tt.sendmail} {
				if d := cmp.Diff(want+"\r\nbody\r\n\r\n", string(client.Apply(mta, []byte(raw), tt.edits))); d != "" {
					t.Errorf("MTA %d (-want +got):\n%s", mta, d)
				}
			}
		})
	}
}

// TestHabits compares what is sent with what the real MTAs were seen to send.
func TestHabits(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		o       client.Options
		refuses uint32 // events the filter need not hear of
		want    string
	}{
		"postfix":        {client.Options{}, 0, "ODCDMDRDRDTDLDLDNDBDE AAQ"},
		"sendmail":       {client.Options{MTA: client.Sendmail}, 0, "ODCDDMDRDRTLLNBDE Q"},
		"nothing wanted": {client.Options{}, client.NoEvents, "ODE AAQ"},
		"no body":        {client.Options{MTA: client.Sendmail}, client.NoBody | client.NoData, "ODCDDMDRDRLLNDE Q"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, there := net.Pipe()
			heard := make(chan string, 1)
			go func() {
				codes := ""
				for {
					var head [5]byte
					if _, err := io.ReadFull(there, head[:]); err != nil {
						heard <- codes
						return
					}
					payload := make([]byte, binary.BigEndian.Uint32(head[:])-1)
					_, _ = io.ReadFull(there, payload)
					switch head[4] {
					case 'O':
						go func() {
							_, _ = there.Write(agreement(6, client.AllActions&^client.ActionSetSymList, client.AllProtocol&^client.NoEvents|tt.refuses, ""))
						}()
					case 'E':
						go func() { _, _ = there.Write(packet('c', "")) }()
					case 'H':
						continue
					}
					codes += string(head[4])
					if head[4] == 'E' {
						codes += " "
					}
				}
			}()
			s, err := client.New(here, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Send(t.Context(), client.Mail{
				Sender: "a@example.com", Recipients: []string{"b@example.net", "c@example.net"}, QueueID: "Q1",
				Raw: []byte("From: a@example.com\r\nSubject: x\r\n\r\nbody\r\n"),
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.Quit(); err != nil {
				t.Fatal(err)
			}
			if got := <-heard; got != tt.want {
				t.Errorf("sent %s, want %s", got, tt.want)
			}
		})
	}
}
