# The kernel's NBD driver on exports inside the guest and, over the network, of the host.
modprobe nbd
ip link set lo up
truncate -s 192M /tmp/disk.img
uri='nbd+unix:///disk?socket=/tmp/nbd.sock'

serve() {
  $ferry export /tmp/disk.img --listen unix:/tmp/nbd.sock >/tmp/export.log 2>&1 &
  server=$!
  await 60 grep -q '^ready' /tmp/export.log
}
attach() {
  : >/tmp/attach.log
  $ferry attach "$@" >/tmp/attach.log 2>&1 &
  attached=$!
  await 60 grep -q '^ready' /tmp/attach.log
}
writers() { # Four at once, each flushing what it writes.
  pids=
  for number in 1 2 3 4; do
    dd if=/dev/urandom of="/mnt/$1-$number" bs=64k count=64 conv=fsync status=none &
    pids="$pids $!"
  done
  for pid in $pids; do wait "$pid" || fail "writer $pid"; done
}

serve
step attach a named device
attach "$uri" /dev/nbd0
[ "$(blockdev --getsize64 /dev/nbd0)" = $((192 * 1024 * 1024)) ] || fail size
[ "$(blockdev --getbsz /dev/nbd0)" -ge 512 ] || fail 'block size'
[ "$(blockdev --getss /dev/nbd0)" = 512 ] || fail 'sector size'

step a file system on it
mkfs.ext4 -q /dev/nbd0
mount /dev/nbd0 /mnt
writers first
dd if=/dev/urandom of=/mnt/direct bs=4k count=512 oflag=direct status=none
(cd /mnt && sha256sum first-* direct) >/tmp/sums
rm /mnt/first-4
sed -i '/first-4/d' /tmp/sums

step trim
fstrim -v /mnt | grep -q 'trimmed' || fail fstrim

step a disk in use is not taken away
if $ferry attach --detach /dev/nbd0 2>/tmp/detach.log; then fail 'detached while mounted'; fi
grep -q 'in use' /tmp/detach.log || fail 'no reason given'

step clean detach on SIGINT
umount /mnt
e2fsck -fn /dev/nbd0 >/dev/null 2>&1 || fail e2fsck
kill -INT "$attached"
ends_well "$attached" 'ferry attach'
[ ! -e /sys/block/nbd0/pid ] || fail 'still attached'

step attach again, a free one, and read what was written
# A busy host may need minutes to start a server; until then requests must wait, not fail.
attach "$uri" auto --connections 3 --reconnect 900
device=$(sed -n 's/^ready: //p' /tmp/attach.log)
mount "$device" /mnt
(cd /mnt && sha256sum --quiet -c /tmp/sums) || fail 'what was written is not there'

step the server dies under load and comes back
dd if=/dev/urandom of=/mnt/through bs=64k count=400 conv=fsync status=none &
writer=$!
sleep 0.3
kill -KILL "$server"
wait "$server" || true
await 60 grep -q 'a connection is lost' /tmp/attach.log
step 'the loss is noticed'
serve
await 60 grep -q 'connected again' /tmp/attach.log
step 'connected again'
ends_well "$writer" 'the writer'
step 'the writer has ended'
writers second
(cd /mnt && sha256sum through second-*) >/tmp/sums2
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
mount "$device" /mnt
(cd /mnt && sha256sum --quiet -c /tmp/sums /tmp/sums2) || fail 'something is lost'

step SIGINT while mounted waits for the unmount
kill -INT "$attached"
await 60 grep -q 'in use' /tmp/attach.log
cat /mnt/direct >/dev/null || fail 'gone before the unmount'
umount /mnt
ends_well "$attached" 'ferry attach'
kill -INT "$server"
ends_well "$server" 'ferry export'
e2fsck -fn /tmp/disk.img >/dev/null 2>&1 || fail 'the image is not clean'

step TLS: through this process, on an export of an odd size
truncate -s $((64 * 1024 * 1024 + 700)) /tmp/odd.img
echo "guest:$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')" >/tmp/keys.psk
serve_tls() {
  : >/tmp/tls.log
  $ferry export /tmp/odd.img --listen unix:/tmp/tls.sock \
    --tls require --tls-psk /tmp/keys.psk >/tmp/tls.log 2>&1 &
  server=$!
  await 60 grep -q '^ready' /tmp/tls.log
}
serve_tls
tls_uri='nbds+unix://guest@/odd?socket=/tmp/tls.sock&tls-psk-file=/tmp/keys.psk'
attach "$tls_uri" /dev/nbd0 --reconnect 900
grep -q 'ends 188 bytes before its export' /tmp/attach.log || fail 'no word about the odd size'
[ "$(blockdev --getsize64 /dev/nbd0)" = $((64 * 1024 * 1024 + 512)) ] || fail 'size of the odd one'
mkfs.ext4 -q /dev/nbd0
mount /dev/nbd0 /mnt
writers tls
(cd /mnt && sha256sum tls-*) >/tmp/tls.sums

step TLS: the server dies under load and comes back
dd if=/dev/urandom of=/mnt/through bs=64k count=100 conv=fsync status=none &
writer=$!
sleep 0.3
kill -KILL "$server"
wait "$server" || true
await 60 grep -q 'a connection is lost' /tmp/attach.log
step 'the loss is noticed'
serve_tls
await 60 grep -q 'connected again' /tmp/attach.log
step 'connected again'
ends_well "$writer" 'the writer through TLS'
step 'the writer has ended'
(cd /mnt && sha256sum through) >>/tmp/tls.sums
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
mount /dev/nbd0 /mnt
(cd /mnt && sha256sum --quiet -c /tmp/tls.sums) || fail 'something is lost through TLS'
umount /mnt
kill -INT "$attached"
ends_well "$attached" 'ferry attach through TLS'
kill -INT "$server"
ends_well "$server" 'ferry export with TLS'
e2fsck -fn /tmp/odd.img >/dev/null 2>&1 || fail 'the odd image is not clean'

step an export of the host, taken away by another command
modprobe virtio_net
await 20 test -e /sys/class/net/eth0
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
attach "nbd://10.0.2.2:$HOST_PORT/disk" /dev/nbd1 --connections 2
mkfs.ext4 -q /dev/nbd1
mount /dev/nbd1 /mnt
writers host
(cd /mnt && sha256sum host-*)
umount /mnt
$ferry attach --detach /dev/nbd1 >/dev/null
ends_well "$attached" 'ferry attach'
