#!/bin/sh
# Runs a program of Sendmail's with a host name, a hosts file, a resolver and a
# syslog of its own; it has settings for none of them. It finds its directory as
# /mnt. Started by unshare(1).
# Arguments: a directory with hosts, resolv.conf and dev/log, then the command.
set -eu
dir=$1
shift
hostname mx.harness.test
mount --bind "$dir/hosts" /etc/hosts
mount --bind "$dir/resolv.conf" /etc/resolv.conf
for device in null urandom; do
	: >>"$dir/dev/$device"
	mount --bind "/dev/$device" "$dir/dev/$device"
done
mount --rbind "$dir/dev" /dev
mount --bind "$dir" /mnt
exec "$@"
