/** Goal: docs/format.md suffices to restore snapshots: a reader made from it does. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { memory } from '../src/device/index.ts';
import { directoryStore } from '../src/objects/index.ts';
import { Repository } from '../src/store/index.ts';
import { backup } from '../src/transfer/backup/index.ts';
import { volumeDigest } from './format-bytes.ts';
import { Reader } from './format-reader.ts';
import { goldenEnv, goldens } from './golden/golden.ts';

for (const golden of goldens) {
  test(`a reader made from the document restores the golden repository ${golden.name}`, () => {
    const root = fileURLToPath(new URL(`golden/${golden.name}`, import.meta.url));
    const { password = '' } = golden;
    const reader = new Reader(root, { password });
    assert.equal(reader.snapshots.length, golden.versions.length);
    for (const [at, { volume, bytes }] of golden.versions.entries()) {
      const snapshot = reader.snapshots[at]!;
      assert.equal(snapshot.volume, volume);
      const found = reader.restore(snapshot);
      assert(found.equals(bytes), `snapshot ${at} differs`);
      assert.equal(volumeDigest(found), snapshot.digest);
    }
    for (const part of golden.parts) assert(reader.met.has(part), `${part} was not met`);
    if (golden.written === undefined) return;
    const words = reader.snapshots.map(({ held = false, tags = [] }) => [held, ...tags].join());
    assert.deepEqual(words, ['true,b,golden', 'false,a,golden', 'false,b,golden']);
  });
}

for (const password of ['', 'of the long one']) {
  const kind = password === '' ? 'plain' : 'encrypted';
  test(`${kind}: it restores a long history of today, by segments and from a checkpoint`, (t) =>
    longHistory(t, password));
}

async function longHistory(t: TestContext, password: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-format-'));
  t.after(() => rm(folder, { recursive: true }));
  const env = goldenEnv('long');
  await using objects = await directoryStore(env.files, folder, env.random);
  const key = { password, kdf: { logN: 10, r: 8, p: 1 } };
  await Repository.init(env, objects, password === '' ? {} : { key });
  const secret = async () => ({ password });
  const repository = await Repository.open(env, objects, { secret });
  const versions: Buffer[] = [];
  let bytes = Buffer.alloc(9 * 2 ** 20 + 9);
  for (let round = 0; round < 70; round++) {
    bytes = Buffer.from(bytes);
    bytes.write(`round ${round} `.repeat(50), (round % 3) * 4 * 2 ** 20 + 100 * round);
    await using device = memory('source', bytes.length);
    for (let at = 0; at < 3; at++) {
      const from = at * 4 * 2 ** 20;
      await device.write(bytes.subarray(from, Math.min(bytes.length, from + 65536)), from, 0);
    }
    const request = { volume: 'disk', origin: 'test', changeSource: 'full' };
    const { snapshot } = await backup(env, repository, device, request);
    if (round % 9 === 4) await repository.forget([snapshot]);
    else versions.push(bytes);
  }
  // Checkpoints stand upon each other from the third on.
  const [first] = repository.snapshots();
  while (repository.log.state.sequence < 200) await repository.tag([first!], { added: ['old'] });
  for (const checkpoint of [0, 128, 192]) {
    const reader = new Reader(folder, { fromCheckpoint: checkpoint, password });
    assert(reader.met.has('segment'));
    assert.equal(reader.met.has('checkpoint'), checkpoint > 0);
    assert.equal(reader.met.has('table of snapshots'), checkpoint > 0);
    assert.equal(reader.met.has('checkpoint since another'), checkpoint === 192);
    assert.deepEqual(reader.snapshots[0]!.tags, ['old']);
    assert.equal(reader.snapshots.length, versions.length);
    for (const at of [0, 32, 33, versions.length - 1]) {
      const snapshot = reader.snapshots[at]!;
      const found = reader.restore(snapshot);
      assert(found.equals(versions[at]!), `snapshot ${at} differs`);
      assert.equal(volumeDigest(found), snapshot.digest);
    }
  }
}
