/** Computes the volume digest of a device, to compare it with a snapshot's. */
import { type CodecPool, DIGEST_ENTRY_BYTES } from '../codec/index.ts';
import { mapOrdered, SHA256_BYTES } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import {
  CANONICAL_BYTES,
  coveredBytes,
  FANOUT,
  type Geometry,
  LEAF_BYTES,
  leafCount,
  nodeDigest,
  treeHeight,
  volumeDigest,
  zeroChunkDigest,
  zeroDigest,
} from '../store/index.ts';
import { checkInterrupted } from './errors.ts';
import type { OnProgress } from './progress.ts';
import { alignedRuns } from './runs.ts';

export type DigestOptions = { readonly onProgress?: OnProgress; readonly signal?: AbortSignal };

/** Of the first `sizeBytes`; 32 bytes. Holes are not read. */
export async function deviceDigest(
  device: Device,
  sizeBytes: number,
  pool: CodecPool,
  options: DigestOptions,
): Promise<Uint8Array> {
  const geometry: Geometry = { sizeBytes, chunkBytes: CANONICAL_BYTES };
  const leaves: Uint8Array[] = [];
  const data = await dataLeaves(device, geometry);
  const indexes = Array.from({ length: leafCount(geometry) }, (_, index) => index);
  for await (const digest of mapOrdered(indexes, pool.threads + 1, (index) =>
    data.has(index) ? leafOf(device, geometry, index, pool) : zeroDigest(geometry, 0, index),
  )) {
    checkInterrupted(options.signal);
    leaves.push(digest);
    const doneBytes = Math.min(sizeBytes, leaves.length * LEAF_BYTES);
    options.onProgress?.({ doneBytes, totalBytes: sizeBytes });
  }
  return volumeDigest(geometry, root(geometry, leaves));
}

/** Leaves that may hold anything but zeroes. */
async function dataLeaves(device: Device, geometry: Geometry): Promise<Set<number>> {
  const found = new Set<number>();
  for await (const { kind, offsetBytes, lengthBytes } of alignedRuns(device, CANONICAL_BYTES)) {
    if (kind !== 'data') continue;
    const last = Math.min(offsetBytes + lengthBytes, geometry.sizeBytes) - 1;
    for (let at = Math.floor(offsetBytes / LEAF_BYTES); at * LEAF_BYTES <= last; at++) {
      found.add(at);
    }
  }
  return found;
}

async function leafOf(
  device: Device,
  geometry: Geometry,
  index: number,
  pool: CodecPool,
): Promise<Uint8Array> {
  const lengthBytes = coveredBytes(geometry, 0, index);
  const memory = new SharedArrayBuffer(lengthBytes);
  const count = Math.ceil(lengthBytes / CANONICAL_BYTES);
  const digests = new SharedArrayBuffer(count * DIGEST_ENTRY_BYTES);
  await device.read(new Uint8Array(memory), index * LEAF_BYTES);
  await pool.run<'digest'>({
    kind: 'digest',
    data: { memory, at: 0, lengthBytes },
    chunkBytes: CANONICAL_BYTES,
    digests: { memory: digests, at: 0, lengthBytes: digests.byteLength },
  });
  const hashes = new Uint8Array(count * SHA256_BYTES);
  const view = new DataView(digests);
  for (let at = 0; at < count; at++) {
    const entry = at * DIGEST_ENTRY_BYTES;
    const zero = view.getUint32(entry, true) === 1;
    const rest = Math.min(CANONICAL_BYTES, lengthBytes - at * CANONICAL_BYTES);
    const hash = zero ? zeroChunkDigest(rest) : new Uint8Array(digests, entry + 8, SHA256_BYTES);
    hashes.set(hash, at * SHA256_BYTES);
  }
  return nodeDigest(0, hashes);
}

function root(geometry: Geometry, leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return nodeDigest(0, new Uint8Array(0));
  let nodes = leaves;
  for (let level = 1; level <= treeHeight(geometry); level++) {
    const above: Uint8Array[] = [];
    for (let at = 0; at < nodes.length; at += FANOUT) {
      above.push(nodeDigest(level, new Uint8Array(Buffer.concat(nodes.slice(at, at + FANOUT)))));
    }
    nodes = above;
  }
  return nodes[0]!;
}
