/**
 * The jobs that are worth a thread: digest (what is in this buffer), patch (chunks against their
 * former versions), match (which chunks resemble these), learn and merge (what is to be matched
 * later), encode (make a frame), decode (fill a buffer from frames), parity (rows that make up for
 * lost ones), pack (content on its way). Pure functions over shared memory, run by
 * `codec-worker.ts` or in place.
 */
import assert from 'node:assert/strict';
import { SHA256_BYTES, sha256 } from '../core/index.ts';
import type { Compression } from './compression.ts';
import { type DecodeStep, decodeSteps } from './decode.ts';
import { fillRows } from './erasure.ts';
import { CodecError, damaged } from './errors.ts';
import { encodeFrame, type FrameInput } from './frame.ts';
import { FRAME_SEAL_AT, type FramePlace, sealFrame } from './frame-seal.ts';
import { type LearnJob, learn, type MergeJob, type MergeResult, merge } from './learn.ts';
import { type PackJob, type PackResult, pack } from './pack.ts';
import {
  CLEARLY_WORTH,
  HARDLY_WORTH,
  type ParentChoice,
  smallestPatch,
  worthwhile,
} from './patch-choice.ts';
import { bytesOf, openShared, type SharedFrame, type SharedRange } from './shared-frame.ts';
import { Shelf } from './shelf.ts';
import { type Signer, type Signing, signer } from './signing.ts';
import { findSimilar, SimilarTable, samplesPerChunk, takeSamples } from './similar.ts';
import { isZero } from './zero.ts';

/** Per chunk: a u32 that is 1 for all zero, a u32 for the checksum, the id: see signing.ts. */
export const DIGEST_ENTRY_BYTES = 8 + SHA256_BYTES;

export type DigestJob = {
  readonly kind: 'digest';
  readonly data: SharedRange;
  readonly chunkBytes: number;
  /** Room for one entry per chunk; ids of zero chunks are left as they were. */
  readonly digests: SharedRange;
  readonly signing?: Signing | undefined;
  /** Without them, as if they were 0: who has the chunks already needs none. */
  readonly checksums?: boolean;
  /** Takes the same entries with plain SHA-256, where ids are something else. */
  readonly hashes?: SharedRange | undefined;
  /** Room for `samplesPerChunk` u32 per chunk; those of zero chunks are left as they were. */
  readonly samples?: SharedRange | undefined;
};

/** Frames and how to get chunks out of them; `ids` (32 bytes each) and `checksums` per step. */
export type DecodePlan = {
  readonly frames: readonly SharedFrame[];
  readonly steps: readonly DecodeStep[];
  readonly ids: Uint8Array;
  readonly checksums: Uint32Array;
  /** Per frame: what it was sealed as; undefined where it is plain. */
  readonly places?: readonly (FramePlace | undefined)[];
  readonly signing?: Signing | undefined;
};

export type EncodeRecord = {
  readonly data: SharedRange;
  /** The record is this long; `data` stands at `skipBytes` of it, all else is zero. */
  readonly rawBytes: number;
  readonly skipBytes: number;
  readonly choices: readonly ParentChoice[];
  /** `data` is a patch already, against these parents. */
  readonly patchOf?: readonly Uint8Array[] | undefined;
};

/** Makes patches against former versions; those that are clearly worth it go to the target. */
export type PatchJob = {
  readonly kind: 'patch';
  readonly records: readonly Pick<EncodeRecord, 'data' | 'choices'>[];
  readonly plan: DecodePlan;
  /** An eighth of the records' data, CLEARLY_WORTH. */
  readonly target: SharedRange;
};

/**
 * `choice` is the best one, -1 if none is any good; `storedBytes` is 0 unless its patch is so small
 * that nothing better has to be looked for.
 */
export type PatchResult = {
  readonly choice: number;
  readonly at: number;
  readonly storedBytes: number;
};

/** Looks chunks up in tables of samples. */
export type MatchJob = {
  readonly kind: 'match';
  readonly chunks: readonly SharedRange[];
  readonly tables: readonly SharedArrayBuffer[];
  readonly limit: number;
};

export type EncodeJob = {
  readonly kind: 'encode';
  readonly records: readonly EncodeRecord[];
  readonly plan: DecodePlan;
  readonly compression: Compression;
  readonly target: SharedRange;
  /** Seals the frame; the answer then has the SHA-256 of what is stored. */
  readonly place?: FramePlace | undefined;
};

/** `chosen[i]` is the index in record i's `choices`, or -1 for none. */
export type EncodeResult = {
  readonly storedBytes: number;
  readonly chosen: readonly number[];
  readonly storedHash?: Uint8Array | undefined;
};

