package main

import (
	"runtime/debug"
	"testing"
)

// A build without a version still says what it was made of.
func TestBuiltFrom(t *testing.T) {
	t.Parallel()
	const revision = "0123456789abcdef0123456789abcdef01234567"
	for name, test := range map[string]struct {
		info debug.BuildInfo
		want string
	}{
		"go install":    {debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3"},
		"a checkout":    {debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: revision}}}, "development-0123456789ab"},
		"with changes":  {debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: "true"}}}, "development-0123456789ab-dirty"},
		"no repository": {debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "development"},
		"no long hash":  {debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}}, "development-abc"},
	} {
		if got := builtFrom(&test.info); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
