/** Goal: a piece is packed as a patch against its likes where that is smaller, and only there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SHA256_BYTES, sha256 } from '../core/index.ts';
import { parseFrame } from './frame.ts';
import { runJob } from './jobs.ts';
import { PACKED_IN_VAIN, PACKED_LIKE, PACKED_PATCH, PACKED_PLAIN, plainReference } from './pack.ts';
import { decodePatch } from './patch.ts';

const LENGTH = 4096;

function noise(lengthBytes: number, seed: number): Uint8Array {
  const parts = Array.from({ length: Math.ceil(lengthBytes / SHA256_BYTES) }, (_, at) =>
    sha256(Uint8Array.of(seed, at, at >> 8)),
  );
  return Uint8Array.from(Buffer.concat(parts)).subarray(0, lengthBytes);
}

function sharedOf(...parts: readonly Uint8Array[]): SharedArrayBuffer {
  const bytes = Buffer.concat(parts);
  const memory = new SharedArrayBuffer(bytes.byteLength);
  new Uint8Array(memory).set(bytes);
  return memory;
}

const likes = [noise(8192, 1), noise(5000, 2)];
const ranges = [
  { at: 0, lengthBytes: 8192 },
  { at: 8192, lengthBytes: 5000 },
];
/** A half from each of them. */
const mixed = Uint8Array.from([...likes[0]!.subarray(10, 2058), ...likes[1]!.subarray(7, 2055)]);

function packed(now: Uint8Array, old: Uint8Array | undefined, withLikes = ranges) {
  const room = new Uint8Array(256 + SHA256_BYTES);
  const memory = sharedOf(room, now, new Uint8Array(1024));
  const piece = { at: room.byteLength, lengthBytes: LENGTH, hashAt: 0, likes: withLikes };
  const { fates, at, storedBytes } = runJob<'pack'>({
    ...{ kind: 'pack', memory: { memory, at: 0, lengthBytes: memory.byteLength } },
    pieces: [{ ...piece, ...(old !== undefined && { oldAt: 0 }) }],
    ...{ isHashed: false, likes: sharedOf(...likes) },
    ...(old !== undefined && { old: sharedOf(old) }),
    frame: { compression: { algorithm: 'zstd', level: 1 }, fromAt: SHA256_BYTES },
  });
  return { fate: fates[0], frame: parseFrame(new Uint8Array(memory, at, storedBytes)) };
}

test('what resembles several parts is a patch against all of them, named by the first', () => {
  const { fate, frame } = packed(mixed, undefined);
  assert.equal(fate, PACKED_LIKE);
  const [{ parents, at, storedBytes }] = frame.records as [(typeof frame.records)[number]];
  assert.ok(storedBytes < 200);
  assert.deepEqual(parents, [plainReference(likes[0]!)]);
  const patch = frame.bytes.subarray(at, at + storedBytes);
  assert.deepEqual(Buffer.from(mixed), Buffer.from(decodePatch(patch, likes, LENGTH)));
});

test('the smaller patch is taken, and none where none is clearly smaller', () => {
  const half = noise(LENGTH, 3);
  half.set(mixed.subarray(0, 2500)); // A patch against it takes more than one against the likes.
  assert.equal(packed(mixed, half).fate, PACKED_LIKE);
  const edited = mixed.slice();
  edited[99]! ^= 0xff;
  assert.equal(packed(mixed, edited).fate, PACKED_PATCH);
  assert.equal(packed(noise(LENGTH, 4), undefined).fate, PACKED_PLAIN);
  assert.equal(packed(noise(LENGTH, 4), noise(LENGTH, 5)).fate, PACKED_IN_VAIN);
  assert.equal(packed(new Uint8Array(LENGTH).fill(7), undefined).fate, PACKED_PLAIN);
  assert.equal(packed(mixed, undefined, []).fate, PACKED_PLAIN);
});
