#!/usr/bin/env bash
# Boot systemd in namespaces of its own, on a copy-on-write view of this machine's root, as root:
#   boot.sh FOLDER CHECKOUT VENV
# The checkout is at /opt/checkout there, and its environment at /opt/secret-manager.
set -euo pipefail
folder=$1 checkout=$2 venv=$3
if [[ -z ${INSIDE-} ]]; then
    INSIDE=1 exec unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child bash "$0" "$@"
fi
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$folder"
mkdir "$folder"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mkdir -p opt/checkout opt/secret-manager before
mount --bind "$checkout" opt/checkout
mount --bind "$venv" opt/secret-manager
mount -t proc proc proc
# The settings of the kernel are those of the whole machine.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"
done
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
# Nothing of this machine's own starts.
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires etc/machine-id var/log/journal
: >etc/fstab
for unit in systemd-{udevd,udev-trigger,modules-load,sysctl,remount-fs,hwdb-update,firstboot}.service \
    systemd-journal-catalog-update.service ldconfig.service network-online.target; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
printf '[Unit]\nRequires=dbus.socket\nAfter=dbus.socket\n' >etc/systemd/system/test.target
ip link set lo up
pivot_root . before
umount -l /before
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /lib/systemd/systemd --unit=test.target --log-target=null
