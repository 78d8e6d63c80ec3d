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
  Slots,
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
  const memories = new Slots<PartMemory>(
    Array.from({ length: pool.threads + 1 }, () => ({
      data: new SharedArrayBuffer(PART_BYTES),
      digests: new SharedArrayBuffer((PART_BYTES / CANONICAL_BYTES) * DIGEST_ENTRY_BYTES),
    })),
  );
  const data = await dataLeaves(device, geometry);
  const indexes = Array.from({ length: leafCount(geometry) }, (_, index) => index);
  for await (const digest of mapOrdered(indexes, pool.threads + 1, (index) => leafDigest(index))) {
    checkInterrupted(options.signal);
    leaves.push(digest);
    const doneBytes = Math.min(sizeBytes, leaves.length * LEAF_BYTES);
    options.onProgress?.({ doneBytes, totalBytes: sizeBytes });
  }
  return digestOfLeaves(geometry, leaves);

  function leafDigest(index: number): Uint8Array | Promise<Uint8Array> {
    const spans = data.get(index);
    if (spans === undefined) return zeroDigest(geometry, 0, index);
    return leafOf(device, geometry, index, spans, pool, memories);
  }
}

/** What is read and hashed at a time; the memory for it is used again and again. */
const PART_BYTES = 1024 * 1024;

type PartMemory = { readonly data: SharedArrayBuffer; readonly digests: SharedArrayBuffer };

/** A run of data inside a leaf. */
type Span = { readonly at: number; readonly lengthBytes: number };

/** Per leaf that may hold anything but zeroes: which canonical chunks to look at. */
async function dataLeaves(device: Device, geometry: Geometry): Promise<Map<number, Span[]>> {
  const found = new Map<number, Span[]>();
  for await (const { kind, offsetBytes, lengthBytes } of alignedRuns(device, CANONICAL_BYTES)) {
    if (kind !== 'data') continue;
    const end = Math.min(offsetBytes + lengthBytes, geometry.sizeBytes);
    for (let at = offsetBytes; at < end; ) {
      const index = Math.floor(at / LEAF_BYTES);
      const stop = Math.min(end, (index + 1) * LEAF_BYTES);
      const spans = found.get(index) ?? [];
      found.set(index, spans);
      spans.push({ at: at - index * LEAF_BYTES, lengthBytes: stop - at });
      at = stop;
    }
  }
  return found;
}

async function leafOf(
  device: Device,
  geometry: Geometry,
  index: number,
  spans: readonly Span[],
  pool: CodecPool,
  memories: Slots<PartMemory>,
): Promise<Uint8Array> {
  const leafBytes = coveredBytes(geometry, 0, index);
  const count = Math.ceil(leafBytes / CANONICAL_BYTES);
  const hashes = new Uint8Array(count * SHA256_BYTES);
  for (let at = 0; at < count; at++) {
    const lengthBytes = Math.min(CANONICAL_BYTES, leafBytes - at * CANONICAL_BYTES);
    hashes.set(zeroChunkDigest(lengthBytes), at * SHA256_BYTES);
  }
  const memory = await memories.take();
  try {
    for (const { at: from, lengthBytes } of spans) {
      for (let at = from; at < from + lengthBytes; at += PART_BYTES) {
        const rest = Math.min(PART_BYTES, from + lengthBytes - at);
        await hashPart(device, index * LEAF_BYTES + at, rest, pool, memory, (chunk, hash) => {
          hashes.set(hash, (at / CANONICAL_BYTES + chunk) * SHA256_BYTES);
        });
      }
    }
  } finally {
    memories.give(memory);
  }
  return nodeDigest(0, hashes);
}

/** Tells the hash of each chunk of the range that is not all zero. */
async function hashPart(
  device: Device,
  offsetBytes: number,
  lengthBytes: number,
  pool: CodecPool,
  { data, digests }: PartMemory,
  tell: (chunk: number, hash: Uint8Array) => void,
): Promise<void> {
  const count = Math.ceil(lengthBytes / CANONICAL_BYTES);
  await device.read(new Uint8Array(data, 0, lengthBytes), offsetBytes);
  await pool.run<'digest'>({
    kind: 'digest',
    data: { memory: data, at: 0, lengthBytes },
    chunkBytes: CANONICAL_BYTES,
    digests: { memory: digests, at: 0, lengthBytes: digests.byteLength },
  });
  const view = new DataView(digests);
  for (let chunk = 0; chunk < count; chunk++) {
    const entry = chunk * DIGEST_ENTRY_BYTES;
    if (view.getUint32(entry, true) === 1) continue;
    tell(chunk, new Uint8Array(digests, entry + 8, SHA256_BYTES));
  }
}

/** The volume digest above the digests of all leaves, in order. */
export function digestOfLeaves(geometry: Geometry, leaves: readonly Uint8Array[]): Uint8Array {
  let nodes = leaves.length === 0 ? [nodeDigest(0, new Uint8Array(0))] : leaves;
  for (let level = 1; level <= treeHeight(geometry); level++) {
    const above: Uint8Array[] = [];
    for (let at = 0; at < nodes.length; at += FANOUT) {
      above.push(nodeDigest(level, new Uint8Array(Buffer.concat(nodes.slice(at, at + FANOUT)))));
    }
    nodes = above;
  }
  return volumeDigest(geometry, nodes[0]!);
}
