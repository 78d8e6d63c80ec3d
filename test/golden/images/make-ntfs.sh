#!/bin/bash
# Makes the NTFS image of this folder anew: Debian 12's ntfs-3g (mkntfs, its mount, ntfscp), root.
# Its bytes differ each time. What Windows would add, records of $LogFile and of $UsnJrnl, tests
# write to the published layout (src/transfer/ntfs/windows.fixture.ts).
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
scratch=$(mktemp -d)
trap 'umount "$scratch/mnt" 2>/dev/null || true; rm -rf "$scratch"' EXIT
mkdir "$scratch/mnt"
image="$scratch/tools.ntfs" mnt="$scratch/mnt"

# Clusters that say which they are: no two are equal, and yet they compress well.
clusters() { # clusters NAME COUNT
  for index in $(seq "$2"); do (yes "$1 $index" || true) | head -c 4096; done
}

truncate -s 4M "$image"
mkntfs -q -f -F -c 4096 -L tools "$image" 2>"$scratch/said"
ntfs-3g -o streams_interface=windows "$image" "$mnt"
mkdir -p "$mnt/documents/deep" "$mnt/System Volume Information" "$mnt/many"
(cd "$mnt/many" && touch $(seq -f 'a-name-that-fills-the-index-%g' 40))
clusters one 20 >"$mnt/documents/one.txt"
clusters two 10 >"$mnt/documents/deep/two.txt"
clusters notes 2 >"$mnt/documents/one.txt:notes"
clusters page 10 >"$mnt/pagefile.sys"
clusters kept 2 >"$mnt/System Volume Information/store"
echo 'fits into its record' >"$mnt/resident.txt"
clusters sparse 2 | dd of="$mnt/sparse.bin" bs=4096 seek=100 status=none
# Hundreds of pieces with holes between: its list of attributes says which records tell of them.
clusters scattered 150 >"$scratch/scattered"
for index in $(seq 149 -1 0); do
  dd if="$scratch/scattered" of="$mnt/scattered.bin" bs=4096 count=1 \
    skip="$index" seek=$((2 * index)) conv=notrunc status=none
done
umount "$mnt"
# The USN journal's file: what it is, and room for records.
head -c 32 /dev/zero >"$scratch/max"
head -c 131072 /dev/zero >"$scratch/records"
ntfscp -q -f -N '$Max' "$image" "$scratch/max" '/$Extend/$UsnJrnl'
ntfscp -q -f -N '$J' "$image" "$scratch/records" '/$Extend/$UsnJrnl'
for name in scattered.bin documents/one.txt documents/deep/two.txt sparse.bin; do
  echo "tools.ntfs@$name $(ntfscat "$image" "$name" | sha256sum | cut -d ' ' -f 1)"
done >"$scratch/digests"
# The table of capital letters is most of what does not compress, and no parser here reads it.
head -c 131072 /dev/zero >"$scratch/letters"
ntfscp -q -f "$image" "$scratch/letters" '$UpCase'
zstd -q -f -19 "$image" -o tools.ntfs.zst
grep -v '^tools.ntfs@' digests.txt >"$scratch/others" || true
sort "$scratch/others" "$scratch/digests" >digests.txt
