#!/bin/sh
# Runs commands in a copy of this machine that is thrown away: an overlay of /
# on a tmpfs, with a network, processes and a host name of its own, and a
# Postfix configured as Debian's package does it. Started by unshare(1).
# Arguments: a directory for the mounts, and the working directory. Reads the
# names of scripts from descriptor 3 and marks the end of each on stdout. Ends
# when a command fails.
set -eu

mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
root=$1/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
hostname mail.example.org
ip link set lo up
# Other hosts of this small world; an address outside 127.0.0.0/8 is nobody's own.
ip address add 203.0.113.1/24 dev lo
ip address add 203.0.113.9/24 dev lo

exec chroot "$root" /bin/sh -eu -s "$2" <<'END'
rm -f /etc/resolv.conf
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
echo '127.0.0.1 localhost mail.example.org' >/etc/hosts
echo example.org >/etc/mailname
rm -rf /etc/dkimd /var/mail/root /var/spool/postfix/pid/* /var/lib/postfix/*
cp /usr/share/postfix/main.cf.debian /etc/postfix/main.cf
cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf
# What the package's questions would set for an "Internet Site".
postconf -e 'myhostname = mail.example.org' 'mydestination = $myhostname, example.org, localhost' \
	'mynetworks = 127.0.0.0/8 [::1]/128' 'smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination' \
	'alias_maps = hash:/etc/aliases' 'alias_database = hash:/etc/aliases' 'maillog_file = /var/log/mail.log'
printf 'postmaster: root\n' >/etc/aliases
newaliases
/etc/init.d/postfix start
cd "$1"
n=1
echo "-- end of step $n"
while read -r step <&3; do
	. "$step" </dev/null 3<&-
	n=$((n + 1))
	echo "-- end of step $n"
done
END
