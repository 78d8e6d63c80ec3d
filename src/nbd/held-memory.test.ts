/** Goal: all connections together hold what they may, and nobody holds it for ever. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Env } from '../core/index.ts';
import {
  altered,
  env,
  freshAddress,
  MIB,
  type RawPeer,
  readyClient,
  requestOf,
  smallMemory,
  takeSimple,
} from './loopback.suite.ts';
import { type NbdServer, serve } from './server.ts';

const HALF = MIB / 2;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('clients that ask for much at once are served one after the other', async () => {
  const gate = Promise.withResolvers<void>();
  const inner = smallMemory();
  let pending = 0;
  let mostPending = 0;
  const device = altered(inner, {
    async read(target, offsetBytes) {
      pending += 1;
      mostPending = Math.max(mostPending, pending);
      await gate.promise;
      await inner.read(target, offsetBytes);
      pending -= 1;
    },
  });
  await using server = await serve(env, {
    address: freshAddress(),
    exports: new Map([['', device]]),
    heldBytesMax: 2 * HALF + 1024,
  });
  const peers = await Promise.all(Array.from({ length: 8 }, () => readyClient(server)));
  for (const peer of peers) peer.send(requestOf({ lengthBytes: HALF }));
  // All requests have arrived when a small one behind them, on a line of its own, is answered.
  for (let wait = 0; wait < 20; wait += 1) {
    const probe = await readyClient(server);
    probe.send(requestOf({ command: 3 }));
    await takeSimple(probe);
    probe.stream.destroy();
  }
  assert.equal(mostPending, 2);
  gate.resolve();
  for (const peer of peers) {
    assert.equal((await takeSimple(peer)).error, 0);
    await peer.inbound.take(HALF);
    peer.stream.destroy();
  }
  assert.ok(mostPending <= 2, `${mostPending} at once`);
});

/** A server whose sweep comes when the test says so. */
async function sweptServer(): Promise<{ server: NbdServer; sweep(): void }> {
  let due: (() => void) | undefined;
  let isArming = true;
  const clock: Env['clock'] = {
    ...env.clock,
    after(delayMs, run, options) {
      if (!isArming) return env.clock.after(delayMs, run, options);
      due = run;
      return { cancel() {} };
    },
  };
  const server = await serve(
    { ...env, clock },
    {
      address: freshAddress(),
      exports: new Map([['', smallMemory()]]),
      heldBytesMax: HALF + HALF / 2,
    },
  );
  isArming = false;
  return {
    server,
    sweep() {
      isArming = true;
      due?.();
      isArming = false;
    },
  };
}

/** Announces a write of half a MiB, sends some of it, and then nothing. */
async function stuckWriter(server: NbdServer): Promise<RawPeer> {
  const peer = await readyClient(server);
  peer.send(requestOf({ command: 1, lengthBytes: HALF }), new Uint8Array(1000));
  return peer;
}

test('a client that holds memory and stands still loses its place to those who wait', async () => {
  const { server, sweep } = await sweptServer();
  const stuck = await stuckWriter(server);
  await turn();
  const waiting = await readyClient(server);
  waiting.send(requestOf({ lengthBytes: HALF }));
  const answer = takeSimple(waiting);
  let isAnswered = false;
  void answer.then(() => {
    isAnswered = true;
  });
  const idle = await readyClient(server);
  for (let wait = 0; wait < 50; wait += 1) await turn();
  assert.equal(isAnswered, false);
  sweep();
  await turn();
  assert.equal(isAnswered, false, 'it was seen to move since the last look');
  sweep();
  await stuck.ended;
  assert.equal((await answer).error, 0);
  // Who holds nothing may stand still as long as he likes.
  idle.send(requestOf({ command: 3 }));
  assert.equal((await takeSimple(idle)).error, 0);
  for (const peer of [stuck, waiting, idle]) peer.stream.destroy();
  await server.close();
});

test('a client that drips byte by byte loses its place too, one that moves on keeps it', async () => {
  const { server, sweep } = await sweptServer();
  const writer = await stuckWriter(server);
  await turn();
  const waiting = await readyClient(server);
  waiting.send(requestOf({ lengthBytes: HALF }));
  const answer = takeSimple(waiting);
  let sentBytes = 1000;
  const send = async (lengthBytes: number) => {
    writer.send(new Uint8Array(lengthBytes));
    sentBytes += lengthBytes;
    for (let wait = 0; wait < 50; wait += 1) await turn();
    sweep();
  };
  for (let look = 0; look < 4; look += 1) await send(70_000);
  for (let look = 0; look < 2; look += 1) await send(1);
  await writer.ended;
  assert.ok(sentBytes < HALF);
  assert.equal((await answer).error, 0);
  for (const peer of [writer, waiting]) peer.stream.destroy();
  await server.close();
});

test('while nobody waits for memory, a client may take its time', async () => {
  const { server, sweep } = await sweptServer();
  const slow = await stuckWriter(server);
  for (let round = 0; round < 3; round += 1) {
    await turn();
    sweep();
  }
  slow.send(new Uint8Array(HALF - 1000));
  assert.equal((await takeSimple(slow)).error, 0);
  slow.stream.destroy();
  await server.close();
});
