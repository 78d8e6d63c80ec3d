/** Goal: whatever the network does under a seed, each message arrives once, and every run ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws } from '../../sim/index.ts';
import type { Incoming } from './incoming.ts';
import { BLOCK_DATA } from './messages/index.ts';
import { type Pair, pause, until, withPair } from './session.suite.ts';

const SEEDS = 24;
const MESSAGES = 80;
/** Silence, a redial and a few lanes that are given up. */
const END_MS = 180_000;

/** Changes the network, or cuts something, now and then. */
function disturb({ world, client, server }: Pair, draws: Draws): void {
  const { datagrams } = world.net;
  const act = draws.below(6);
  if (act === 0) {
    datagrams.setFaults({
      ...{ loss: draws.pick([0, 0.01, 0.3]), reorder: draws.pick([0, 0.2]) },
      ...{ duplicate: draws.pick([0, 0.2]), corrupt: draws.pick([0, 0.05]) },
      rateBytesPerMs: draws.pick([500, 5_000, Number.POSITIVE_INFINITY]),
    });
  } else if (act === 1) datagrams.setFaults({ isBlocked: draws.chance(0.5) });
  else if (act === 2) client.drop(new Error('cut'));
  else if (act === 3) server.drop(new Error('cut'));
  else if (act === 4) {
    const lanes = client.lanes.filter(({ kind }) => kind !== 'control');
    if (lanes.length > 0) draws.pick(lanes).destroy(new Error('cut'));
  } else world.net.breakNext(draws.below(100_000));
}

async function run(seed: number): Promise<string> {
  const draws = new Draws(seed, 55);
  const options = { seed, lanes: draws.below(3), udp: draws.chance(0.8) };
  const world = await withPair(options, async (pair) => {
    const { client, server, atClient, atServer } = pair;
    const later = (message: Incoming) =>
      void pair.world.env.clock.after(draws.below(40), () => message.done());
    if (draws.chance(0.5)) atServer.take = later;
    for (let at = 0; at < MESSAGES; at += 1) {
      const parts = [Uint8Array.of(at), new Uint8Array(draws.below(40_000)).fill(at)];
      const side = draws.chance(0.7) ? client : server;
      const message = { type: BLOCK_DATA, parts, priority: draws.below(5) };
      while (!side.send(message)) await pause(pair.world, 5);
      if (draws.chance(0.1)) disturb(pair, draws);
      if (draws.chance(0.4)) await pause(pair.world, draws.below(200));
    }
    // The faults stop: everything completes.
    pair.world.net.datagrams.setFaults({
      ...{ loss: 0, reorder: 0, duplicate: 0, corrupt: 0, isBlocked: false },
    });
    await until(pair.world, () => client.isIdle && server.isIdle);
    const all = [...atServer.messages, ...atClient.messages];
    const seen = all.map(({ body }) => body[0]!).sort((a, b) => a - b);
    assert.deepEqual(
      seen,
      Array.from({ length: MESSAGES }, (_, at) => at),
    );
    assert.ok(all.every(({ body }) => body.every((byte) => byte === body[0])));
  });
  assert.ok(world.nowMs < END_MS, `it took ${world.nowMs} ms`);
  return world.digest();
}

test('each message arrives once over a network that is cut and changed under seeds', async () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    try {
      const digest = await run(seed);
      if (seed % 6 === 0) assert.equal(await run(seed), digest, 'the same again');
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
});
