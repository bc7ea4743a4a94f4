package importer

import (
	"strconv"
	"strings"
)

// kind is the type of a directive.
type kind uint8

const (
	text kind = iota
	boolean
	number
	set // a dataset
)

// wrong says why OpenDKIM does not take a value, or nothing.
func (k kind) wrong(value string) string {
	switch {
	case value == "":
		return "the value is missing"
	case k == boolean && !strings.ContainsRune("tTyY1fFnN0", rune(value[0])):
		return "want yes or no"
	case k == number:
		if _, err := strconv.ParseInt(value, 0, 32); err != nil {
			return "want a number"
		}
	}
	return ""
}

// directive is a setting that opendkim.conf may have.
type directive struct {
	name  string // as opendkim.conf(5) spells it
	kind  kind
	carry func(*opendkim, setting) error
}

// is a verdict that does not depend on the value. A boolean that is off asks for nothing.
func is(v Verdict, name string, k kind, words string) directive {
	return directive{name, k, func(o *opendkim, s setting) error {
		if k == boolean && !isTrue(s.value) {
			o.plan.note(Same, s.Place, s.name, s.value, "off, as in dkimd")
		} else {
			o.plan.note(v, s.Place, s.name, s.value, words)
		}
		return nil
	}}
}

// by makes a directive of a method that cannot fail.
func by(name string, k kind, carry func(*opendkim, setting)) directive {
	return directive{name, k, func(o *opendkim, s setting) error {
		carry(o, s)
		return nil
	}}
}

func (o *opendkim) same(s setting, words string) { o.plan.note(Same, s.Place, s.name, s.value, words) }

func (o *opendkim) near(s setting, words string) { o.plan.note(Close, s.Place, s.name, s.value, words) }

func (o *opendkim) missed(s setting, words string) {
	o.plan.note(NotCarried, s.Place, s.name, s.value, words)
}

// directives are all that opendkim.conf(5) of Debian 12 has, and those of older versions.
func directives() []directive {
	var all []directive
	for _, theme := range [][]directive{
		signingDirectives(), signatureDirectives(), hostDirectives(), verifyingDirectives(), actionDirectives(), dnsDirectives(), processDirectives(), logDirectives(),
		ldapDirectives(), scriptDirectives(), reportDirectives(), oldDirectives(),
	} {
		all = append(all, theme...)
	}
	return all
}

// signingDirectives say who signs; signing.go reads them together.
func signingDirectives() []directive {
	return []directive{
		by("Domain", set, (*opendkim).noteSigning), by("KeyFile", text, (*opendkim).noteSigning), by("Selector", text, (*opendkim).noteSigning),
		by("KeyTable", set, (*opendkim).noteSigning), by("SigningTable", set, (*opendkim).noteSigning),
		by("MultipleSignatures", boolean, (*opendkim).noteSigning), by("SubDomains", boolean, (*opendkim).noteSigning),
		by("Mode", text, (*opendkim).mode),
		{"SenderHeaders", set, (*opendkim).senderHeaders},
		{"DontSignMailTo", set, (*opendkim).dontSign},
		is(NotCarried, "SenderMacro", text, "dkimd finds the sender in the header or the envelope: [sign] identity_from"),
		is(NotCarried, "ResignMailTo", set, "dkimd signs mail of its own clients only; mail that is handed on keeps its signatures"),
		is(NotCarried, "ResignAll", boolean, "see ResignMailTo"),
		is(NotCarried, "RemoveOldSignatures", boolean, "dkimd removes no signature; remove them in the mail server before dkimd sees the mail"),
		is(NotCarried, "SetupPolicyScript", text, "dkimd runs no Lua: [[sign.map]] says who signs, [sign] networks for whom"),
		{"RequireSafeKeys", boolean, func(o *opendkim, s setting) error {
			if isTrue(s.value) {
				o.same(s, "dkimd refuses a key that others can read")
			} else {
				o.near(s, "dkimd always refuses a key that others can read; such keys were copied with a mode that fits")
			}
			return nil
		}},
	}
}

