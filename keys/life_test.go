package keys_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dkimd/keys"
)

// What is written is read again; nothing is left of it where it cannot be written.
func TestLifeIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem.old", rfc8463PEM)
	w.write("example.org/s2.pem", rfc8463PEM)
	d, err := keys.Find(keys.Config{Directory: w.dir}, "example.org")
	w.check(err)
	at := time.Date(2026, 11, 30, 12, 0, 0, 5e6, time.UTC)
	want := keys.Life{
		Stage: keys.StageRetiring, Since: at, Rotating: true, Type: keys.Ed25519, Bits: 2048, Record: "v=DKIM1; p=\"\\", Before: "b",
		Replaces: []string{"a", "b"}, Then: []string{"rsa"}, Asked: at, Reminded: at, TTL: time.Hour, Hold: time.Minute, Waited: 36 * time.Hour,
		Looked: keys.Moment{Wall: at, Boot: "x", Up: 12345 * time.Millisecond}, Signed: at, Trouble: "ns\x1b1",
	}
	w.check(d.SaveLife("s1", want))
	held, faults := d.Held()
	want.Trouble = `ns\x1b1`
	if len(held) != 2 || faults != nil || cmp.Diff(want, held[0].Life) != "" || held[0].Place != keys.Retired || !held[0].Recorded {
		t.Errorf("%v %+v %s", faults, held, cmp.Diff(want, held[0].Life))
	}
	if k := held[1]; k.Life.Stage != keys.StageActive || k.Recorded || k.Place != keys.Signing || k.Life.Since.IsZero() {
		t.Errorf("a key without a state file: %+v", k)
	}
	w.check(os.MkdirAll(w.path("example.org/.s1.toml.part/x"), 0o700))
	if err := d.SaveLife("s1", keys.Life{Stage: keys.StageActive}); err == nil {
		t.Error("no error where it cannot be written")
	}
	if again, _ := d.Held(); again[0].Life.Stage != keys.StageRetiring {
		t.Errorf("half a state: %+v", again[0])
	}
	if err := d.SaveLife("domain", keys.Life{}); err == nil {
		t.Error("the state file of selector domain would be domain.toml")
	}
	if _, faults := w.open(); len(faults) > 0 {
		t.Errorf("faults of a directory with state files: %v", faults)
	}
}

// A state file that somebody broke is a fault with its line; the others and the keys go on.
func TestBrokenLife(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"state = \"asleep\"":                    `s1.toml:1: state: got "asleep"`,
		"state = \"made\"\nsince = \"noon\"":    `s1.toml:2: since: got "noon"`,
		"state = \"made\"\nwaited = \"-1s\"":    `s1.toml:2: waited: got "-1s"`,
		"state = \"made\"\nreplaces = 7":        `s1.toml:2: replaces: got 7`,
		"since = \"2026-11-30T12:00:00Z\"":      `s1.toml:`,
		"\x00\x01":                              `s1.toml:`,
		"state = \"made\"\nanother = \"thing\"": `s1.toml:2: another`,
	} {
		w := newWorld(t)
		w.write("example.org/s1.toml", text)
		w.write("example.org/s1.pem", rfc8463PEM)
		w.write("example.org/s2.pem", rfc8463PEM)
		d, err := keys.Find(keys.Config{Directory: w.dir}, "example.org")
		w.check(err)
		held, faults := d.Held()
		if len(held) != 1 || len(faults) == 0 || !strings.Contains(faults.Error(), want) {
			t.Errorf("%q: %v, %+v", text, faults, held)
		}
		if len(d.Keys) != 2 {
			t.Errorf("%q: %d keys sign", text, len(d.Keys))
		}
	}
}

func TestMoment(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	before := keys.Moment{Wall: at, Boot: "one", Up: time.Hour}
	for name, test := range map[string]struct {
		now  keys.Moment
		want time.Duration
	}{
		"the same boot":               {keys.Moment{Wall: at.Add(time.Minute), Boot: "one", Up: time.Hour + time.Minute}, time.Minute},
		"the clock was set forward":   {keys.Moment{Wall: at.Add(9000 * time.Hour), Boot: "one", Up: time.Hour + time.Minute}, time.Minute},
		"the clock was set back":      {keys.Moment{Wall: at.Add(-9000 * time.Hour), Boot: "one", Up: time.Hour + time.Minute}, time.Minute},
		"another boot":                {keys.Moment{Wall: at.Add(9000 * time.Hour), Boot: "two", Up: 5 * time.Second}, 5 * time.Second},
		"nobody knows of boots":       {keys.Moment{Wall: at.Add(time.Minute)}, time.Minute},
		"nor how the clock went back": {keys.Moment{Wall: at.Add(-time.Minute)}, 0},
	} {
		if got := test.now.Since(before); got != test.want {
			t.Errorf("%s: got %v; want %v", name, got, test.want)
		}
	}
	if now := keys.Now(); now.Boot == "" || now.Since(before) != now.Up {
		t.Errorf("this moment: %+v", now)
	}
}
