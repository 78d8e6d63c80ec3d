#!/bin/bash
# Makes a small Debian guest in the folder $1: vmlinuz, initramfs.gz and root.img. Needs root.
# Nothing is done when all three are there; a build that breaks off leaves none of them.
set -euo pipefail
folder=$1
suite=${FERRY_VM_SUITE:-bookworm}
[ -f "$folder/root.img" ] && [ -f "$folder/vmlinuz" ] && [ -f "$folder/initramfs.gz" ] && exit 0

mkdir -p "$folder"
work=$(mktemp -d "$folder/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# The kernel package alone, unpacked: the guest boots without a boot loader.
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p' | head -n 1)
[ -n "$package" ] || { echo 'apt knows no linux-image-cloud-amd64; run apt-get update' >&2; exit 1; }
release=${package#linux-image-}
apt-get download -q -o APT::Sandbox::User=root "$package" >/dev/null
dpkg-deb --extract "$package"_*.deb kernel
modules=kernel/lib/modules/$release
[ -d "$modules" ] || modules=kernel/usr/lib/modules/$release

# The root file system: what a test in the guest calls, and no init system.
mirror=${FERRY_VM_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)}
debootstrap --variant=minbase --include=e2fsprogs,iproute2,kmod,libatomic1,procps "$suite" root "$mirror" >debootstrap.log 2>&1 ||
  { tail -n 20 debootstrap.log >&2; exit 1; }
rm -rf root/var/cache/apt/archives/*.deb root/var/lib/apt/lists/*
mkdir -p root/lib/modules root/app root/tmp
cp -a "$modules" root/lib/modules/
depmod --basedir root "$release"
cat >root/sbin/guest-main <<'INIT'
#!/bin/sh
# Runs the script on the second disk, prints its status where the host looks for it, powers off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -o remount,rw /
mount -t tmpfs tmpfs /run
mount -t tmpfs -o size=60% tmpfs /tmp
mkdir -p /dev/pts
[ -b /dev/vdc ] && mount -o ro,noload /dev/vdc /app
tr -d '\000' </dev/vdb >/run/job
echo '@@ job begins'
sh /run/job </dev/null 2>&1
echo "@@ job ended $?"
sync
mount -o remount,ro / 2>/dev/null
echo o >/proc/sysrq-trigger
sleep 30
INIT
chmod 755 root/sbin/guest-main

# The initramfs loads the disk's driver and goes over to the first disk.
mkdir -p early/bin early/dev early/proc early/sys early/new early/modules
cp "$(command -v busybox)" early/bin/busybox
for name in sh mount insmod sleep switch_root; do ln -s busybox "early/bin/$name"; done
: >early/modules/order
modprobe --dirname root --set-version "$release" --show-depends virtio_pci >order.txt
modprobe --dirname root --set-version "$release" --show-depends virtio_blk >>order.txt
modprobe --dirname root --set-version "$release" --show-depends ext4 >>order.txt || true
sed -n 's/^insmod \([^ ]*\).*/\1/p' order.txt | awk '!seen[$0]++' | while read -r module; do
  cp "$module" early/modules/
  basename "$module" >>early/modules/order
done
cat >early/init <<'INIT'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 300 ]; do sleep 0.1; tries=$((tries + 1)); done
mount -t ext4 /dev/vda /new
mount -o move /dev /new/dev
exec switch_root /new /sbin/guest-main
INIT
chmod 755 early/init
(cd early && find . | cpio --quiet -o -H newc | gzip -1) >initramfs.gz

mkfs.ext4 -q -F -L guest -d root root.img "${FERRY_VM_ROOT_SIZE:-1G}"
cp kernel/boot/vmlinuz-* vmlinuz
mv initramfs.gz vmlinuz "$folder/"
mv root.img "$folder/"