export type DecodeOutput = {
  readonly step: number;
  readonly at: number;
  readonly lengthBytes: number;
};

export type DecodeJob = {
  readonly kind: 'decode';
  readonly plan: DecodePlan;
  /** Copies the result of `step`, which must have that length, to `at` of the target. */
  readonly outputs: readonly DecodeOutput[];
  readonly target: SharedRange;
  /** Both signatures of every step are compared; otherwise the ids of what is put out. */
  readonly checksAll?: boolean;
};

/** Fills the last `parity` of `rows` rows of equal length, in words; see `fillRows`. */
export type ParityJob = {
  readonly kind: 'parity';
  readonly data: SharedRange;
  readonly rows: number;
  readonly parity: number;
};

export type Job =
  | DigestJob
  | PatchJob
  | MatchJob
  | LearnJob
  | MergeJob
  | EncodeJob
  | DecodeJob
  | ParityJob
  | PackJob;

export type JobResult = {
  digest: undefined;
  patch: PatchResult[];
  /** Per chunk: numbers of chunks that resemble it, see `findSimilar`. */
  match: number[][];
  learn: undefined;
  merge: MergeResult;
  encode: EncodeResult;
  decode: undefined;
  parity: undefined;
  pack: PackResult;
};

export function runJob<K extends Job['kind']>(job: Extract<Job, { kind: K }>): JobResult[K];
export function runJob(job: Job): JobResult[Job['kind']] {
  switch (job.kind) {
    case 'digest':
      return digest(job);
    case 'patch':
      return patch(job);
    case 'match':
      return match(job);
    case 'learn':
      return learn(job);
    case 'merge':
      return merge(job);
    case 'encode':
      return encode(job);
    case 'decode':
      return decode(job);
    case 'parity':
      return parity(job);
    case 'pack':
      return pack(job);
  }
}

function digest(job: DigestJob): undefined {
  const data = bytesOf(job.data);
  const entries = bytesOf(job.digests);
  const view = new DataView(job.digests.memory, job.digests.at, job.digests.lengthBytes);
  const hashes = job.hashes && bytesOf(job.hashes);
  const { idOf, checksumOf } = signer(job.signing);
  const samples = job.samples && samplesOf(job.samples);
  const each = samplesPerChunk(job.chunkBytes);
  let entry = 0;
  let sample = 0;
  for (let at = 0; at < data.byteLength; at += job.chunkBytes) {
    const chunk = data.subarray(at, Math.min(data.byteLength, at + job.chunkBytes));
    const zero = isZero(chunk);
    view.setUint32(entry, zero ? 1 : 0, true);
    if (!zero) {
      const hash = sha256(chunk);
      const id = idOf(hash);
      if (job.checksums === true) view.setUint32(entry + 4, checksumOf(chunk, id), true);
      entries.set(id, entry + 8);
      hashes?.set(hash, entry + 8);
      if (samples !== undefined) takeSamples(chunk, samples.subarray(sample, sample + each));
    }
    hashes?.set(entries.subarray(entry, entry + 4), entry);
    entry += DIGEST_ENTRY_BYTES;
    sample += each;
  }
}

function samplesOf({ memory, at, lengthBytes }: SharedRange): Uint32Array {
  return new Uint32Array(memory, at, lengthBytes / 4);
}

function match(job: MatchJob): number[][] {
  const tables = job.tables.map((memory) => new SimilarTable(memory));
  return job.chunks.map((chunk) => findSimilar(bytesOf(chunk), tables, job.limit));
}

function patch(job: PatchJob): PatchResult[] {
  const known = parentsOf(job);
  const target = bytesOf(job.target);
  let end = 0;
  return job.records.map(({ data, choices }) => {
    const bytes = bytesOf(data);
    const best = smallestPatch(bytes, choices, known);
    if (best === undefined || best.patch.byteLength > bytes.byteLength * HARDLY_WORTH) {
      return { choice: -1, at: 0, storedBytes: 0 };
    }
    const { choice, patch } = best;
    if (patch.byteLength > bytes.byteLength * CLEARLY_WORTH) {
      return { choice, at: 0, storedBytes: 0 };
    }
    const at = end;
    target.set(patch, at);
    end += patch.byteLength;
    return { choice, at, storedBytes: patch.byteLength };
  });
}

/** Decodes the plan; `take` gets each result, not verified, in the order of `decodeSteps`. */
function decodePlan(plan: DecodePlan, take: (bytes: Uint8Array, step: number) => void): void {
  const frames = plan.frames.map((frame, at) => openShared(frame, plan.places?.[at]));
  decodeSteps(frames, plan.steps, take);
}

