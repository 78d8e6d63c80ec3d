/** Goal: what is committed stays committed once, in one order, whoever else commits and fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hash32, simulatedEnv } from '../../sim/index.ts';
import { equalBytes, hasCode } from '../core/index.ts';
import {
  directoryStore,
  faultStore,
  memoryStore,
  type ObjectStore,
  type StoreFaultPlan,
} from '../objects/index.ts';
import { sealCheckpoint } from './checkpoint.ts';
import { sealJson } from './envelope.ts';
import { CHECKPOINT_INTERVAL } from './limits.ts';
import { noChange, openLog, proposal, snapshot, volumes } from './log.fixture.ts';
import { CommitLog } from './log.ts';
import { entryToJson, type LogChange, logKey } from './log-entry.ts';
import { plainObjects } from './plain-objects.fixture.ts';
import { plainSealer } from './sealer.ts';

test('appenders at once all commit, and everybody sees one order', async () => {
  const objects = memoryStore('a');
  const logs = await Promise.all(Array.from({ length: 5 }, () => openLog(objects)));
  await Promise.all(
    logs.map(async (log, writer) => {
      for (let at = 0; at < 6; at++) await log.append(async () => proposal(`${writer}-${at}`));
    }),
  );
  const order = volumes(await openLog(objects));
  assert.equal(order.length, 30);
  for (const log of logs) {
    await log.refresh();
    assert.deepEqual(volumes(log), order);
  }
  for (let writer = 0; writer < 5; writer++) {
    const own = order.filter((volume) => volume.startsWith(`${writer}-`));
    assert.deepEqual(
      own,
      [0, 1, 2, 3, 4, 5].map((at) => `${writer}-${at}`),
    );
  }
});

test('one log may be refreshed and appended to by many at once', async () => {
  const objects = memoryStore('a');
  const log = await openLog(objects);
  const other = await openLog(objects);
  const work: Promise<unknown>[] = [];
  for (let at = 0; at < 20; at++) {
    work.push(log.append(async () => proposal(`own-${at}`)));
    work.push(log.refresh(), log.refresh());
    work.push(other.append(async () => proposal(`other-${at}`)));
  }
  await Promise.all(work);
  await log.refresh();
  assert.equal(log.state.sequence, 40);
  assert.deepEqual(volumes(log), volumes(await openLog(objects)));
});

test('a proposal is made for the state that it is committed after', async () => {
  const objects = memoryStore('a');
  const log = await openLog(objects);
  const appends = Array.from({ length: 8 }, (_, at) =>
    log.append(async (state) => {
      const count = state.snapshots.size;
      await Promise.resolve();
      return proposal(`after-${count}-${at}`);
    }),
  );
  await Promise.all(appends);
  for (const [at, volume] of volumes(log).entries()) assert.match(volume, RegExp(`^after-${at}-`));
});

test('whoever loses the race proposes again, with the new state', async () => {
  const objects = memoryStore('a');
  const log = await openLog(objects);
  const other = await openLog(objects);
  const seen: number[] = [];
  await log.append(async (state) => {
    seen.push(state.sequence);
    if (seen.length === 1) await other.append(async () => proposal('faster'));
    return proposal('slower');
  });
  assert.deepEqual(seen, [0, 1]);
  assert.deepEqual(volumes(log), ['faster', 'slower']);
});

test('an entry whose answer was lost is recognised as one own, not committed twice', async () => {
  for (const code of ['OBJECT_IO', 'OBJECT_EXISTS', 'OBJECT_NO_SPACE'] as const) {
    const inner = memoryStore('a');
    let lost = 0;
    const plan: StoreFaultPlan = ({ operation, key }) =>
      operation === 'put' && key.startsWith('log/') && lost++ % 2 === 0
        ? { code, applied: true }
        : undefined;
    const log = await openLog(faultStore(inner, plan));
    for (const volume of ['a', 'b', 'c']) await log.append(async () => proposal(volume));
    assert.deepEqual(volumes(await openLog(inner)), ['a', 'b', 'c'], code);
    assert(lost >= 3);
  }
});

test('an entry that could not be put is told, and nothing is committed', async () => {
  const inner = memoryStore('a');
  const objects = faultStore(inner, ({ operation }) =>
    operation === 'put' ? { code: 'OBJECT_NO_SPACE' } : undefined,
  );
  const log = await openLog(objects);
  await assert.rejects(
    log.append(async () => proposal('a')),
    { code: 'OBJECT_NO_SPACE' },
  );
  assert.deepEqual(volumes(await openLog(inner)), []);
});

test('what throws out of a proposal commits nothing', async () => {
  const objects = memoryStore('a');
  const log = await openLog(objects);
  await assert.rejects(
    log.append(async () => {
      throw new Error('no longer true');
    }),
    /no longer true/,
  );
  assert.equal((await openLog(objects)).state.sequence, 0);
});

/** Lists only what was there when `keys` was last told to look. */
function staleLists(inner: ObjectStore, known: { until: number }): ObjectStore {
  return {
    ...inner,
    async *list(prefix) {
      for await (const entry of inner.list(prefix)) {
        const number = Number(entry.key.slice(entry.key.lastIndexOf('/') + 1));
        if (number <= known.until) yield entry;
      }
    },
  };
}

