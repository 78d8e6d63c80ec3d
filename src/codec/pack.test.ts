/** Goal: a packed window gives back what was read, whether or not it compresses or has a past. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { equalBytes, SHA256_BYTES, sha256 } from '../core/index.ts';
import { parseFrame, plainRecord, plainSection } from './frame.ts';
import { runJob } from './jobs.ts';
import {
  frameRoomBytes,
  PACKED_IN_VAIN,
  PACKED_PATCH,
  PACKED_PLAIN,
  PACKED_ZERO,
  type PackJob,
  plainReference,
} from './pack.ts';
import { decodePatch } from './patch.ts';
import { isZero } from './zero.ts';

const noise = randomBytes(64 * 1024);

type Kind = 'zero' | 'noise' | 'text' | 'edited';

/** What a piece holds, and what was there before if that is known. */
function contentOf(kind: Kind, lengthBytes: number): { now: Uint8Array; old?: Uint8Array } {
  if (kind === 'zero') return { now: new Uint8Array(lengthBytes) };
  const old = noise.slice(0, lengthBytes);
  if (kind === 'noise') return { now: noise.slice(1, 1 + lengthBytes), old };
  if (kind === 'text') return { now: new Uint8Array(lengthBytes).fill(7) };
  const now = old.slice();
  now[lengthBytes >> 1]! ^= 0xff;
  return { now, old };
}

type Laid = { readonly job: PackJob; readonly contents: readonly ReturnType<typeof contentOf>[] };

/** As an agent lays a window out: hashes, room for a head (or none), content. */
function laidOut(kinds: readonly Kind[], lengthBytes: number, roomBytes: number): Laid {
  const contents = kinds.map((kind) => contentOf(kind, lengthBytes));
  const hashBytes = kinds.length * SHA256_BYTES;
  const start = hashBytes + roomBytes;
  const beyondBytes = roomBytes > 0 ? 0 : 1024;
  const memory = new SharedArrayBuffer(start + kinds.length * lengthBytes + beyondBytes);
  const old = new SharedArrayBuffer(kinds.length * lengthBytes);
  const pieces = contents.map(({ now, old: was }, index) => {
    const at = start + index * lengthBytes;
    const oldAt = index * lengthBytes;
    new Uint8Array(memory, at, lengthBytes).set(now);
    if (was !== undefined) new Uint8Array(old, oldAt, lengthBytes).set(was);
    const hashAt = index * SHA256_BYTES;
    return { at, lengthBytes, hashAt, ...(was !== undefined && { oldAt }) };
  });
  const range = { memory, at: 0, lengthBytes: memory.byteLength };
  const frame = { compression: { algorithm: 'zstd', level: 1 }, fromAt: hashBytes } as const;
  return { job: { kind: 'pack', memory: range, pieces, isHashed: false, old, frame }, contents };
}

const FATES = {
  zero: PACKED_ZERO,
  noise: PACKED_IN_VAIN,
  text: PACKED_PLAIN,
  edited: PACKED_PATCH,
} as const;

function checkPacked(kinds: readonly Kind[], { job, contents }: Laid): { readonly at: number } {
  const { at, storedBytes, fates } = runJob<'pack'>(job);
  assert.deepEqual(
    [...fates],
    kinds.map((kind) => FATES[kind]),
  );
  for (const [index, { now }] of contents.entries()) {
    const hash = new Uint8Array(job.memory.memory, index * SHA256_BYTES, SHA256_BYTES);
    if (kinds[index] === 'zero') assert(isZero(hash));
    else assert(equalBytes(hash, sha256(now)));
  }
  const left = contents.filter((_, index) => kinds[index] !== 'zero');
  if (left.length === 0) {
    assert.equal(storedBytes, 0);
    return { at };
  }
  const frame = parseFrame(new Uint8Array(job.memory.memory, at, storedBytes));
  assert.equal(frame.records.length, left.length);
  const plain = plainSection(frame);
  for (const [index, record] of frame.records.entries()) {
    const { now, old } = left[index]!;
    if (record.parents.length === 0) assert(equalBytes(plainRecord(plain, record), now));
    else {
      assert(equalBytes(record.parents[0]!, plainReference(old!)));
      const patch = frame.bytes.subarray(record.at, record.at + record.storedBytes);
      assert(equalBytes(decodePatch(patch, [old!], now.byteLength), now));
    }
  }
  return { at };
}

const kinds = fc.array(fc.constantFrom<Kind>('zero', 'noise', 'text', 'edited'), {
  minLength: 1,
  maxLength: 12,
});

test('records and hashes are those of what was read, with room before it and without', () => {
  const sizes = fc.constantFrom(4096, 8192, 5000);
  fc.assert(
    fc.property(kinds, sizes, fc.boolean(), (chosen, lengthBytes, hasRoom) => {
      const roomBytes = hasRoom ? frameRoomBytes(chosen.length) : 0;
      checkPacked(chosen, laidOut(chosen, lengthBytes, roomBytes));
    }),
    { numRuns: 60 },
  );
});

test('what does not compress stays where it was read', () => {
  const chosen: Kind[] = Array.from({ length: 16 }, () => 'noise');
  const laid = laidOut(chosen, 4096, frameRoomBytes(chosen.length));
  const { at } = checkPacked(chosen, laid);
  assert(at > laid.job.frame!.fromAt && at < laid.job.pieces[0]!.at);
});

test('patches fit in though what follows them does not compress', () => {
  for (const chosen of [
    ['edited', 'noise'],
    ['edited', 'edited', 'noise', 'noise'],
  ] as const) {
    const { at } = checkPacked(chosen, laidOut(chosen, 4096, frameRoomBytes(chosen.length)));
    assert.equal(at, chosen.length * SHA256_BYTES);
  }
});

test('hashes that are there are believed, and without a frame nothing else is touched', () => {
  const { job, contents } = laidOut(['noise', 'zero'], 4096, 64);
  assert.deepEqual(runJob<'pack'>({ ...job, frame: undefined }).storedBytes, 0);
  for (const [index, { at }] of job.pieces.entries()) {
    assert(equalBytes(new Uint8Array(job.memory.memory, at, 4096), contents[index]!.now));
  }
  const { fates } = runJob<'pack'>({ ...job, isHashed: true });
  assert.deepEqual([...fates], [PACKED_IN_VAIN, PACKED_ZERO]);
});
