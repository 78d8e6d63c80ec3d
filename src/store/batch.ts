/** A batch: what is read of the volume at a time, and what a thread finds out about it. */
import {
  type CodecPool,
  DIGEST_ENTRY_BYTES,
  type Signing,
  samplesPerChunk,
} from '../codec/index.ts';
import { CANONICAL_BYTES } from './volume-digest.ts';

/** What one batch carries; a hand-off to a thread pays from about here. */
export const BATCH_BYTES = 1024 * 1024;

/** Memory for one batch of the volume, to be filled by the caller. */
export type Batch = {
  readonly memory: SharedArrayBuffer;
  readonly bytes: Uint8Array;
  readonly digests: SharedArrayBuffer;
  readonly canonical: SharedArrayBuffer;
  /** Of each chunk's content, where similar chunks are looked for. */
  readonly samples: SharedArrayBuffer;
};

export function newBatch(chunkBytes: number, withSamples: boolean): Batch {
  const memory = new SharedArrayBuffer(BATCH_BYTES);
  const chunks = BATCH_BYTES / chunkBytes;
  const sampleBytes = withSamples ? samplesPerChunk(chunkBytes) * 4 : 0;
  return {
    memory,
    bytes: new Uint8Array(memory),
    digests: new SharedArrayBuffer(chunks * DIGEST_ENTRY_BYTES),
    canonical: new SharedArrayBuffer((BATCH_BYTES / CANONICAL_BYTES) * DIGEST_ENTRY_BYTES),
    samples: new SharedArrayBuffer(chunks * sampleBytes),
  };
}

/**
 * Has a thread take what a batch's chunks are known by; canonical hashes, for the volume digest,
 * apart only where ids are something else.
 */
export async function digestBatch(
  pool: CodecPool,
  batch: Batch,
  lengthBytes: number,
  { chunkBytes, signing }: { chunkBytes: number; signing: Signing | undefined },
): Promise<void> {
  const range = (memory: SharedArrayBuffer, length = memory.byteLength) => {
    return { memory, at: 0, lengthBytes: length };
  };
  const data = range(batch.memory, lengthBytes);
  const canonical = range(batch.canonical);
  const digests = range(batch.digests);
  const samples = batch.samples.byteLength > 0 ? range(batch.samples) : undefined;
  const checksums = hasChecksums(batch);
  const own = { kind: 'digest', data, chunkBytes, digests, signing, samples, checksums } as const;
  if (chunkBytes === CANONICAL_BYTES) {
    await pool.run<'digest'>({ ...own, hashes: signing === undefined ? undefined : canonical });
    return;
  }
  await pool.run<'digest'>(own);
  const job = { kind: 'digest', data, chunkBytes: CANONICAL_BYTES, digests: canonical } as const;
  await pool.run<'digest'>(job);
}

/** Where most chunks are known before, the few that are new have theirs taken one by one. */
export function hasChecksums({ samples }: Batch): boolean {
  return samples.byteLength === 0;
}

/** A view of the samples of the chunk at `offset` of the batch; empty where none are taken. */
export function samplesOf({ samples }: Batch, offset: number, chunkBytes: number): Uint32Array {
  if (samples.byteLength === 0) return new Uint32Array(0);
  const each = samplesPerChunk(chunkBytes);
  return new Uint32Array(samples, (offset / chunkBytes) * each * 4, each);
}