test('a list that is stale hides no entry: the end is found by reading', async () => {
  const inner = memoryStore('a');
  const log = await openLog(inner);
  const count = CHECKPOINT_INTERVAL + 5;
  for (let at = 0; at < count; at++) await log.append(async () => proposal(`${at}`));
  for (const [round, until] of [0, 3, CHECKPOINT_INTERVAL, count].entries()) {
    const found = await openLog(staleLists(inner, { until }));
    assert.equal(found.state.sequence, count + round);
    assert.deepEqual(volumes(found), volumes(log));
    await found.append(async () => proposal(`after ${until}`));
    await log.refresh();
  }
});

test('a missing entry in the middle is named', async () => {
  const objects = memoryStore('a');
  const log = await openLog(objects);
  for (let at = 0; at < 5; at++) await log.append(async () => proposal(`${at}`));
  await objects.remove(logKey(3));
  await assert.rejects(openLog(objects), { code: 'STORE_MISSING', message: /log\/0*3 / });
});

test('entries that were exchanged, replayed or changed are named', async () => {
  const objects = memoryStore('a');
  const log = await openLog(objects);
  for (let at = 0; at < 4; at++) await log.append(async () => proposal(`${at}`));
  const bytes = await Promise.all([1, 2, 3, 4].map((at) => objects.get(logKey(at), 10_000)));
  for (const [at, replacement] of [
    [2, bytes[2]],
    [2, bytes[0]],
    [3, bytes[1]],
    [4, bytes[0]],
  ] as const) {
    const copy = memoryStore('b');
    for (let number = 1; number <= 4; number++) {
      await copy.putIfAbsent(logKey(number), number === at ? replacement! : bytes[number - 1]!);
    }
    const name = RegExp(`log/0*${at}`);
    await assert.rejects(openLog(copy), { code: 'STORE_DAMAGED', message: name });
  }
  // A first entry that another history began with does not go with the second of this one.
  const other = memoryStore('c');
  await (await openLog(other)).append(async () => proposal('other'));
  await other.putIfAbsent(logKey(2), bytes[1]!);
  await assert.rejects(openLog(other), { code: 'STORE_DAMAGED', message: /log\/0*2/ });
});

async function withCheckpoint(): Promise<{ objects: ObjectStore; log: CommitLog; key: string }> {
  const objects = memoryStore('a');
  const log = await openLog(objects);
  for (let at = 0; at < CHECKPOINT_INTERVAL + 3; at++) {
    await log.append(async () => proposal(`${at}`));
  }
  const keys = await Array.fromAsync(objects.list('checkpoints/'), ({ key }) => key);
  assert.equal(keys.length, 1);
  return { objects, log, key: keys[0]! };
}

test('a checkpoint spares reading what it covers', async () => {
  const { objects, log } = await withCheckpoint();
  let gets = 0;
  const counted = faultStore(objects, ({ operation, key }) => {
    if (operation === 'get' && key.startsWith('log/')) gets++;
    return undefined;
  });
  const found = await openLog(counted);
  assert.deepEqual(volumes(found), volumes(log));
  assert.equal(found.state.head, log.state.head);
  assert.equal(gets, 1 + 2 + 4); // Three entries are new; the last question finds none.
});

