/** Goal: every pack's turn comes, whatever the clock says; what was read lately can be left out. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { nodeEnv } from '../core/index.ts';
import { choosePacks, type ReadRun, readFiles } from './read-memory.ts';

const env = nodeEnv();
const ID = 'ab'.repeat(16);
const HOUR = 3_600_000;
const pack = (number: number) => number.toString(16).padStart(64, '0');
const packs = (...numbers: number[]) => numbers.map(pack);

test('with a tenth at a time, ten runs read everything once, under any clock', () => {
  const times = fc.array(fc.date({ noInvalidDate: true }), { minLength: 10, maxLength: 10 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60 }), times, (count, clock) => {
      const named = Array.from({ length: count }, (_, at) => pack(at));
      let runs: ReadRun[] = [];
      const seen = new Set<string>();
      for (const time of clock) {
        const chosen = choosePacks(named, runs, { share: 0.1, nowMs: time.getTime() });
        assert.equal(chosen.size, Math.ceil(count / 10));
        for (const id of chosen) seen.add(id);
        runs = runs.map((run) => ({ ...run, packs: run.packs.filter((id) => !chosen.has(id)) }));
        runs.push({ time: time.toISOString(), packs: [...chosen] });
      }
      assert.equal(seen.size, count);
    }),
  );
});

test('a new pack comes first, then the one read longest ago', () => {
  const runs = [
    { time: '2026-01-02T00:00:00Z', packs: packs(2) },
    { time: '2026-01-01T00:00:00Z', packs: packs(1) },
  ];
  const order = (share: number) => [...choosePacks(packs(1, 2, 3), runs, { share, nowMs: 0 })];
  assert.deepEqual(order(0.01), packs(3));
  assert.deepEqual(order(0.5), packs(3, 2));
  assert.deepEqual(order(1), packs(3, 2, 1));
});

test('an age leaves out what is younger, and nothing that a wrong clock has dated', () => {
  const nowMs = Date.parse('2026-01-10T00:00:00Z');
  const at = (ms: number) => new Date(nowMs + ms).toISOString();
  const runs = [
    { time: at(-3 * HOUR), packs: packs(1) },
    { time: at(-1 * HOUR), packs: packs(2) },
    { time: at(1 * HOUR), packs: packs(3) },
    { time: 'no time', packs: packs(4) },
  ];
  const chosen = choosePacks(packs(1, 2, 3, 4, 5), runs, { share: 1, maxAgeMs: 2 * HOUR, nowMs });
  assert.deepEqual([...chosen].sort(), packs(1, 3, 4, 5));
});

test('runs are kept; what is read again or gone leaves the older ones; nonsense is replaced', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-read-'));
  try {
    const makeDirectory = () => env.files.makeDirectory(folder);
    const memory = readFiles(env, { directory: folder, makeDirectory });
    assert.deepEqual(await memory.recall(ID), []);
    const named = new Set(packs(1, 2, 3));
    await memory.add(ID, { time: 'a', packs: packs(1, 2, 9) }, new Set(packs(1, 2, 9)));
    await memory.add(ID, { time: 'b', packs: packs(2) }, named);
    assert.deepEqual(await memory.recall(ID), [
      { time: 'a', packs: packs(1) },
      { time: 'b', packs: packs(2) },
    ]);
    for (const text of ['', '{}', '[{"time":1,"packs":[]}]', '[{"time":"a","packs":["x"]}]']) {
      await writeFile(join(folder, ID), text);
      await assert.rejects(memory.recall(ID), { code: 'STORE_READ_MEMORY' });
    }
    await memory.add(ID, { time: 'c', packs: packs(3) }, named);
    assert.deepEqual(await memory.recall(ID), [{ time: 'c', packs: packs(3) }]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
