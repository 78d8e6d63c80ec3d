#!/bin/bash
# Makes the ext4 images and partition tables of this folder anew: Debian 12's e2fsprogs and fdisk,
# a kernel that mounts them through loop devices, root. Their bytes differ each time.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
scratch=$(mktemp -d)
trap 'umount "$scratch/mnt" 2>/dev/null || true; rm -rf "$scratch"' EXIT
mkdir "$scratch/mnt"
: >"$scratch/digests"

# A journal of 1 MiB with a few transactions; a file in many pieces, one that is large and sparse, a
# directory that was removed again (blocks that are revoked), a file that looks like a journal.
ext4() { # ext4 NAME OPTION...
  local image="$scratch/$1" mnt="$scratch/mnt"
  truncate -s 6M "$image"
  mke2fs -q -t ext4 -b 1024 -J size=1 -N 512 "${@:2}" "$image"
  mount -o loop "$image" "$mnt"
  for index in $(seq 1 2 400); do
    printf "piece $index" | dd of="$mnt/pieces" bs=1k seek="$index" conv=notrunc status=none
  done
  printf 'far away' | dd of="$mnt/sparse" bs=1k seek=80000 status=none
  mkdir "$mnt/gone"
  (cd "$mnt/gone" && touch $(seq 1 200))
  sync -f "$mnt"
  rm -r "$mnt/gone"
  mkdir "$mnt/folder"
  printf '\xc0\x3b\x39\x98 is how a block of a journal begins' >"$mnt/folder/escaped"
  sync -f "$mnt"
  for name in pieces sparse folder/escaped; do
    stat -c %i "$mnt/$name" | tr '\n' ' ' | sed "s/^/$1@/" >>"$scratch/digests"
    sha256sum "$mnt/$name" | cut -d ' ' -f 1 >>"$scratch/digests"
  done
  umount "$mnt"
  zstd -q -f -19 "$image" -o "$1.zst"
}

ext4 new.ext4 -O 64bit,metadata_csum_seed
ext4 old.ext4 -O '^extent,^64bit,^metadata_csum,^flex_bg,uninit_bg,meta_bg,^resize_inode'

table() { # table NAME, and what sfdisk is told
  truncate -s 16M "$scratch/$1"
  sfdisk -q "$scratch/$1"
  zstd -q -f -19 "$scratch/$1" -o "$1.zst"
}
table mbr.disk <<'END'
label: dos
start=2048, size=4096, type=83
start=8192, size=16384, type=5
start=10240, size=2048, type=83
start=14336, size=4096, type=82
END
table gpt.disk <<'END'
label: gpt
start=2048, size=4096
start=8192, size=10240
END

grep -v '@[0-9]* ' digests.txt >"$scratch/others" || true
sort "$scratch/others" "$scratch/digests" >digests.txt
