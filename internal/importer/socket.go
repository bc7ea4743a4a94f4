package importer

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/safetext"
)

// besideOpenDKIM is where dkimd listens where nothing better is known: both run side by side, and the mail server changes
// over with one setting.
const besideOpenDKIM = "inet:127.0.0.1:8892"

// postfixDirectory is where docs/postfix.md has the socket of Postfix, which is in a chroot.
const postfixDirectory = "/var/spool/postfix/dkimd"

// socket finds an address beside OpenDKIM's own, which is in use as long as it runs.
func (o *opendkim) socket(s setting) {
	listen := besideOpenDKIM
	kind, rest, found := strings.Cut(s.value, ":")
	switch {
	case found && (kind == "inet" || kind == "inet6"):
		port, host, named := strings.Cut(rest, "@")
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n >= 65535 {
			o.plan.config.set("milter", "listen", []string{listen}, "")
			o.missed(s, "want inet:PORT@HOST; dkimd listens at "+listen)
			return
		}
		host = strings.Trim(host, "[]")
		switch {
		case host == "localhost" || host == "localhost.localdomain":
			host = map[string]string{"inet": "127.0.0.1", "inet6": "::1"}[kind]
		case !named:
			host = map[string]string{"inet": "0.0.0.0", "inet6": "::"}[kind]
		}
		_, noAddress := netip.ParseAddr(host)
		_, noHost := domain.ParseHost(host)
		if noAddress != nil && noHost != nil {
			o.plan.config.set("milter", "listen", []string{listen}, "")
			o.missed(s, "there is no host "+safetext.Quote(host)+": OpenDKIM does not start with it; dkimd listens at "+listen)
			return
		}
		if strings.Contains(host, ":") {
			kind, host = "inet6", "["+host+"]"
		}
		listen = fmt.Sprintf("%s:%s:%d", kind, host, n+1)
	default:
		if info, err := os.Stat(postfixDirectory); err == nil && info.IsDir() {
			listen = "unix:" + postfixDirectory + "/milter.sock"
		}
	}
	o.plan.config.set("milter", "listen", []string{listen}, "beside OpenDKIM, which keeps "+s.value+" while it runs")
	o.near(s, "dkimd listens at "+listen+", so that both can run: give this to the mail server to change over")
}

func (o *opendkim) umask(s setting) {
	mask, _ := strconv.ParseUint(s.value, 0, 32)
	mode := 0o666 &^ mask
	if mode&0o222 == 0 {
		o.near(s, "nobody could connect: socket_mode is left as it is")
		return
	}
	o.plan.config.set("milter", "socket_mode", fmt.Sprintf("%04o", mode), why(s))
	o.same(s, "[milter] socket_mode")
}
