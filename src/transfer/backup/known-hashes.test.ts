/** Goal: what is known by its hash, and in the repository, is not read, and no snapshot differs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeEnv, sha256 } from '../../core/index.ts';
import { memoryStore } from '../../objects/index.ts';
import { backUp, init, kinds, noise, open, verifyAll } from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const CHUNK = 65536;

const first = noise(30 * CHUNK, 1);
/** Most of that elsewhere, some of it new in between, and a short chunk at the end. */
const second = noise(36 * CHUNK + 100, 2);
second.set(first, 3 * CHUNK);
second.set(noise(CHUNK, 3), 20 * CHUNK);
const KNOWN_BYTES = 29 * CHUNK;

function hashAt(offsetBytes: number): Uint8Array | undefined {
  const end = offsetBytes + CHUNK;
  return end <= second.byteLength ? sha256(second.subarray(offsetBytes, end)) : undefined;
}

for (const kind of kinds) {
  for (const chunkBytes of [CHUNK, CHUNK / 4]) {
    const name = `${kind}, chunks of ${chunkBytes}`;
    test(`${name}: what the repository has is taken by its hash, all else is read`, async () => {
      const objects = memoryStore('known');
      await init(env, objects, kind, { chunkBytes });
      const one = await backUp(env, await open(env, objects), first);
      const other = { volume: 'other', hashAt };
      const { snapshot, readBytes } = await backUp(env, await open(env, objects), second, other);
      const knownBytes = chunkBytes === CHUNK ? KNOWN_BYTES : 0;
      assert.equal(readBytes, second.byteLength - knownBytes);
      const expected = new Map([
        [one.snapshot.id, first],
        [snapshot.id, second],
      ]);
      await verifyAll(env, objects, expected);
    });
  }
}
