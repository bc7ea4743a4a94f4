#!/bin/sh
# Boots a system that is thrown away: an overlay of the root at $1 on a tmpfs at $2, in which
# the commands of $3 are carried out before, with
# systemd as process 1 of namespaces of its own and a network that outlives its restarts.
# Started by unshare(1) with a mount and a network namespace. Ends when the system halts.
set -eu

if [ "$1" != inside ]; then
	mount -t tmpfs -o size=700m tmpfs "$2"
	mkdir "$2/upper" "$2/work" "$2/root" "$2/cgroup"
	mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
	ip link set lo up
	# Other hosts of this small world; an address outside 127.0.0.0/8 is nobody's own.
	ip address add 203.0.113.1/24 dev lo
	ip address add 203.0.113.9/24 dev lo

	cd "$2/root"
	echo mx.example.org >etc/hostname
	echo '127.0.0.1 localhost mx.example.org mx' >etc/hosts
	rm -f etc/resolv.conf
	echo 'nameserver 127.0.0.1' >etc/resolv.conf
	echo example.org >etc/mailname
	echo 8f0b6f2c0a1d4b6f9f2f5c1f1f3e2d4c >etc/machine-id # no first boot
	chroot . sh -ec "$3"
	cd /

	# systemd needs the version 2 hierarchy, with whatever controllers this machine has left for it.
	mount -t cgroup2 cgroup2 "$2/cgroup"
	group=$2/cgroup/dkimd-test-$$
	mkdir "$group"
	echo $$ >"$group/cgroup.procs"
	status=129
	while [ $status = 129 ]; do # SIGHUP: the system restarts
		status=0
		unshare --uts --ipc --pid --cgroup --mount --fork --kill-child sh "$0" inside "$2/root" || status=$?
	done
	echo $$ >"$2/cgroup/cgroup.procs"
	find "$group" -depth -type d -exec rmdir {} \;
	exit
fi

cd "$2"
mount --bind . .
cd "$2"
hostname mx.example.org
mount -t proc -o nosuid,nodev,noexec proc proc
# Settings of the kernel are this machine's.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
if [ -e proc/sysrq-trigger ]; then
	mount --bind dev/null proc/sysrq-trigger
fi
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid tmpfs dev
for device in null zero full random urandom tty; do
	: >"dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir run/old
pivot_root . run/old
umount -l run/old
rmdir run/old
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
	setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog /lib/systemd/systemd
