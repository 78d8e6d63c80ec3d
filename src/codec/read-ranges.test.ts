/** Goal: a thread reads what is asked for of the file that is meant, and says why it cannot. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { equalBytes, nodeEnv } from '../core/index.ts';
import { CHUNK, onThreads, volume } from './pool.suite.ts';
import { codecPool } from './pool.ts';

test('a thread reads ranges of a file, and nothing of one that is not the one that is meant', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pool-'));
  const path = join(directory, 'disk');
  const bytes = volume();
  await writeFile(path, bytes);
  const { dev: device, ino: inode } = await stat(path);
  const file = { path, device, inode };
  const memory = new SharedArrayBuffer(CHUNK + 200);
  const ranges = Float64Array.of(2 * CHUNK + 1, CHUNK, 100, 50, 100, 0);
  await using inPlace = codecPool(nodeEnv(), 0);
  assert.equal(inPlace.read({ file, memory, ranges }), undefined);
  await onThreads(nodeEnv(), async (pool) => {
    await pool.read({ file, memory, ranges });
    const read = new Uint8Array(memory);
    assert.ok(equalBytes(read.subarray(0, 100), bytes.subarray(50, 150)));
    assert.ok(
      equalBytes(read.subarray(100, 100 + CHUNK), bytes.subarray(2 * CHUNK + 1, 3 * CHUNK + 1)),
    );
    const beyond = Float64Array.of(bytes.byteLength - 10, 11, 0);
    await assert.rejects(pool.read({ file, memory, ranges: beyond })!, /disk ends at/);
    const other = { ...file, inode: inode + 1 };
    await assert.rejects(pool.read({ file: other, memory, ranges })!, /is another file by now/);
    const gone = { ...file, path: `${path}.gone` };
    await assert.rejects(pool.read({ file: gone, memory, ranges })!, { code: 'ENV_NOT_FOUND' });
  });
  await rm(directory, { recursive: true });
});
