/** Goal: whatever happens, a replica is an epoch that was acknowledged, or the one in flight. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws, hash32, type SimulatedDisk, simulatedEnv } from '../../sim/index.ts';
import { type Env, equalBytes, hasCode, type OpenFile, toHex } from '../core/index.ts';
import {
  applied,
  commitOf,
  cutOf,
  dataOf,
  drawWrites,
  makePlace,
  openPlace,
  presentOf,
  SIZE,
  sendEpoch,
} from './replicate.suite.ts';

/** Content by epoch; 0 is the empty volume. */
type History = { readonly contents: Uint8Array[]; acknowledged: number };
type Moment = {
  readonly event: number;
  readonly disk: SimulatedDisk;
  readonly acknowledged: number;
};

const EPOCHS = 5;
const DUE_BYTES = 4_000;

/** Some epochs, an assembly now and then; what a failing disk refuses is begun anew. */
async function live(env: Env, seed: number, history: History): Promise<void> {
  const draws = new Draws(seed, 5);
  await using place = await openPlace(env, { journalBytesDue: DUE_BYTES });
  const { replica } = place;
  for (let count = 0; count < EPOCHS; count += 1) {
    const epoch = history.contents.length;
    assert.equal(replica.epoch, epoch - 1);
    const writes = drawWrites(draws);
    history.contents.push(applied(history.contents.at(-1)!, writes));
    await sendEpoch(replica, epoch, writes);
    history.acknowledged = epoch;
    assert.ok(equalBytes(await presentOf(replica), history.contents[epoch]!));
    if (draws.chance(0.2)) await replica.assemble();
  }
}

function newHistory(): History {
  return { contents: [new Uint8Array(SIZE)], acknowledged: 0 };
}

/** Other random names in each life. */
let judgements = 1_000;

/** What a provider finds that starts again; answers the epoch. */
async function judge(
  where: string,
  disk: SimulatedDisk,
  seed: number,
  { contents }: History,
  acknowledged: number,
): Promise<number> {
  const world = simulatedEnv(hash32(seed, judgements++), { disk });
  return await world.run(async () => {
    await using place = await openPlace(world.env);
    const { replica } = place;
    const { epoch } = replica;
    assert.ok(epoch >= acknowledged, `${where}: epoch ${epoch} after ${acknowledged}`);
    assert.ok(epoch <= acknowledged + 1, `${where}: epoch ${epoch} after ${acknowledged}`);
    const bytes = await presentOf(replica);
    assert.ok(equalBytes(bytes, contents[epoch]!), `${where}: epoch ${epoch} is not whole`);
    return epoch;
  });
}

async function tryCuts(seed: number, plant: (env: Env) => Env = (env) => env): Promise<number> {
  const world = simulatedEnv(seed, { shortTransfers: seed % 2 === 0 });
  const history = newHistory();
  const moments: Moment[] = [];
  const cuts = new Draws(seed, 99);
  let isMade = false;
  await world.runObserved(
    async () => {
      await makePlace(world.env);
      isMade = true;
      await live(plant(world.env), seed, history);
    },
    (event) => {
      if (isMade && cuts.chance(1 / 10)) {
        const disk = world.disk.crash(hash32(seed, event));
        moments.push({ event, disk, acknowledged: history.acknowledged });
      }
      return 'go-on';
    },
  );
  for (const { event, disk, acknowledged } of moments) {
    await judge(`seed ${seed}, power cut after event ${event}`, disk, seed, history, acknowledged);
  }
  return moments.length;
}

test('after a power cut at any step the replica is an epoch that was acknowledged, or the one in flight', async () => {
  let cuts = 0;
  for (let seed = 0; seed < 5; seed += 1) cuts += await tryCuts(seed);
  assert.ok(cuts > 80, `only ${cuts} cuts were tried`);
});

/** The Env with another `sync` of files whose path has `part` in it. */
function withSync(env: Env, part: string, sync: (file: OpenFile) => Promise<void>): Env {
  return {
    ...env,
    files: {
      ...env.files,
      async open(path, mode, options) {
        const file = await env.files.open(path, mode, options);
        if (!path.includes(part)) return file;
        return new Proxy(file, {
          get(target, key) {
            if (key === 'sync') return () => sync(target);
            const value = Reflect.get(target, key, target) as unknown;
            return typeof value === 'function' ? value.bind(target) : value;
          },
        });
      },
    },
  };
}

test('the trials find a journal that is acknowledged before it is durable', async () => {
  const plant = (env: Env) => withSync(env, '/journal-', async () => undefined);
  await assert.rejects(async () => {
    for (let seed = 0; seed < 12; seed += 1) await tryCuts(seed, plant);
  }, /after|not whole|damaged/);
});

