/** Goal: a patch against named places gives what its hash says, whatever came first, or nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv, type World } from '../../sim/index.ts';
import { encodeFrame, encodePatch, FRAME_STORED_MAX } from '../codec/index.ts';
import { equalBytes, hasCode, sha256 } from '../core/index.ts';
import {
  type BlockData,
  ENTRIES_MAX,
  KIND_PLACED_PATCH,
  KIND_ZERO,
  type Place,
} from '../wire/index.ts';
import { PLACED_PIECES_MAX, WHOLE_AT_ONCE_MAX } from './replicate/limits.ts';
import { makingGate, prove } from './replicate/provider/sections.ts';
import { referenceOf } from './replicate/references.ts';
import {
  applied,
  BLOCK,
  commitOf,
  cutOf,
  dataOf,
  makePlace,
  type Opened,
  openPlace,
  presentOf,
  SIZE,
  sendEpoch,
  type Write,
} from './replicate.suite.ts';

/** Bytes that do not compress, and repeat nowhere. */
function noise(lengthBytes: number, seed: number): Uint8Array {
  const parts = Array.from({ length: Math.ceil(lengthBytes / 32) }, (_, at) =>
    sha256(Uint8Array.of(seed, at, at >> 8)),
  );
  return Uint8Array.from(Buffer.concat(parts)).subarray(0, lengthBytes);
}

const first: Write = { offsetBytes: 0, bytes: noise(2 * BLOCK, 1) };
const second: Write = { offsetBytes: 8 * BLOCK, bytes: noise(BLOCK, 2) };
/** Half of it is in the epoch below, half in its own epoch. */
const third: Write = {
  offsetBytes: 20 * BLOCK + 0,
  bytes: Uint8Array.from([...first.bytes.subarray(100, 3000), ...second.bytes.subarray(0, 1196)]),
};

function placeOf({ offsetBytes, bytes }: Write, isNew: boolean): Place {
  return { offsetBytes, lengthBytes: bytes.byteLength, isNew };
}

const places = [placeOf(first, false), placeOf(second, true)];

/** A message with one write, as a patch against what lies at the places. */
function patchOf(
  epoch: number,
  { offsetBytes, bytes }: Write,
  at: readonly Place[],
  parents: readonly Uint8Array[] = [first.bytes, second.bytes],
): BlockData {
  const patch = encodePatch(bytes, parents)!;
  const named = [referenceOf(parents[0]!)];
  const input = { kind: 'patch', rawBytes: bytes.byteLength, patch, parents: named } as const;
  const frame = new Uint8Array(FRAME_STORED_MAX);
  const lengthBytes = encodeFrame([input], { algorithm: 'raw' }, frame);
  const extent = { offsetBytes, lengthBytes: bytes.byteLength, blockClass: 0, importance: 0 };
  const entry = { ...extent, kind: KIND_PLACED_PATCH, hash: sha256(bytes), places: at };
  const rest = { volume: 1, epoch, request: 0, frame: frame.slice(0, lengthBytes) };
  return { ...rest, entries: [entry] };
}

/** Epoch 1 is there, epoch 2 has begun. */
async function begun(work: (place: Opened, world: World) => Promise<void>): Promise<void> {
  const world = simulatedEnv(7);
  await world.run(async () => {
    await makePlace(world.env);
    await using place = await openPlace(world.env);
    await sendEpoch(place.replica, 1, [[first]]);
    await place.replica.begin(cutOf(2, 1));
    await work(place, world);
  });
}

const content = applied(new Uint8Array(SIZE), [[first, second, third]]);

test('a patch stands on the epoch below and on what came before it, also after a restart', async () => {
  await begun(async ({ replica }, { env }) => {
    const messages = [dataOf(2, [second]), patchOf(2, third, places)];
    assert.ok(messages[1]!.frame.byteLength < 300, 'the patch is none');
    for (const message of messages) await replica.put(message);
    assert.equal(await replica.commit(commitOf(2, messages)), true);
    assert.ok(equalBytes(await presentOf(replica), content));
    await replica[Symbol.asyncDispose]();
    await using again = await openPlace(env);
    assert.ok(equalBytes(await presentOf(again.replica), content));
  });
});

test('a patch that overtakes what it stands on waits for it', async () => {
  await begun(async ({ replica }) => {
    const messages = [patchOf(2, third, places), dataOf(2, [second])];
    await Promise.all(messages.map((message) => replica.put(message)));
    assert.equal(await replica.commit(commitOf(2, messages)), true);
    assert.ok(equalBytes(await presentOf(replica), content));
  });
});

const many = Array.from({ length: WHOLE_AT_ONCE_MAX + 4 }, (_, at) => ({
  ...third,
  offsetBytes: (10 + at) * BLOCK,
}));

