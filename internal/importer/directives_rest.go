package importer

func logDirectives() []directive {
	return []directive{
		// Records as text in syslog would be lost to dkimd log.
		is(Close, "Syslog", boolean, `records go to stdout, which systemd keeps in its journal; [log] output = ["syslog"] writes text for the mail log`),
		is(Close, "SyslogFacility", text, "where [log] output has syslog, dkimd writes with facility mail"),
		is(Close, "SyslogName", text, "the name in the log is dkimd"),
		is(Same, "SyslogSuccess", boolean, "each message has one record in the log"),
		is(Same, "LogResults", boolean, "each signature is in the record of its message"),
		is(Same, "LogWhy", boolean, "the record of each message has the reason"),
		is(Close, "Statistics", text, "dkimd log report and /metrics count"), is(Close, "StatisticsName", text, "see Statistics"),
		is(Close, "StatisticsPrefix", text, "see Statistics"),
	}
}

func ldapDirectives() []directive {
	var all []directive
	for _, name := range []string{
		"LDAPAuthMechanism", "LDAPAuthName", "LDAPAuthRealm", "LDAPAuthUser", "LDAPBindPassword", "LDAPBindUser",
	} {
		all = append(all, is(NotCarried, name, text, "dkimd reads no LDAP: write the tables into files"))
	}
	for _, name := range []string{"LDAPKeepaliveIdle", "LDAPKeepaliveInterval", "LDAPKeepaliveProbes", "LDAPTimeout"} {
		all = append(all, is(NotCarried, name, number, "dkimd reads no LDAP: write the tables into files"))
	}
	for _, name := range []string{"LDAPDisableCache", "LDAPSoftStart", "LDAPUseTLS"} {
		all = append(all, is(NotCarried, name, boolean, "dkimd reads no LDAP: write the tables into files"))
	}
	return append(all, is(Same, "SoftStart", boolean, "dkimd asks no database"))
}

func scriptDirectives() []directive {
	var all []directive
	for _, name := range []string{"FinalPolicyScript", "ScreenPolicyScript", "StatisticsPolicyScript"} {
		all = append(all, is(NotCarried, name, text, "dkimd runs no Lua: rules say what happens to mail (docs/policy.md)"))
	}
	return all
}

func reportDirectives() []directive {
	var all []directive
	for _, name := range []string{"ReportAddress", "ReportBccAddress", "MTACommand", "SMTPURI"} {
		all = append(all, is(Close, name, text, "dkimd sends no reports"))
	}
	return append(all, is(NotCarried, "SendReports", boolean, "dkimd sends no reports (RFC 6651), which hardly anybody asks for"))
}

// oldDirectives are those that OpenDKIM no longer has, or never had in its manual.
func oldDirectives() []directive {
	var all []directive
	for _, name := range []string{"ADSPNoSuchDomain", "DisableADSP", "SendADSPReports"} {
		all = append(all, is(Close, name, boolean, "ADSP is historic: rules say what happens to unsigned mail"))
	}
	for _, name := range []string{"LocalADSP", "NoDiscardableMailTo", "On-PolicyError", "BogusPolicy", "UnprotectedPolicy"} {
		all = append(all, is(Close, name, text, "ADSP is historic: rules say what happens to unsigned mail"))
	}
	for _, name := range []string{"ATPSDomains", "ATPSHashAlgorithm"} {
		all = append(all, is(NotCarried, name, text, "dkimd has no ATPS (RFC 6541), which nobody asks for any more"))
	}
	return append(all,
		is(Same, "AddAllSignatureResults", boolean, "dkimd writes the result of each signature"),
		is(Same, "X-Header", boolean, "it has had no effect for years"),
		is(Same, "AnonymousStatistics", boolean, "dkimd reports to nobody"),
		is(NotCarried, "DefaultSender", text, "dkimd signs no mail without a sender"),
	)
}
