#!/bin/bash
# Packs the package, installs it in an empty folder as a user would, and does the main job with it.
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "$0")")")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
node24=$root/node_modules/node/bin/node

cd "$root"
tarball=$scratch/$(npm pack --silent --pack-destination "$scratch" | tail -n 1)
mkdir "$scratch/user" && cd "$scratch/user"
npm init --yes >/dev/null
# By the machine's own npm and Node, which know its proxies; that Node may be too old to run ferry.
npm install --loglevel=error --no-audit --no-fund "$tarball" >/dev/null

# A machine whose `node` is new enough, with nothing else of the clone in reach.
mkdir "$scratch/bin" && ln -s "$node24" "$scratch/bin/node"
export PATH=$scratch/bin:$PATH

ferry=$scratch/user/node_modules/.bin/ferry
export FERRY_REPO=$scratch/repository FERRY_CACHE_DIR=$scratch/cache FERRY_STATE_DIR=$scratch/state

echo "installed: ferry $("$ferry" --version), node $(node --version)"
for face in blockferry blockferry/device blockferry/nbd blockferry/store; do
  node --input-type=module --eval "await import('$face')"
done

truncate --size=32M disk.img
head --bytes=5M /dev/urandom | dd of=disk.img bs=1M seek=3 conv=notrunc status=none
seq --format='line %g of a log' 200000 | dd of=disk.img bs=1M seek=20 conv=notrunc status=none
"$ferry" init
"$ferry" backup ./disk.img --name disk
echo changed | dd of=disk.img bs=1M seek=21 conv=notrunc status=none
"$ferry" backup ./disk.img --name disk
"$ferry" restore disk@latest ./restored.img
cmp disk.img restored.img
coproc mount { exec "$ferry" mount disk@latest --json; }
mounted=$mount_PID
read -r ready <&"${mount[0]}"
uri=$(node --print 'JSON.parse(process.argv[1]).uri' "$ready")
"$ferry" backup "$uri" --name copy
kill "$mounted" && wait "$mounted"
"$ferry" restore copy@latest ./copied.img
cmp disk.img copied.img
"$ferry" analyze ./disk.img >/dev/null
"$ferry" check --read-data
echo 'packed package: backup, mount and restore are identical'
