//go:build integration

package integration_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"

	"dkimd/internal/dkim"
	"dkimd/internal/publish"
)

// change changes a record as somebody else would.
func (r *rotating) change(t *testing.T, server, selector, text string) {
	t.Helper()
	u := publish.Update{Server: server + ":53", Key: "dkimd", Algorithm: "hmac-sha256", Secret: harness.TSIGSecret}
	name := dkim.RecordName(selector, rotated)
	if err := u.Apply(t.Context(), publish.Change{Name: name, Zone: rotated, Old: txt(t, server, name), New: text, TTL: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
}

// small moves the keys to a file system of its own, and returns how to fill it and to make room again.
func (r *rotating) small(t *testing.T) (fill, free func()) {
	t.Helper()
	dir := r.path("keys")
	harness.Run(t, nil, "mv", dir, dir+".disk")
	harness.Run(t, nil, "mkdir", dir)
	harness.Run(t, nil, "mount", "-t", "tmpfs", "-o", "size=256k,mode=0750", "dkimd-test", dir)
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", dir).Run() })
	harness.Run(t, nil, "cp", "-a", dir+".disk/.", dir)
	ballast := filepath.Join(dir, "ballast")
	return func() {
			if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("the disk is not full: %v", err)
			}
		}, func() {
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
		}
}

// parts are files that were begun and not finished.
func (r *rotating) parts(t *testing.T) (found []string) {
	t.Helper()
	for _, pattern := range []string{"*.part*", ".*"} {
		names, _ := filepath.Glob(filepath.Join(r.path("keys"), rotated, pattern))
		found = append(found, names...)
	}
	empty, _ := filepath.Glob(filepath.Join(r.path("keys"), rotated, "*"))
	for _, name := range empty {
		if info, err := os.Stat(name); err == nil && info.Size() == 0 {
			found = append(found, name)
		}
	}
	return found
}

const (
	nextKey    = "s2-ed25519"
	foreignKey = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)

// What goes wrong is told, nobody's record is overwritten, mail is signed all the time, and once it is mended the rotation goes on.
// dkimd's own cache keeps records for 30 seconds: nothing here waits for that.
func TestRotationThroughFaults(t *testing.T) {
	t.Parallel()
	type trial struct {
		lost bool // a record is taken from a key whose mail is under way: that cannot verify
		run  func(t *testing.T, r *rotating, server string)
	}
	const disk = "the disk is full"
	trials := map[string]trial{
		"updates are refused for a while, at both ends": {false, func(t *testing.T, r *rotating, server string) {
			t.Helper()
			secret := func(text string) { // a daemon that starts looks at once, else after a minute
				r.Kill(t)
				r.secret(t, text)
				r.Start(t)
			}
			const wrong = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg=="
			secret(wrong)
			r.begin(t)
			r.awaitTrouble(t, "publish by update", "NOTAUTH")
			secret(harness.TSIGSecret)
			r.await(t, "s1-ed25519 retiring, s2-ed25519 active")
			secret(wrong)
			r.awaitTrouble(t, "replace by update", "NOTAUTH")
			secret(harness.TSIGSecret)
			harness.Eventually(t, 2*harness.WaitLimit, "the old key is revoked", func() bool { return revoked(t, server, "s1-ed25519") })
		}},
		"somebody else has the name": {false, func(t *testing.T, r *rotating, server string) {
			t.Helper()
			r.change(t, server, nextKey, foreignKey)
			r.begin(t)
			r.awaitTrouble(t, "DNS has another record at its name")
			if got := txt(t, server, nextKey+"._domainkey."+rotated); got != foreignKey {
				t.Errorf("it was overwritten: %q", got)
			}
			r.change(t, server, nextKey, "")
			r.Kill(t) // else it looks again later
			r.Start(t)
			harness.Eventually(t, harness.WaitLimit, "its own record is there", func() bool {
				got := txt(t, server, nextKey+"._domainkey."+rotated)
				return got != "" && got != foreignKey
			})
		}},
		"somebody changes the record of the new key": {false, func(t *testing.T, r *rotating, server string) {
			t.Helper()
			r.begin(t)
			r.change(t, server, nextKey, foreignKey)
			r.awaitTrouble(t, "DNS has another record at its name")
			if stages, _ := r.keys(t); stages != "s1-ed25519 active, s2-ed25519 made" {
				t.Errorf("keys: %s", stages)
			}
			if got := txt(t, server, nextKey+"._domainkey."+rotated); got != foreignKey {
				t.Errorf("it was overwritten: %q", got)
			}
		}},
		"the record of the only key goes, and a rotation leads out of it": {true, func(t *testing.T, r *rotating, server string) {
			t.Helper()
			r.change(t, server, "s1-ed25519", "")
			harness.Eventually(t, harness.WaitLimit, "key check tells", func() bool {
				out, _, err := harness.TryRun(t, nil, harness.Binary(t), "key", "check", rotated, "--config", r.ConfigFile())
				return err != nil && strings.Contains(string(out), "absent")
			})
			r.begin(t)
			r.await(t, "s1-ed25519 retiring, s2-ed25519 active")
			if got := txt(t, server, "s1-ed25519._domainkey."+rotated); got != "" {
				t.Errorf("a record that went is there again: %q", got)
			}
		}},
		"the record of a retiring key goes": {true, func(t *testing.T, r *rotating, server string) {
			t.Helper()
			r.begin(t)
			r.await(t, "s1-ed25519 retiring, s2-ed25519 active")
			r.change(t, server, "s1-ed25519", "")
			harness.Eventually(t, 2*harness.WaitLimit, "the log tells that it went, not that dkimd revoked it", func() bool {
				return harness.HasLine(r.Daemon.Log.String(), "key moved on", "selector=s1-ed25519", "state=withdrawn", "its record is withdrawn")
			})
			if got := txt(t, server, "s1-ed25519._domainkey."+rotated); got != "" {
				t.Errorf("a record that went is there again: %q", got)
			}
		}},
		disk: {false, func(t *testing.T, r *rotating, server string) {
			t.Helper()
			fill, free := r.small(t)
			fill()
			_, said, err := harness.TryRun(t, nil, harness.Binary(t), "key", "rotate", rotated, "--config", r.ConfigFile())
			if err == nil || !strings.Contains(said, "no space left on device") {
				t.Errorf("key rotate: %v, %s", err, said)
			}
			if stages, _ := r.keys(t); stages != "s1-ed25519 active" || r.parts(t) != nil {
				t.Errorf("keys: %s; left: %q", stages, r.parts(t))
			}
			free()
			r.begin(t)
			fill()
			harness.Eventually(t, harness.WaitLimit, "the log tells", func() bool {
				return harness.HasLine(r.Daemon.Log.String(), "could not rotate keys", "no space left on device")
			})
			r.Daemon.Signal(syscall.SIGHUP)
			if parts := r.parts(t); parts != nil {
				t.Errorf("left: %q", parts)
			}
			free()
			r.Kill(t) // else it looks again after a minute
			r.Start(t)
			harness.Eventually(t, 2*harness.WaitLimit, "the old key is revoked", func() bool { return revoked(t, server, "s1-ed25519") })
		}},
	}
	type place struct {
		trial
		start startServer
	}
	places := map[string]place{}
	for name, test := range trials {
		places[name+", BIND"] = place{test, harness.StartBIND}
		if name != disk { // which is that of dkimd
			places[name+", Knot"] = place{test, harness.StartKnot}
		}
	}
	atOnce(t, places, func(t *testing.T, _ string, test place) {
		t.Helper()
		in := harness.NewInternet(t)
		r, records := newRotating(t, in, "s1-ed25519")
		server := in.Address()
		in.Delegate(rotated, server)
		test.start(t, harness.Zone{Name: rotated, Address: server, Records: zoneText(rotated, []string{server}, records)})
		r.serve(t, `selector = ["s1", "s2"]`, r.update(t))
		tr := newTraffic(t, r.path("milter"), server)
		ctx, stop := context.WithCancel(t.Context())
		var flowing sync.WaitGroup
		flowing.Go(func() { tr.flow(ctx) })
		t.Cleanup(func() { stop(); flowing.Wait() })
		test.run(t, r, server)
		stop()
		flowing.Wait()
		for _, fault := range tr.faults {
			if !test.lost || strings.Contains(fault, "no signature") || strings.Contains(fault, "dkimd answers") {
				t.Errorf("%d messages: %s", tr.sent, fault)
			}
		}
		if tr.sent == 0 {
			t.Error("no message was sent")
		}
	})
}

// A zone file is written whole or not at all.
func TestZoneFileOnAFullDisk(t *testing.T) {
	t.Parallel()
	r := &rotating{World: &harness.World{Dir: t.TempDir()}}
	harness.Run(t, nil, "mkdir", r.path("keys"))
	fill, free := r.small(t)
	file := r.path("keys/zone")
	apply := func(selector string) error {
		return publish.ZoneFile{Path: file}.Apply(t.Context(), publish.Change{Name: selector + "._domainkey." + rotated, Zone: rotated, New: foreignKey, TTL: time.Second})
	}
	if err := apply("s1"); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(file)
	fill()
	if err := apply("s2"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	after, _ := os.ReadFile(file)
	if names, _ := filepath.Glob(r.path("keys/.*")); string(before) != string(after) || names != nil {
		t.Errorf("%q; left: %q", after, names)
	}
	free()
	if err := apply("s2"); err != nil {
		t.Error(err)
	}
}