/** Fails the Nth call, goes on with a new process, and judges what it finds. */
async function tryFault(
  seed: number,
  number: number,
  code: 'ENV_IO' | 'ENV_NO_SPACE',
): Promise<boolean> {
  const world = simulatedEnv(seed);
  const history = newHistory();
  let isMet = false;
  const provider = world.startProcess('provider');
  await world.run(async () => {
    await makePlace(world.env);
    const fault = world.disk.inject({ number, code, pathPart: '/replica' });
    try {
      await live(provider.env, seed, history);
    } catch (error) {
      assert.ok(error instanceof Error && 'code' in error, String(error));
      assert.notEqual((error as { code: string }).code, 'ERR_ASSERTION', error.message);
    }
    isMet = fault.met;
    provider.kill();
  });
  if (!isMet) return false; // It would meet whoever judges.
  const where = `seed ${seed}, call ${number} fails with ${code}`;
  const epoch = await judge(where, world.disk, seed, history, history.acknowledged);
  // What a failed sync should have forced is lost now, unless taking it up has forced it again.
  const crashed = world.disk.crash(hash32(seed, number));
  assert.equal(await judge(`${where}, then a power cut`, crashed, seed, history, epoch), epoch);
  return true;
}

test('each failing call is told, and loses nothing that was acknowledged', async () => {
  for (const code of ['ENV_IO', 'ENV_NO_SPACE'] as const) {
    let number = 1;
    while (await tryFault(3, number, code)) number += 1;
    assert.ok(number > 30, `only ${number} calls`);
  }
});

test('a journal that has lost bytes that were durable is refused by name', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    await makePlace(world.env);
    const history = newHistory();
    {
      await using place = await openPlace(world.env);
      for (let epoch = 1; epoch <= 3; epoch += 1) {
        const writes = drawWrites(new Draws(1, epoch));
        history.contents.push(applied(history.contents.at(-1)!, writes));
        await sendEpoch(place.replica, epoch, writes);
      }
    }
    const file = await world.env.files.open('/replica/journal-1', 'update');
    await new Promise((resolve) => file.write(Uint8Array.of(0xff), 200, resolve));
    await file.close();
    await assert.rejects(openPlace(world.env), (error) => hasCode(error, 'REPLICATE_JOURNAL'));
  });
});

test('an epoch is told only once, against the present one, and within the volume', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    await makePlace(world.env);
    await using place = await openPlace(world.env);
    const { replica } = place;
    const bytes = new Uint8Array(4096).fill(1);
    await sendEpoch(replica, 4, [[{ offsetBytes: 0, bytes }]]);
    const refused = async (work: Promise<unknown>, code: string) =>
      assert.rejects(work, (error) => hasCode(error, code), code);
    await refused(sendEpoch(replica, 4, []), 'REPLICATE_PROTOCOL');
    await refused(sendEpoch(replica, 5, [[{ offsetBytes: SIZE, bytes }]]), 'REPLICATE_PROTOCOL');
    const twice = { offsetBytes: 0, bytes };
    await refused(sendEpoch(replica, 6, [[twice], [twice]]), 'REPLICATE_PROTOCOL');
    assert.equal(replica.epoch, 4);
    const content = new Uint8Array(SIZE);
    content.set(bytes);
    assert.equal(toHex(await presentOf(replica)), toHex(content));
  });
});

test('a commit that overtakes its data waits for it', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    await makePlace(world.env);
    await using place = await openPlace(world.env);
    const { replica } = place;
    const writes = [0, 65_536].map((offsetBytes) => ({
      ...{ offsetBytes, bytes: new Uint8Array(4096).fill(7) },
    }));
    const messages = writes.map((write) => dataOf(1, [write]));
    await replica.begin(cutOf(1, 0));
    assert.equal(await replica.commit(commitOf(1, messages)), false);
    await replica.put(messages[1]!);
    assert.equal(await replica.commit(commitOf(1, messages)), false);
    assert.ok(
      (await presentOf(replica)).every((byte) => byte === 0),
      'nothing shows',
    );
    await replica.put(messages[0]!);
    assert.equal(await replica.commit(commitOf(1, messages)), true);
    const expected = applied(new Uint8Array(SIZE), [writes]);
    assert.ok(equalBytes(await presentOf(replica), expected));
  });
});

test('what does not have its hash is not applied, and ends its epoch only', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    await makePlace(world.env);
    await using place = await openPlace(world.env);
    const { replica } = place;
    const write = { offsetBytes: 0, bytes: new Uint8Array(4096).fill(7) };
    const data = dataOf(1, [write]);
    const entries = data.entries.map((entry) => ({ ...entry, hash: new Uint8Array(32) }));
    await replica.begin(cutOf(1, 0));
    await assert.rejects(replica.put({ ...data, entries }), { code: 'REPLICATE_HASH' });
    await replica.put(data);
    await assert.rejects(replica.commit(commitOf(1, [data])), { code: 'REPLICATE_HASH' });
    assert.equal(replica.epoch, 0);
    await sendEpoch(replica, 2, [[write]]);
    assert.equal(replica.epoch, 2);
  });
});
