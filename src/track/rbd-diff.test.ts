/** Goal: what rbd printed is taken for the snapshot that it is named for, whole, or not at all. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeEnv } from '../core/index.ts';
import { memory } from '../device/index.ts';
import type { Snapshot } from '../store/index.ts';
import { rbdDiffSource } from './rbd-diff.ts';

const SIZE = 64 * 2 ** 20;
const since = { id: '1f3a90c2aabb', volume: 'web', sizeBytes: SIZE } as Snapshot;
const good = JSON.stringify([
  { offset: 8_388_608, length: 4_194_304, exists: 'true' },
  { offset: 0, length: 4096, exists: 'true' },
  { offset: 4096, length: 4096, exists: 'false' },
]);

async function ask(name: string, text: string | undefined, asked = since, sizeBytes = SIZE) {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-rbd-'));
  try {
    const path = join(folder, name);
    if (text !== undefined) await writeFile(path, text);
    const source = rbdDiffSource({ env: nodeEnv(), path });
    return await source.changes({ volume: 'web', device: memory('web', sizeBytes), since: asked });
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('extents are taken in order and joined, those that became empty too', async () => {
  const answer = await ask('since-1f3a90c2.json', good);
  assert.equal(answer.kind, 'changes');
  if (answer.kind !== 'changes') return;
  assert.deepEqual(await Array.fromAsync(answer.changed), [
    { offsetBytes: 0, lengthBytes: 8192 },
    { offsetBytes: 8_388_608, lengthBytes: 4_194_304 },
  ]);
});

test('a list that is not for this snapshot and this size, or not whole, is not believed', async () => {
  const cases: [string, string | undefined, string][] = [
    ['since-1f3a90c3.json', good, 'stale'],
    ['since-1f3a90.json', good, 'stale'],
    ['1f3a90c2.json', good, 'stale'],
    ['since-1f3a90c2.json', undefined, 'absent'],
    ['since-1f3a90c2.json', good.slice(0, -1), 'lost'],
    ['since-1f3a90c2.json', '{}', 'lost'],
    ['since-1f3a90c2.json', '[{"offset":"0","length":1}]', 'lost'],
    ['since-1f3a90c2.json', '[{"offset":-1,"length":1}]', 'lost'],
    ['since-1f3a90c2.json', `[{"offset":${SIZE},"length":1}]`, 'resized'],
  ];
  for (const [name, text, reason] of cases) {
    const answer = await ask(name, text);
    assert.deepEqual([name, answer.kind === 'cannot-say' && answer.reason], [name, reason]);
  }
  const grown = await ask('since-1f3a90c2.json', good, since, SIZE + 512);
  assert.equal(grown.kind === 'cannot-say' && grown.reason, 'resized');
});
