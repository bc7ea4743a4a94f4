package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The peers, configured to do what dkimd does and nothing else.
const (
	dkimdConf = `hostname = "` + ownHost + `"
[milter]
listen = ["unix:@DIR@/run/dkimd.sock", "inet:` + tcpAddress + `"]
[sign]
directory = "@DIR@/keys"
networks = ["127.0.0.1"]
[verify]
spf = false
[log]
output = "@DIR@/log/events"
[dns]
servers = ["127.0.0.77"]
`
	openSignConf = `Socket local:@DIR@/run/@NAME@.sock
Mode s
UserID root
Canonicalization relaxed/relaxed
SignatureAlgorithm @ALGORITHM@-sha256
KeyTable csl:@KEYS@
SigningTable csl:@DOMAINS@
InternalHosts 127.0.0.1
Background no
AutoRestart no
RequireSafeKeys no
`
	openVerifyConf = `Socket local:@DIR@/run/odv.sock
Mode v
UserID root
Nameservers 127.0.0.77
Background no
AutoRestart no
AlwaysAddARHeader yes
AuthservID ` + ownHost + `
`
	openDMARCConf = `Socket local:@DIR@/run/odmarc.sock
UserID root
Background false
AuthservID ` + ownHost + `
TrustedAuthservIDs ` + ownHost + `
SPFIgnoreResults true
SPFSelfValidate true
`
	rspamdConf = `options {
  pidfile = "@DIR@/run/rspamd.pid";
  filters = "dkim";
  dns { nameserver = ["127.0.0.77:53:1"]; timeout = 1s; retransmits = 2; }
  local_addrs = [];
  tempdir = "/tmp";
  url_tld = "/usr/share/rspamd/effective_tld_names.dat";
  task_timeout = 10s;
  disable_hyperscan = true;
  hs_cache_dir = "@DIR@/db";
  lua_path = "/usr/share/rspamd/lualib/?.lua";
}
logging { type = "file"; filename = "@DIR@/log/rspamd.log"; level = "notice"; }
metric { name = "default"; actions { reject = 1000; add_header = 900; greylist = 800; } unknown_weight = 0.0; }
worker "rspamd_proxy" {
  bind_socket = "@DIR@/run/rspamd.sock mode=0666";
  milter = yes;
  timeout = 120s;
  upstream "local" { default = yes; self_scan = yes; }
  count = 2;
}
modules { path = "/usr/share/rspamd/plugins/dkim_signing.lua"; path = "/usr/share/rspamd/plugins/milter_headers.lua"; }
lua = "/usr/share/rspamd/rules/rspamd.lua";
dkim { dkim_cache_size = 2K; dkim_cache_expire = 1d; time_jitter = 6h; trusted_only = false; check_local=true; check_authed=true; }
dkim_signing {
  enabled = true; sign_local = true; sign_authenticated = true; allow_hdrfrom_mismatch = true; allow_username_mismatch = true; use_esld = false; use_domain = "header"; selector = "s1"; path = "@DIR@/flat/$domain.pem"; check_pubkey = false; sign_networks=["127.0.0.1"];
}
milter_headers { use = ["authentication-results"]; skip_local = false; skip_authenticated=false; authenticated_headers=["authentication-results"]; local_headers=["authentication-results"]; }
`
	// rspamdPolicies is what SPF and DMARC take more.
	rspamdPolicies = `modules { path = "/usr/share/rspamd/plugins/spf.lua"; path = "/usr/share/rspamd/plugins/dmarc.lua"; }
spf { spf_cache_size = 2K; spf_cache_expire = 1d; }
dmarc { }
`
	tcpAddress    = "127.0.0.77:8891" // dkimd, besides its unix socket
	msgauthModule = "github.com/emersion/go-msgauth/cmd/dkim-milter@v0.7.0"
)

