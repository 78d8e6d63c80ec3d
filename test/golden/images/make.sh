#!/bin/bash
# Makes the images of this folder anew, with the tools of Debian 12. Their bytes differ each time
# (identifiers, times); the tests compare with what the tools themselves read back.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

keep() { # keep NAME FILE: compresses, and notes the digest of what a guest sees
  zstd -q -f -19 "$2" -o "$1.zst"
}
guest() { qemu-img convert -O raw "${@:2}" "$scratch/raw" && sha256sum "$scratch/raw" |
  cut -d ' ' -f 1 | sed "s/^/$1 /" >>"$scratch/digests"; }

image="$scratch/clusters.qcow2"
qemu-img create -q -f qcow2 -o cluster_size=4k "$image" 5M
qemu-io -f qcow2 -c 'write -P 1 0 40k' -c 'write -P 2 2M 12k' "$image" >/dev/null
qemu-img snapshot -c first "$image"
qemu-img bitmap --add -g 8192 "$image" daily
qemu-img bitmap --add --disable -g 65536 "$image" off
qemu-io -f qcow2 -c 'write -P 3 8k 20k' -c 'write -z 2M 4k' -c 'write -c -P 4 3M 4k' \
  -c 'write -P 5 4500k 10k' "$image" >/dev/null
qemu-img snapshot -c second "$image"
qemu-io -f qcow2 -c 'write -P 6 16k 4k' -c 'discard 2052k 4k' "$image" >/dev/null
keep clusters.qcow2 "$image"
guest clusters.qcow2 "$image"
guest clusters.qcow2@first -l snapshot.name=first "$image"
guest clusters.qcow2@second -l snapshot.name=second "$image"

image="$scratch/parts.qcow2"
qemu-img create -q -f qcow2 -o extended_l2=on,compression_type=zstd,cluster_size=16k "$image" 3M
qemu-io -f qcow2 -c 'write -P 1 512 5k' -c 'write -c -P 4 1M 16k' -c 'write -P 7 1536k 100k' \
  -c 'write -z 1540k 3k' "$image" >/dev/null
keep parts.qcow2 "$image"
guest parts.qcow2 "$image"

mv "$scratch/digests" digests.txt