func signatureDirectives() []directive {
	return []directive{
		by("Canonicalization", text, (*opendkim).canonicalization),
		by("SignatureAlgorithm", text, (*opendkim).algorithm),
		by("SignatureTTL", number, (*opendkim).expiry),
		by("SignHeaders", set, (*opendkim).noteHeaders), by("OmitHeaders", set, (*opendkim).noteHeaders),
		by("OversignHeaders", set, (*opendkim).noteHeaders),
		is(NotCarried, "BodyLengthDB", set, "dkimd never writes l=: with it anybody can append to a signed message"),
		is(NotCarried, "MaximumSignedBytes", number, "dkimd never writes l=: with it anybody can append to a signed message"),
		is(Close, "Diagnostics", boolean, "dkimd writes no z=; dkimd verify --explain finds what was changed without it"),
		is(Close, "RequestReports", boolean, "dkimd writes no r=y (RFC 6651), which hardly any receiver answers"),
		is(Close, "FixCRLF", boolean, "dkimd hashes what the mail server hands on, which has CRLF"),
		is(Same, "SelectCanonicalizationHeader", text, "a header field cannot change how dkimd canonicalizes; nothing writes it"),
		is(NotCarried, "ReplaceRules", text, "dkimd signs what it sees: let the mail server rewrite before"),
		is(NotCarried, "ReplaceHeaders", set, "see ReplaceRules"),
		is(NotCarried, "IdentityHeader", text, "identity in domain.toml or [[sign.map]] sets i="),
		is(NotCarried, "IdentityHeaderRemove", boolean, "see IdentityHeader"),
		is(NotCarried, "VBR-Certifiers", text, "dkimd has no VBR (RFC 5518), which nobody asks for any more"),
		is(NotCarried, "VBR-PurgeFields", text, "see VBR-Certifiers"), is(NotCarried, "VBR-TrustedCertifiers", text, "see VBR-Certifiers"),
		is(NotCarried, "VBR-TrustedCertifiersOnly", boolean, "see VBR-Certifiers"), is(NotCarried, "VBR-Type", text, "see VBR-Certifiers"),
	}
}

func hostDirectives() []directive {
	return []directive{
		{"InternalHosts", set, (*opendkim).internalHosts},
		{"PeerList", set, (*opendkim).peers},
		{"ExternalIgnoreList", set, (*opendkim).ignoreList},
		{"MTA", set, (*opendkim).mta},
		{"MacroList", set, (*opendkim).macros},
		is(NotCarried, "ExemptDomains", set, "dkimd verifies mail of every domain; a rules file without rules lets all of one domain through"),
		is(NotCarried, "POPDBFile", set, "dkimd knows no POP before SMTP: let clients log in"),
	}
}

func verifyingDirectives() []directive {
	return []directive{
		by("AuthservID", text, (*opendkim).authservID),
		is(NotCarried, "AuthservIDWithJobID", boolean, "dkimd writes the name alone; the record in the log has the queue id"),
		{"AlwaysAddARHeader", boolean, func(o *opendkim, s setting) error {
			if isTrue(s.value) {
				o.same(s, "dkimd always adds it")
			} else {
				o.near(s, "dkimd adds Authentication-Results to unsigned mail too")
			}
			return nil
		}},
		is(NotCarried, "KeepAuthResults", boolean, "dkimd always removes Authentication-Results that claim its own name: they are forged"),
		by("RemoveARAll", boolean, (*opendkim).removeAll),
		{"RemoveARFrom", set, (*opendkim).removeFrom},
		is(Close, "NoHeaderB", boolean, "dkimd always writes header.b, which tells several signatures apart"),
		by("MinimumKeyBits", number, (*opendkim).minimumBits),
		by("MaximumSignaturesToVerify", number, (*opendkim).maximumSignatures),
		by("ClockDrift", number, (*opendkim).clockDrift),
		is(Close, "Minimum", text, "a signature whose l= leaves content unsigned is policy: [verify] body_length"),
		is(NotCarried, "MustBeSigned", set, "no rule asks for a field in h=; a rule with duplicates = false comes near"),
		is(NotCarried, "TrustSignaturesFrom", set, "name them in signers of a rule: docs/policy.md"),
		is(Close, "AllowSHA1Only", boolean, "rsa-sha1 never passes (RFC 8301)"),
		is(Close, "DomainKeysCompat", boolean, "keys of DomainKeys are read where they are keys of DKIM too"),
		is(Close, "RequiredHeaders", boolean, "dkimd refuses From fields that are forged, in _default.toml; other fields are the mail server's to check"),
		is(Close, "StrictHeaders", boolean, "see RequiredHeaders"),
		is(Close, "WeakSyntaxChecks", boolean, "dkimd verifies what can be verified, whatever the other fields look like"),
		is(Close, "IgnoreMalformedMail", boolean, "dkimd passes malformed mail on, and says so in Authentication-Results"),
		is(Close, "MaximumHeaders", number, "dkimd reads 1 MiB and 2000 fields; docs/design.md, Limits"),
		is(NotCarried, "Quarantine", boolean, "write a rule with action = \"quarantine\": docs/policy.md"),
		is(NotCarried, "RedirectFailuresTo", text, "dkimd changes no recipients: action = \"quarantine\" holds such mail"),
	}
}

