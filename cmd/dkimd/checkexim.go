package main

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// eximWarnings looks at the Exim of this host, where there is one: without
// content scanning it shows dkimd no more of a body than message_body_visible.
func eximWarnings(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, program := range []string{"exim4", "exim", "/usr/sbin/exim4", "/usr/sbin/exim"} {
		path, err := exec.LookPath(program)
		if err != nil {
			continue
		}
		ask := func(args ...string) string {
			out, _ := exec.CommandContext(ctx, path, args...).Output() //nolint:gosec // one of the names above
			return string(out)
		}
		if strings.Contains(ask("-bV"), "Content_Scanning") {
			return nil
		}
		return bodyWarnings(ask("-bP", "message_body_visible", "message_size_limit", "message_body_newlines"))
	}
	return nil
}

// bodyWarnings reads what exim -bP says.
func bodyWarnings(options string) (warnings []string) {
	values := map[string]string{}
	for line := range strings.Lines(options) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		values[name] = value
	}
	visible, limit := eximSize(values["message_body_visible"]), eximSize(values["message_size_limit"])
	if visible >= 0 && limit >= 0 && visible < limit {
		warnings = append(warnings, "Exim: message_body_visible = "+values["message_body_visible"]+" is lower than message_size_limit = "+
			values["message_size_limit"]+": longer messages cannot be verified; raise DKIMD_BODY_VISIBLE, see docs/exim.md")
	}
	if _, off := values["no_message_body_newlines"]; off {
		warnings = append(warnings, "Exim: message_body_newlines is not set: no message can be verified; include dkimd/main, see docs/exim.md")
	}
	return warnings
}

// eximSize reads a number of Exim's with its K, M or G; -1: not a number, or expanded per message.
func eximSize(s string) int64 {
	factor := int64(1)
	for suffix, f := range map[string]int64{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30} {
		if rest, found := strings.CutSuffix(strings.ToUpper(s), suffix); found {
			s, factor = rest, f
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return -1
	}
	return n * factor
}
