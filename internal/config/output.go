package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"dkimd/internal/events/output"
	"dkimd/internal/fault"
	"dkimd/internal/tomlfile"
)

// readOutputs reads where the log stream goes.
func readOutputs(t *tomlfile.Table, key string, def []string) []string {
	var outputs []string
	names := t.Strings(key, def)
	for i, s := range names {
		parsed, err := output.Parse(s)
		f, failed := errors.AsType[fault.Fault](err)
		if parsed.IsFile() {
			f.Want, f.Hint = checkLogFile(s)
			failed = f.Want != ""
		}
		name := parsed.String()
		switch {
		case failed:
			t.FaultItem(key, i, f.Want, f.Hint)
		case slices.Contains(outputs, name):
			t.FaultItem(key, i, "each output once", "remove one of the two")
		default:
			outputs = append(outputs, name)
		}
	}
	if len(names) == 0 && t.Has(key) {
		t.Fault(key, "at least one output", `write "stdout"`)
	}
	if len(outputs) == 0 {
		return def
	}
	return outputs
}

// checkLogFile says what is wrong with the path of a file that dkimd may create.
func checkLogFile(path string) (want, hint string) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return "a file", "this path is a directory; name a file in it"
	}
	dir := filepath.Dir(path)
	switch info, err := os.Stat(dir); {
	case err != nil:
		return "a file in a directory that exists", dir + ": " + reason(err) + "; create it, owned by dkimd's user"
	case !info.IsDir():
		return "a file in a directory", dir + " is not one"
	}
	return "", ""
}
