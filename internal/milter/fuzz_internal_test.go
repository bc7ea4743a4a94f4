package milter

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzSession feeds any bytes to a session: it ends, soon after its input does,
// and every message that began has ended once.
func FuzzSession(f *testing.F) {
	dialogue := slices.Concat(
		frame('D', "Cj\x00mx\x00"), frame('C', "a\x004\x00\x19192.0.2.1\x00"), frame('H', "helo\x00"),
		frame('D', "Mi\x00Q1\x00"), frame('M', "<a@example.com>\x00SIZE=1\x00"), frame('R', "<b@example.net>\x00"),
		frame('T', ""), frame('L', "From\x00 a@example.com\x00"), frame('N', ""), frame('B', "body"), frame('E', "last"))
	for _, protocol := range []uint32{0, everything} {
		f.Add(protocol, dialogue)
		f.Add(protocol, slices.Concat(dialogue, frame('A', ""), dialogue, frame('K', ""), dialogue, frame('Q', "")))
		f.Add(protocol, slices.Concat(dialogue[:len(dialogue)-9], dialogue))
		f.Add(protocol, append(frame('M', "<>\x00"), 0, 0x0f, 0xff, 0xff, 'L'))
		f.Add(protocol, slices.Concat(frame('U', "x\x00"), frame('L', "\x00\x00"), frame('D', "M\x00\x00i\x00"), frame('C', "")))
	}
	f.Fuzz(func(t *testing.T, protocol uint32, input []byte) {
		p := newPipes(t)
		conn := p.dial()
		go func() {
			_, _ = conn.Write(offerFrame(protocol))
			for chunk := range slices.Chunk(input, 1+int(protocol>>24)) {
				if _, err := conn.Write(chunk); err != nil {
					break
				}
			}
			if c, ok := conn.(interface{ CloseWrite() error }); ok {
				_ = c.CloseWrite()
			} else {
				_ = conn.Close()
			}
		}()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		ended := make(chan struct{})
		go func() { p.open.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("the session does not end")
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if len(p.ends) != p.begun || strings.Contains(strings.Join(p.ends, ";"), "TWICE") {
			t.Errorf("%d messages began, they ended with %q", p.begun, p.ends)
		}
		if strings.Contains(p.logs.String(), "panic") {
			t.Error(p.logs.String())
		}
	})
}