func actionDirectives() []directive {
	var all []directive
	for _, name := range []string{
		"On-BadSignature", "On-Default", "On-DNSError", "On-InternalError", "On-KeyNotFound", "On-NoSignature", "On-Security", "On-SignatureError",
	} {
		all = append(all, by(name, text, (*opendkim).noteAction))
	}
	return append(all, is(Close, "CaptureUnknownErrors", boolean, "on a fault of its own dkimd defers mail that a rule could stop, and accepts the rest"))
}

func dnsDirectives() []directive {
	const validates = "dkimd does not validate itself: what a validating resolver on this host says stands in the record as dnssec"
	return []directive{
		by("Nameservers", text, (*opendkim).nameservers),
		by("DNSTimeout", number, (*opendkim).dnsTimeout),
		is(Same, "QueryCache", boolean, "dkimd always has a cache"),
		is(Close, "DNSConnect", boolean, "dkimd asks by UDP first, and by TCP where an answer is too long"),
		is(Close, "ResolverTracing", boolean, "the record of each message says what a lookup ended with"),
		is(Close, "ResolverConfiguration", text, "dkimd asks the servers of [dns] servers or /etc/resolv.conf"),
		is(Close, "TrustAnchorFile", text, validates),
		is(Close, "BogusKey", text, validates+"; a bogus key is SERVFAIL there, and a temperror here"),
		is(Close, "UnprotectedKey", text, validates),
		is(NotCarried, "TestDNSData", set, "for tests only"), is(NotCarried, "TestPublicKeys", text, "for tests only"),
		is(Close, "ADSPAction", text, "ADSP is historic: rules say what happens to unsigned mail"),
	}
}

func processDirectives() []directive {
	return []directive{
		by("Socket", text, (*opendkim).socket), by("UMask", number, (*opendkim).umask),
		is(Close, "UserID", text, "the service of dkimd has a user of its own, dkimd, who has to be able to read the keys"),
		is(Close, "PidFile", text, "dkimd writes none: systemd knows its processes"),
		is(Close, "Background", boolean, "dkimd stays in the foreground: systemd starts it"),
		is(Close, "AutoRestart", boolean, "systemd starts dkimd again"), is(Close, "AutoRestartCount", number, "systemd starts dkimd again"),
		is(Close, "AutoRestartRate", text, "systemd starts dkimd again"),
		is(Same, "BaseDirectory", text, "relative names were read below it"),
		is(Close, "ChangeRootDirectory", text, "the service of systemd shuts dkimd off from the file system"),
		is(Close, "EnableCoredumps", boolean, "dkimd writes no core: it would hold the private keys"),
		is(Same, "DisableCryptoInit", boolean, "of no use to dkimd"), is(Same, "MilterDebug", number, "of no use to dkimd"),
		is(Same, "KeepTemporaryFiles", boolean, "dkimd writes none"), is(Same, "TemporaryDirectory", text, "dkimd writes no temporary files"),
		is(Same, "StrictTestMode", boolean, "for tests only"),
		is(Close, "DiagnosticDirectory", text, "dkimd verify --explain says why a message does not verify"),
		is(Close, "SoftwareHeader", boolean, "dkimd adds no field that names itself"),
	}
}
