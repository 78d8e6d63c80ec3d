/** Goal: every message arrives once, in spite of cuts; nobody can make the other side grow. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws } from '../../sim/index.ts';
import { equalBytes, hasCode } from '../core/index.ts';
import type { Incoming } from './incoming.ts';
import { CREDIT_BYTES_INITIAL, QUEUE_BYTES_MAX, RESUME_MS, SILENCE_MS } from './limits.ts';
import { BLOCK_DATA, METADATA, NUMBERED_MIN, READ } from './messages/index.ts';
import { pause, until, withPair } from './session.suite.ts';

const PRIORITY = 2;

test('messages arrive in both directions, whole, and are acknowledged', async () => {
  await withPair({}, async ({ world, client, server, atClient, atServer }) => {
    let acknowledged = 0;
    const onAcknowledged = () => {
      acknowledged += 1;
    };
    for (let at = 0; at < 100; at += 1) {
      const parts = [Uint8Array.of(at), new Uint8Array(at * 1000).fill(at)];
      client.send({ type: BLOCK_DATA, parts, priority: PRIORITY, onAcknowledged });
    }
    server.send({ type: READ, parts: [Uint8Array.of(9)], priority: 0 });
    await until(world, () => client.isIdle && server.isIdle);
    assert.equal(acknowledged, 100);
    assert.deepEqual(
      atServer.messages.map(({ body }) => [body[0], body.byteLength]),
      Array.from({ length: 100 }, (_, at) => [at, 1 + at * 1000]),
    );
    assert.deepEqual(
      atClient.messages.map(({ type }) => type),
      [READ],
    );
    assert.ok(client.roundTrip.milliseconds > 0);
  });
});

test('facts are compressed on the way', async () => {
  await withPair({}, async ({ world, client, atServer }) => {
    const body = new Uint8Array(100_000).fill(7);
    client.send({ type: METADATA, parts: [body], priority: 1 });
    assert.ok(client.backlogBytes < 1_000, String(client.backlogBytes));
    await until(world, () => client.isIdle);
    assert.equal(equalBytes(atServer.messages[0]!.body, body), true);
  });
});

test('a session with all its lanes grants whole bytes to each', async () => {
  for (const lanes of [2, 9]) {
    await withPair({ lanes, lane: 'tls' }, async ({ world, client, chooser }) => {
      await until(world, () => client.lanes.length === lanes + 1);
      const parts = [new Uint8Array(400_000)];
      const fill = () => {
        while (client.acknowledgedBytes < 10e6) {
          if (!client.send({ type: BLOCK_DATA, parts, priority: PRIORITY })) break;
        }
      };
      while (client.acknowledgedBytes < 10e6) {
        fill();
        await pause(world, 10);
      }
      assert.equal(chooser.choice.lanes, 'tls');
      assert.equal(client.state, 'open');
    });
  }
});

test('the more urgent message overtakes those that wait', async () => {
  await withPair({}, async ({ world, client, atServer }) => {
    const parts = [new Uint8Array(1_000_000)];
    for (let at = 0; at < 5; at += 1) client.send({ type: BLOCK_DATA, parts, priority: 4 });
    for (let priority = 3; priority >= 0; priority -= 1) {
      client.send({ type: NUMBERED_MIN + 1, parts: [Uint8Array.of(priority)], priority });
    }
    await until(world, () => client.isIdle);
    const order = atServer.messages.map(({ body }) => (body.byteLength === 1 ? body[0] : 'bulk'));
    const urgent = order.filter((one) => one !== 'bulk');
    assert.deepEqual(urgent, [0, 1, 2, 3]);
    assert.equal(order.at(-1), 'bulk');
  });
});

test('a peer that finishes nothing gets its credit and no byte more', async () => {
  await withPair({}, async ({ world, client, atServer }) => {
    const held: Incoming[] = [];
    atServer.take = (message) => void held.push(message);
    const parts = [new Uint8Array(500_000)];
    let sent = 0;
    const fill = () => {
      while (client.send({ type: BLOCK_DATA, parts, priority: PRIORITY })) sent += 1;
    };
    atServer.onRoom = fill;
    fill();
    await pause(world, 1_000);
    fill();
    await pause(world, 1_000);
    const arrivedBytes = held.length * 500_000;
    assert.ok(arrivedBytes <= CREDIT_BYTES_INITIAL && arrivedBytes > CREDIT_BYTES_INITIAL / 2);
    assert.ok(client.backlogBytes <= CREDIT_BYTES_INITIAL + QUEUE_BYTES_MAX);
    const stuck = held.length;
    for (const message of held.splice(0)) message.done();
    atServer.take = (message) => message.done();
    await until(world, () => client.isIdle);
    assert.equal(atServer.messages.length, sent);
    assert.ok(sent > stuck);
  });
});

test('a connection that breaks anywhere loses nothing and doubles nothing', async () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const draws = new Draws(seed, 99);
    const world = await withPair({ seed, lanes: draws.below(3) }, async (pair) => {
      const { client, server, atClient, atServer } = pair;
      // Done late, and not in order: what is in somebody's hands at the cut must not come again.
      const takeLate = (message: Incoming) => {
        pair.world.env.clock.after(draws.below(30), () => message.done());
      };
      if (draws.chance(0.5)) atServer.take = takeLate;
      for (let at = 0; at < 60; at += 1) {
        const parts = [Uint8Array.of(at), new Uint8Array(draws.below(60_000))];
        const side = draws.chance(0.7) ? client : server;
        const priority = draws.below(5);
        while (!side.send({ type: BLOCK_DATA, parts, priority })) await pause(pair.world, 5);
        if (draws.chance(0.1)) {
          pair.world.net.breakNext(draws.below(200_000));
          client.drop(new Error('cut'));
          if (draws.chance(0.3)) server.drop(new Error('cut'));
        }
        if (draws.chance(0.3)) await pause(pair.world, draws.below(20));
      }
      await until(pair.world, () => client.isIdle && server.isIdle);
      const seen = [...atServer.messages, ...atClient.messages].map(({ body }) => body[0]!);
      assert.deepEqual(
        seen.sort((a, b) => a - b),
        Array.from({ length: 60 }, (_, at) => at),
        `seed ${seed}`,
      );
      for (const { messages } of [atServer, atClient]) {
        const numbers = messages.map(({ sequence }) => sequence);
        assert.equal(new Set(numbers).size, numbers.length, `seed ${seed}: a number twice`);
      }
    });
    assert.ok(world.nowMs < 120_000, `seed ${seed} took ${world.nowMs} ms`);
  }
});

test('equal seeds give equal runs', async () => {
  const run = async () => {
    const world = await withPair({ seed: 5, lanes: 2 }, async ({ world, client }) => {
      for (let at = 0; at < 20; at += 1) {
        client.send({ type: BLOCK_DATA, parts: [new Uint8Array(50_000)], priority: PRIORITY });
      }
      await pause(world, 3);
      client.drop(new Error('cut'));
      await until(world, () => client.isIdle);
    });
    return world.digest();
  };
  assert.equal(await run(), await run());
});

test('a goodbye ends both sides without an error', async () => {
  await withPair({}, async ({ server, atClient, atServer }) => {
    server.end('update', 5_000);
    assert.equal(await atClient.closed.promise, undefined);
    assert.equal(await atServer.closed.promise, undefined);
  });
});

test('a session that nobody resumes ends on both sides, in time', async () => {
  await withPair({}, async ({ world, client, server, atClient, atServer, host }) => {
    host.close = () => {};
    server.drop(new Error('cut'));
    await atClient.broken.promise;
    client.fail(new Error('gone for good'));
    await atClient.closed.promise;
    assert.ok(hasCode(await atServer.closed.promise, 'WIRE_TIMEOUT'));
    assert.ok(world.nowMs <= RESUME_MS + SILENCE_MS);
    assert.deepEqual(host.sessions, []);
  });
});

test('an error of one side that is not fatal is told, and the session goes on', async () => {
  await withPair({}, async ({ world, client, server, atClient }) => {
    server.sendError({ code: 'STORE_NO_SPACE', text: 'full', sequence: 0 });
    client.send({ type: READ, parts: [Uint8Array.of(1)], priority: 0 });
    await until(world, () => client.isIdle && atClient.peerErrors.length > 0);
    assert.deepEqual(atClient.peerErrors, ['STORE_NO_SPACE']);
    assert.equal(client.state, 'open');
  });
});
