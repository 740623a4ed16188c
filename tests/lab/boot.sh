#!/bin/sh
# Make this machine's own root a throwaway host and become its systemd.
# Usage: boot.sh SCRATCH [BIND…], as the first process of namespaces for mounts,
# pids, names, ipc and cgroups. What is written goes to SCRATCH.
set -eu

scratch=$1
shift

# An overlay cannot write to an overlay, as a container's root is one.
if [ "$(stat -f -c %T "$scratch")" = overlayfs ]; then
    mount -t tmpfs -o mode=700 tmpfs "$scratch"
fi
mkdir -p "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$scratch/root"
mount --bind "$scratch/root" "$scratch/root"
cd "$scratch/root"

mount -t proc -o nosuid,nodev,noexec proc proc
# Read-only, so that networkd does not wait for udev.
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount --rbind /dev dev
mount --make-rprivate dev
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs dev/shm
# Its messages are its own.
mount --bind dev/null dev/console
mount --bind dev/null dev/kmsg
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp

# An overlay cannot be stacked on an overlay, and these are where overlays are made.
for path in var/lib/machines var/lib/machinespawn var/cache/machinespawn; do
    mkdir -p "$scratch/disk/$path" "$path"
    mount --bind "$scratch/disk/$path" "$path"
done
chmod 700 var/lib/machines
for path in "$@"; do
    mkdir -p ".$path"
    mount --rbind "$path" ".$path"
done

# Nothing of what this machine starts, mounts or configures at boot.
: >etc/fstab
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires etc/systemd/network etc/systemd/nspawn
for unit in systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
    systemd-udev-trigger.service systemd-udev-settle.service systemd-modules-load.service systemd-sysctl.service \
    systemd-random-seed.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-hwdb-update.service \
    systemd-pstore.service systemd-firstboot.service systemd-remount-fs.service systemd-update-utmp.service \
    systemd-tmpfiles-setup-dev.service systemd-machine-id-commit.service systemd-journal-catalog-update.service \
    systemd-boot-system-token.service kmod-static-nodes.service dev-hugepages.mount dev-mqueue.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
cat >etc/systemd/system/lab.target <<EOT
[Unit]
Description=The throwaway host is up
Requires=basic.target dbus.service
Wants=systemd-machined.service systemd-logind.service systemd-networkd.service
After=basic.target dbus.service systemd-machined.service systemd-logind.service systemd-networkd.service
AllowIsolate=yes
EOT

mkdir -p run/old
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
# Else machined cannot make a directory of the host appear in a machine.
mount --make-rshared /
exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=lab.target --show-status=no --log-target=journal
