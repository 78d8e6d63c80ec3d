#!/bin/bash
# Makes the disk images that `npm run bench -- backup` works on: one Debian machine, four days.
#   scripts/make-images.sh DIRECTORY      makes DIRECTORY/g0.img to g3.img, 2 GiB each, sparse
#     g0  freshly installed
#     g1  upgraded; a web server and git were added
#     g2  a database of 60,000 rows was filled; more packages, a day of logs
#     g3  a quiet day later: some rows changed, some came, the log was rotated
# Wants root (loop mounts, chroot), debootstrap and the Debian mirror that this machine uses.
set -euo pipefail

[ $# = 1 ] || { echo "usage: make-images.sh DIRECTORY" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "make-images.sh: root is needed for loop mounts" >&2; exit 1; }
for tool in debootstrap mkfs.ext4 chroot losetup; do
  command -v "$tool" >/dev/null || { echo "make-images.sh: $tool is not installed" >&2; exit 1; }
done

mkdir -p "$1"
directory=$(readlink -f "$1")
log=$directory/make-images.log
disk=$directory/disk.part
tree=$(mktemp -d)
: >"$log"

release() {
  mountpoint -q "$tree/proc" && umount "$tree/proc"
  mountpoint -q "$tree" && umount "$tree"
  return 0
}
finish() {
  local status=$?
  release
  rmdir "$tree"
  rm -f "$disk" "$disk.copy"
  [ "$status" = 0 ] || { echo "make-images.sh: failed; the end of $log:"; tail -n 15 "$log"; } >&2
}
trap finish EXIT

# The first Debian mirror in apt's lists, in either of their two forms.
mirror() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
    grep -oE '(^deb .*|^URIs: *)(https?://[^ ]+)' | grep -oE 'https?://[^ ]+' | head -n 1
}

inside() { chroot "$tree" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@" >>"$log" 2>&1; }
install() { inside apt-get install --quiet --yes --no-install-recommends "$@"; }

# A generation is the disk with nothing mounted, as a backup of a machine that is off sees it.
begin() { mount -o loop,noatime "$disk" "$tree"; mkdir -p "$tree/proc"; mount -t proc proc "$tree/proc"; }
end() {
  release
  cp --sparse=always "$disk" "$disk.copy" && mv "$disk.copy" "$directory/$1.img"
  echo "$1: $(du --block-size=1M "$directory/$1.img" | cut -f 1) MiB allocated"
}

# Lines as a busy service writes them: alike, yet each different.
write_log() {
  awk -v seed="$1" 'BEGIN {
    srand(seed)
    for (n = 0; n < 20000; n++)
      printf "Mar %02d %02d:%02d:%02d web shop[%d]: order=%07d item=%03d status=%s took=%.3f\n",
        1 + seed, n / 900, n / 15 % 60, n % 60, 700 + rand() * 9, rand() * 1e7, rand() * 400,
        rand() < 0.97 ? "paid" : "refused", rand()
  }' >>"$tree/var/log/syslog"
}

truncate --size=2G "$disk"
mkfs.ext4 -q -F -L root "$disk"
begin
umount "$tree/proc"
base=ca-certificates,cron,iproute2,less,logrotate,man-db,perl,python3-minimal,rsyslog,vim-tiny
debootstrap --variant=minbase --include="$base" bookworm "$tree" "$(mirror)" >>"$log" 2>&1
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d" # No service may start in the chroot.
chmod 755 "$tree/usr/sbin/policy-rc.d"
cp /etc/resolv.conf /etc/hosts "$tree/etc/"
cp --recursive /etc/apt/apt.conf.d/. "$tree/etc/apt/apt.conf.d/"
end g0

begin
inside apt-get update --quiet
inside apt-get upgrade --quiet --yes
install nginx-light git sqlite3
write_log 1
end g1

begin
inside sqlite3 /var/lib/shop.db "
  PRAGMA journal_mode = WAL;
  CREATE TABLE orders (id INTEGER PRIMARY KEY, buyer TEXT, body BLOB, at INTEGER);
  CREATE INDEX by_buyer ON orders (buyer);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
    INSERT INTO orders SELECT i, hex(randomblob(8)), randomblob(200), i FROM n;
  UPDATE orders SET body = randomblob(200) WHERE id % 7 = 0;
  DELETE FROM orders WHERE id % 31 = 0;"
write_log 2
install curl jq redis-server
inside apt-get clean
end g2

begin
inside sqlite3 /var/lib/shop.db "
  UPDATE orders SET body = randomblob(200) WHERE id % 97 = 0;
  INSERT INTO orders SELECT id + 100000, buyer, body, at FROM orders WHERE id % 50 = 1;"
inside logrotate --force /etc/logrotate.d/rsyslog
end g3