/** By its id, or by both signatures. What only others stand on shows in what they come to. */
function verify(
  { hasId, matches }: Signer,
  bytes: Uint8Array,
  plan: DecodePlan,
  { step, both }: { step: number; both: boolean },
): void {
  const id = plan.ids.subarray(step * SHA256_BYTES, (step + 1) * SHA256_BYTES);
  if (both ? matches(bytes, id, plan.checksums[step]!) : hasId(bytes, id)) return;
  const name = Buffer.from(id).toString('hex', 0, 8);
  throw new CodecError('CODEC_MISMATCH', `chunk ${name} does not have the bytes of its hash`, {
    hint: 'The repository is damaged there: run `ferry check --read-data`.',
  });
}

function decode(job: DecodeJob): undefined {
  const target = bytesOf(job.target);
  const wanted = new Map<number, DecodeOutput[]>();
  for (const output of job.outputs) {
    const known = wanted.get(output.step);
    if (known === undefined) wanted.set(output.step, [output]);
    else known.push(output);
  }
  const { plan, checksAll = false } = job;
  const signatures = signer(plan.signing);
  decodePlan(plan, (bytes, step) => {
    const outputs = wanted.get(step) ?? [];
    if (checksAll || outputs.length > 0) verify(signatures, bytes, plan, { step, both: checksAll });
    for (const { at, lengthBytes } of outputs) {
      if (bytes.byteLength !== lengthBytes) {
        // Genuine content in the wrong place would overwrite its neighbours, or leave a gap.
        throw damaged(`a chunk has ${bytes.byteLength} bytes where ${lengthBytes} are wanted`);
      }
      assert(at + bytes.byteLength <= target.byteLength, 'a chunk passes the end of the target');
      target.set(bytes, at);
    }
    wanted.delete(step);
  });
  assert(wanted.size === 0, 'an output of a step that is not there');
}

function parity(job: ParityJob): undefined {
  const { memory, at, lengthBytes } = job.data;
  const words = lengthBytes / job.rows / 4;
  const row = (number: number) => new Int32Array(memory, at + number * words * 4, words);
  const absent = Array.from({ length: job.parity }, (_, each) => job.rows - job.parity + each);
  fillRows(
    Array.from({ length: job.rows }, (_, number) => row(number)),
    absent,
    job.parity,
  );
}

function encode(job: EncodeJob): EncodeResult {
  const known = parentsOf(job);
  const chosen: number[] = [];
  const inputs: FrameInput[] = [];
  for (const record of job.records) {
    const bytes = bytesOf(record.data);
    const { rawBytes, skipBytes, choices, patchOf } = record;
    if (patchOf !== undefined) {
      inputs.push({ kind: 'patch', rawBytes, patch: bytes, parents: patchOf });
      chosen.push(-1);
      continue;
    }
    const best = worthwhile(bytes, smallestPatch(bytes, choices, known), job.compression);
    chosen.push(best?.choice ?? -1);
    if (best === undefined) inputs.push({ kind: 'plain', bytes, rawBytes, skipBytes });
    else {
      const parents = choices[best.choice]!.references;
      inputs.push({ kind: 'patch', rawBytes, patch: best.patch, parents });
    }
  }
  return { ...store(inputs, job), chosen };
}

function store(inputs: readonly FrameInput[], { compression, target, place }: EncodeJob) {
  const bytes = bytesOf(target);
  if (place === undefined) return { storedBytes: encodeFrame(inputs, compression, bytes) };
  const secretBytes = encodeFrame(inputs, compression, bytes.subarray(FRAME_SEAL_AT));
  const storedBytes = sealFrame(bytes, { clearBytes: 0, secretBytes }, place);
  return { storedBytes, storedHash: sha256(bytes.subarray(0, storedBytes)) };
}

/** Parents of the job at hand. */
const shelf = new Shelf();

/**
 * By step, those that are in choices; valid until the next job. A parent that no longer decodes is
 * no reason to fail: the chunks are then stored plain.
 */
function parentsOf({ plan, records }: PatchJob | EncodeJob): readonly (Uint8Array | undefined)[] {
  if (plan.steps.length === 0) return [];
  const wanted = new Set(records.flatMap(({ choices }) => choices.flatMap(({ steps }) => steps)));
  const signatures = signer(plan.signing);
  try {
    const parents: Uint8Array[] = [];
    shelf.clear();
    decodePlan(plan, (bytes, step) => {
      if (!wanted.has(step)) return;
      verify(signatures, bytes, plan, { step, both: false });
      parents[step] = shelf.put(bytes);
    });
    return parents;
  } catch (error) {
    if (error instanceof CodecError) return [];
    throw error;
  }
}