// startPeers starts those that are installed.
func (w *world) startPeers(ctx context.Context) error {
	verifies := []deed{verifyOne, verifyThree}
	domains := make([]string, rsaDomains)
	for i := range domains {
		domains[i] = rsaDomain(i)
	}
	faults := []error{
		w.addOpenSigner(ctx, "ods", "rsa", domains, signRSA),
		w.addOpenSigner(ctx, "ode", "ed25519", []string{edDomain}, signEd25519),
	}
	conf, err := w.configure("odv.conf", openVerifyConf)
	faults = append(faults, err, w.add(ctx, subjectOpen, "odv", verifies, find("opendkim"), "-f", "-x", conf))
	conf, err = w.configure("rspamd.conf", rspamdConf)
	faults = append(faults, err, w.add(ctx, subjectRspamd, "rspamd", append(verifies, signRSA), find("rspamd"), "-f", "-i", "-c", conf))
	conf, err = w.configure("rspamd-policies.conf", strings.NewReplacer("run/rspamd.", "run/rspamd-policies.", "log/rspamd.", "log/rspamd-policies.").Replace(rspamdConf)+rspamdPolicies)
	faults = append(faults, err, w.addOpenDMARC(ctx),
		w.add(ctx, subjectRspamd, "rspamd-policies", []deed{verifyPolicies}, find("rspamd"), "-f", "-i", "-c", conf))
	milter := w.buildMsgauth(ctx)
	for name, at := range map[string]struct {
		domain string
		deed   deed
	}{"gms": {"d*.example.com", signRSA}, "gme": {edDomain, signEd25519}} {
		key := rsaDomain(0)
		if at.deed == signEd25519 {
			key = edDomain
		}
		// One key for all domains: it signs as the first one that From matches.
		faults = append(faults, w.add(ctx, subjectMsgauth, name, []deed{at.deed}, milter, "-l", "unix://"+w.socket(name),
			"-d", at.domain, "-s", selector, "-k", filepath.Join(w.dir, "flat", key+".pem")))
	}
	return errors.Join(faults...)
}

func (w *world) addOpenSigner(ctx context.Context, name, algorithm string, domains []string, d deed) error {
	var table, signing []string
	for _, domain := range domains {
		table = append(table, "k-"+domain+"="+domain+":"+selector+":@DIR@/flat/"+domain+".pem")
		signing = append(signing, domain+"=k-"+domain)
	}
	text := strings.NewReplacer("@NAME@", name, "@ALGORITHM@", algorithm,
		"@KEYS@", strings.Join(table, ","), "@DOMAINS@", strings.Join(signing, ",")).Replace(openSignConf)
	conf, err := w.configure(name+".conf", text)
	if err != nil {
		return err
	}
	return w.add(ctx, subjectOpen, name, []deed{d}, find("opendkim"), "-f", "-x", conf)
}

// addOpenDMARC has OpenDMARC look at what OpenDKIM has verified. It asks whom /etc/resolv.conf names, and gets one of its own.
func (w *world) addOpenDMARC(ctx context.Context) error {
	conf, err := w.configure("odmarc.conf", openDMARCConf)
	if err != nil {
		return err
	}
	names, err := w.configure("resolv.conf", "nameserver 127.0.0.77\n")
	if err != nil {
		return err
	}
	program := find("opendmarc")
	if program == "" {
		return w.add(ctx, subjectOpenDMARC, "odmarc", nil, program)
	}
	err = w.add(ctx, subjectOpenDMARC, "odmarc", []deed{verifyPolicies}, "unshare", "--mount", "sh", "-c",
		`mount --bind "$1" /etc/resolv.conf && exec "$2" -f -c "$3"`, "sh", names, program, conf)
	first := w.servers[subjectOpen][verifyOne]
	if err != nil || first == nil {
		return err
	}
	both := *first
	both.next = w.servers[subjectOpenDMARC][verifyPolicies]
	w.servers[subjectOpen][verifyPolicies] = &both
	return nil
}

// buildMsgauth installs go-msgauth's milter for this run only.
func (w *world) buildMsgauth(ctx context.Context) string {
	cmd := exec.CommandContext(ctx, "go", "install", msgauthModule)
	cmd.Env = append(os.Environ(), "GOBIN="+w.dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		_, _ = os.Stderr.Write(out) // without a network, say: it is left out
		return ""
	}
	return filepath.Join(w.dir, "dkim-milter")
}
