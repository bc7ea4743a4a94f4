#!/bin/sh
# Runs dkimd as a service of a systemd-journald of its own would run: stdout and
# stderr are streams of that journal. Shows it one message, and prints what the
# journal has. Started by unshare(1), so that /run and /var/log are its own.
# Arguments: dkimd, its configuration, its milter socket, a message.
set -eu
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir -p /run/systemd/journal /run/log/journal

wait_for() { # a command, for ten seconds
	n=0
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 100 ] || { echo "not within ten seconds: $*" >&2; exit 1; }
		sleep 0.1
	done
}
entries() { journalctl --quiet --directory /run/log/journal --no-pager "$@"; }
are() { [ "$(entries "$2" -o cat | wc -l)" -ge "$1" ]; }

/lib/systemd/systemd-journald &
journald=$!
wait_for test -S /run/systemd/journal/socket
# What systemd does for a service.
systemd-cat --level-prefix=true sh -c 'JOURNAL_STREAM=$(stat -L -c %d:%i /dev/stderr) exec "$0" serve --config "$1"' "$1" "$2" &
dkimd=$!
wait_for test -S "$3"
"$1" probe "unix:$3" "$4" --client 203.0.113.9 >/dev/null
wait_for are 2 DKIMD_MODE=verify
kill "$dkimd"
wait "$dkimd"
wait_for are 1 SYSLOG_IDENTIFIER=dkimd
echo "-- entries"
entries -o json
echo "-- summary"
entries -o cat DKIMD_MODE=verify | "$1" log --probes -
kill "$journald"
wait "$journald"