test('more of them than are made whole at the same time wait, and keep nobody out', async () => {
  await begun(async ({ replica }, { env }) => {
    const startMs = env.clock.monotonicMs();
    const messages = [...many.map((one) => patchOf(2, one, places)), dataOf(2, [second])];
    await Promise.all(messages.map((message) => replica.put(message)));
    assert.equal(await replica.commit(commitOf(2, messages)), true);
    const wanted = applied(new Uint8Array(SIZE), [[first, second, ...many]]);
    assert.ok(equalBytes(await presentOf(replica), wanted));
    assert.ok(env.clock.monotonicMs() - startMs < 5_000);
  });
});

test('however many messages come, few are in memory with what they stand on', async () => {
  const all = Promise.withResolvers<void>();
  let reading = 0;
  let most = 0;
  const parentOf = async ({ isNew }: Place) => {
    reading += 1;
    most = Math.max(most, reading);
    await all.promise;
    reading -= 1;
    return isNew ? second.bytes : first.bytes;
  };
  const making = makingGate();
  const proven = many.map((one) => prove(patchOf(2, one, places), parentOf, making));
  all.resolve();
  await Promise.all(proven);
  assert.equal(most, WHOLE_AT_ONCE_MAX);
});

test('a patch in an epoch of too many pieces ends that, as it may come whole', async () => {
  await begun(async ({ replica }) => {
    const zero = { kind: KIND_ZERO, lengthBytes: 1, hash: undefined, blockClass: 0, importance: 0 };
    for (let left = PLACED_PIECES_MAX + 1; left > 0; left -= ENTRIES_MAX) {
      const offsets = Array.from({ length: Math.min(left, ENTRIES_MAX) }, (_, at) => at);
      const entries = offsets.map((offsetBytes) => ({ ...zero, offsetBytes }));
      await replica.put({ volume: 1, epoch: 2, request: 0, entries, frame: new Uint8Array(0) });
    }
    await assert.rejects(replica.put(patchOf(2, third, places)), hasHash);
  });
});

test('what a patch waits for in vain ends its epoch, and the next one goes on', async () => {
  await begun(async ({ replica }) => {
    await assert.rejects(replica.put(patchOf(2, third, places)), hasHash);
    await assert.rejects(replica.commit(commitOf(2, [patchOf(2, third, places)])), hasHash);
    await sendEpoch(replica, 3, [[second, third]]);
    assert.ok(equalBytes(await presentOf(replica), content));
  });
});

test('a patch waits no longer than its epoch is on its way', async () => {
  await begun(async ({ replica }, { env }) => {
    const startMs = env.clock.monotonicMs();
    const waiting = replica.put(patchOf(2, third, places));
    await env.files.list('/'); // It waits.
    await replica.begin(cutOf(3, 1));
    await waiting;
    const session = new AbortController();
    const other = replica.put(patchOf(3, third, places), session.signal);
    session.abort();
    await assert.rejects(other, (error) => hasCode(error, 'REPLICATE_CLOSED'));
    assert.ok(env.clock.monotonicMs() - startMs < 5_000);
  });
});

test('nothing is applied that does not come out as its hash says', async () => {
  const other = { ...third, bytes: noise(4096, 9) };
  const wrong: readonly BlockData[] = [
    // The first place holds something else than its record names.
    patchOf(2, third, [placeOf(second, false), places[1]!]),
    // The second one does: only what comes out shows that.
    patchOf(2, third, [places[0]!, { ...placeOf(second, false), offsetBytes: 16 * BLOCK }]),
    { ...patchOf(2, third, places), frame: patchOf(2, other, places).frame },
    // A piece of this epoch is named by its whole extent.
    patchOf(2, third, [places[0]!, { ...places[1]!, lengthBytes: 512 }]),
  ];
  for (const message of wrong) {
    await begun(async ({ replica }) => {
      await replica.put(dataOf(2, [second]));
      await assert.rejects(replica.put(message), hasHash);
      assert.ok(equalBytes(await presentOf(replica), applied(new Uint8Array(SIZE), [[first]])));
    });
  }
});

test('places outside of the volume, and kinds that do not fit their record, break the protocol', async () => {
  const outside = { offsetBytes: SIZE - 512, lengthBytes: BLOCK, isNew: false };
  const plain = dataOf(2, [third]);
  const wrong: readonly BlockData[] = [
    patchOf(2, third, [outside, places[1]!]),
    { ...plain, entries: [{ ...plain.entries[0]!, kind: KIND_PLACED_PATCH, places }] },
  ];
  for (const message of wrong) {
    await begun(async ({ replica }) => {
      await replica.put(dataOf(2, [second]));
      await assert.rejects(replica.put(message), (error) => hasCode(error, 'REPLICATE_PROTOCOL'));
    });
  }
});

function hasHash(error: unknown): boolean {
  return hasCode(error, 'REPLICATE_HASH');
}
