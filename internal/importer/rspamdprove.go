package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// writeOld writes a configuration of rspamd for a proof: one process that only signs.
func (r *rspamd) writeOld(dir, socket string) ([]string, error) {
	settings, err := r.inRoot(dir)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "options { pidfile = %q; filters = \"dkim\"; control_socket = %q; url_tld = \"/usr/share/rspamd/effective_tld_names.dat\";\n",
		filepath.Join(dir, "rspamd.pid"), filepath.Join(dir, "control")+" mode=0600")
	fmt.Fprintf(&b, "  dns { nameserver = [\"127.0.0.1:1\"]; timeout = 0.1s; retransmits = 1; }\n  local_addrs = [%s];\n}\n", quoted(r.localAddresses()))
	fmt.Fprintf(&b, "logging { type = \"file\"; filename = %q; level = \"warning\"; }\n", filepath.Join(dir, "rspamd.log"))
	fmt.Fprintf(&b, "worker \"rspamd_proxy\" { bind_socket = %q; milter = yes; timeout = 60s; count = 1; upstream \"local\" { default = yes; self_scan = yes; } }\n",
		socket+" mode=0600")
	// What rspamd makes of these two before it reads them, with its whole configuration only.
	if r.signHeaders != "" {
		fmt.Fprintf(&b, "dkim { sign_headers = %q; }\n", r.signHeaders)
	}
	settings.set("check_pubkey", &ucl{text: "false"}) // there is no DNS, and dkimd does not ask before it signs
	if u := settings.get("auth_only"); u != nil {
		settings.set("sign_authenticated", u)
	}
	b.WriteString("modules { path = \"/usr/share/rspamd/plugins/dkim_signing.lua\"; }\ndkim_signing ")
	emit(&b, settings)
	path := filepath.Join(dir, "rspamd.conf")
	return []string{"-f", "-i", "-c", path}, os.WriteFile(path, []byte(b.String()), 0o600)
}

// pathBegins is the / at the beginning of a path in a setting of rspamd or a line of its maps.
var pathBegins = regexp.MustCompile(`(?m)(^|[\s:;])/`)

// inRoot are the settings with the paths in them as the system has them, also those in maps, of which it writes copies to dir.
func (r *rspamd) inRoot(dir string) (*ucl, error) {
	if r.root == "" || r.root == "/" {
		return r.settings, nil
	}
	rooted := func(text string) string {
		return pathBegins.ReplaceAllString(strings.ReplaceAll(text, "file:///", "/"), "${1}"+r.root.path("/")+"/")
	}
	for _, name := range []string{"key_table", "path_map"} {
		u := r.settings.get(name)
		if u == nil || u.kind != uclText {
			continue
		}
		content, err := os.ReadFile(rooted(u.text[strings.IndexByte(u.text, ';')+1:])) // without glob;
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(rooted(string(content))), 0o600); err != nil {
			return nil, err
		}
	}
	var walk func(name string, u *ucl) *ucl
	walk = func(name string, u *ucl) *ucl {
		c := &ucl{Place: u.Place, kind: u.kind, text: rooted(u.text)}
		if u.kind == uclText && (name == "key_table" || name == "path_map") {
			c.text = u.text[:strings.IndexByte(u.text, ';')+1] + filepath.Join(dir, name)
		}
		for _, item := range u.list {
			c.list = append(c.list, walk("", item))
		}
		for _, k := range u.object {
			c.object = append(c.object, uclKey{k.name, walk(k.name, k.value)})
		}
		return c
	}
	return walk("", r.settings), nil
}

func quoted(list []string) string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = strconv.Quote(s)
	}
	return strings.Join(all, ", ")
}

// emit writes a value as UCL.
func emit(b *strings.Builder, u *ucl) {
	switch u.kind {
	case uclObject:
		b.WriteString("{\n")
		for _, k := range u.object {
			b.WriteString(strconv.Quote(k.name) + " = ")
			emit(b, k.value)
			b.WriteString(";\n")
		}
		b.WriteString("}")
	case uclList:
		b.WriteString("[")
		for _, item := range u.list {
			emit(b, item)
			b.WriteString(", ")
		}
		b.WriteString("]")
	case uclText:
		if slices.Contains([]string{"true", "false", "yes", "no", "on", "off"}, strings.ToLower(u.text)) {
			b.WriteString(u.text)
			return
		}
		b.WriteString(strconv.Quote(u.text))
	}
}