test('a damaged checkpoint is passed over, and so is one under a wrong name', async () => {
  const { objects, log, key } = await withCheckpoint();
  const bytes = await objects.get(key, 1_000_000);
  await objects.remove(key);
  for (const [name, content] of [
    [key, bytes.subarray(0, bytes.byteLength / 2)],
    [key, new Uint8Array(0)],
    [key, sealJson('checkpoint', { sequence: 'x' })],
    [key.replace(/4$/, '5'), bytes],
    ['checkpoints/none', bytes],
  ] as const) {
    await objects.putIfAbsent(name, content);
    assert.deepEqual(volumes(await openLog(objects)), volumes(log));
    await objects.remove(name);
  }
});

test('a checkpoint of another history is noticed at the first entry behind it', async () => {
  const { objects, key } = await withCheckpoint();
  const other = await withCheckpoint();
  await objects.remove(key);
  await objects.putIfAbsent(key, await other.objects.get(key, 1_000_000));
  await assert.rejects(openLog(objects), { code: 'STORE_DAMAGED', message: /log\/0*65/ });
});

test('an entry of a kind that is not known is refused, and so is a wrong field', async () => {
  for (const change of [
    { type: 'forget' },
    { type: 'nonsense' },
    { generation: 1 },
    { sequence: -1 },
    { sequence: '1' },
    { previous: 'zz' },
    { nonce: 5 },
    { snapshot: [] },
    { index: { packs: ['../../etc'] } },
  ]) {
    const objects = memoryStore('a');
    const entry = { sequence: 1, previous: '0'.repeat(64), nonce: '0'.repeat(32) };
    const json = entryToJson({ ...entry, ...proposal('a') }, plainSealer) as object;
    await objects.putIfAbsent(logKey(1), sealJson('log', { ...json, ...change }));
    await assert.rejects(openLog(objects), { code: 'STORE_DAMAGED' }, JSON.stringify(change));
  }
});

test('a snapshot of an impossible chunk size is refused', async () => {
  for (const chunkBytes of [0, 1, 4095, 65537, 2 ** 21]) {
    const objects = memoryStore('a');
    const entry = { sequence: 1, previous: '0'.repeat(64), nonce: '0'.repeat(32) };
    const hostile = { ...snapshot('a'), chunkBytes };
    const said: LogChange = { type: 'snapshot', snapshot: hostile, index: noChange };
    const json = entryToJson({ ...entry, ...said, generation: 0 }, plainSealer);
    await objects.putIfAbsent(logKey(1), sealJson('log', json));
    await assert.rejects(openLog(objects), { code: 'STORE_DAMAGED' });
  }
});

test('a commit that was reported survives a power cut, also when a sync failed on the way', async () => {
  for (let number = 1; ; number++) {
    const world = simulatedEnv(number);
    const committed: string[] = [];
    const fault = await world.run(async () => {
      await using objects = await directoryStore(world.env.files, '/r', world.env.random);
      const log = new CommitLog(plainObjects(objects), world.env.random);
      await log.append(async () => proposal('before'));
      committed.push('before');
      const planted = world.disk.inject({ operation: 'sync-directory', number, code: 'ENV_IO' });
      for (const volume of ['a', 'b']) {
        try {
          await log.append(async () => proposal(volume));
          committed.push(volume);
        } catch (error) {
          assert(hasCode(error, 'OBJECT_IO'), String(error));
        }
      }
      return planted;
    });
    for (let crash = 0; crash < 8; crash++) {
      const after = simulatedEnv(1, { disk: world.disk.crash(hash32(number, crash)) });
      await after.run(async () => {
        await using objects = await directoryStore(after.env.files, '/r', after.env.random);
        const found = volumes(await openLog(objects));
        for (const volume of committed) assert(found.includes(volume), `${volume} is lost`);
      });
    }
    if (!fault.met) {
      assert(number > 2);
      break;
    }
  }
});

test('equal states have equal bytes as checkpoints', async () => {
  const { objects, log } = await withCheckpoint();
  const found = await openLog(objects);
  const bytes = (of: CommitLog) => sealCheckpoint(plainSealer, of.state);
  assert(equalBytes(bytes(found), bytes(log)));
});
