// Package system installs dkimd's packages on real systems and sees what an
// administrator would: Debian 12 and 13, booted with systemd as process 1 of namespaces
// of its own. scripts/install-test-systems makes the systems; the build tag is system.
package system
