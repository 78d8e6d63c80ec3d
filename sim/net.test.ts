/** Goal: simulated streams carry bytes in order, push back, end, break, and repeat by seed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Address, EnvError, Stream } from '../src/core/index.ts';
import { Draws, simulatedEnv, type World } from './index.ts';

const address: Address = { kind: 'unix', path: '/socket' };

type Received = { bytes: number[]; ended: boolean; closed: EnvError | undefined | 'no' };

/** Starts a stream that collects; `over` resolves when it is closed. */
function collect(stream: Stream, onEnd: () => void = () => stream.end()) {
  const received: Received = { bytes: [], ended: false, closed: 'no' };
  const drained: (() => void)[] = [];
  const over = new Promise<Received>((resolve) => {
    stream.start({
      onBytes: (view) => void received.bytes.push(...view),
      onDrained: () => drained.shift()?.(),
      onEnd: () => {
        received.ended = true;
        onEnd();
      },
      onClosed: (error) => {
        received.closed = error;
        resolve(received);
      },
    });
  });
  return { received, over, drained: () => new Promise<void>((wake) => void drained.push(wake)) };
}

async function connected(world: World): Promise<{ client: Stream; server: Stream }> {
  const accepted = new Promise<Stream>((resolve, reject) => {
    world.env.net.listen(address, resolve).catch(reject);
  });
  await new Promise<void>((wake) => world.env.clock.after(10, wake));
  const client = await world.env.net.connect(address, 1000);
  return { client, server: await accepted };
}

function someBytes(seed: number, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  new Draws(seed).fill(bytes);
  return bytes;
}

test('bytes arrive whole and in order both ways, and both ends close in order', async () => {
  const digests = new Set<string>();
  for (let seed = 0; seed < 20; seed++) {
    for (const _ of [1, 2]) {
      const world = simulatedEnv(seed);
      await world.run(async () => {
        const { client, server } = await connected(world);
        const atServer = collect(server);
        const atClient = collect(client);
        const request = someBytes(seed, 70_000);
        client.write([request.subarray(0, 10), request.subarray(10)]);
        server.write([Uint8Array.of(1, 2, 3)]);
        client.end();
        assert.deepEqual((await atServer.over).bytes, [...request]);
        const { bytes, ended, closed } = await atClient.over;
        assert.deepEqual(
          { bytes, ended, closed },
          { bytes: [1, 2, 3], ended: true, closed: undefined },
        );
      });
      digests.add(world.digest());
    }
  }
  assert.equal(digests.size, 20);
});

test('a paused reader stops the writer, which is told when there is room again', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    const { client, server } = await connected(world);
    const atServer = collect(server);
    const atClient = collect(client);
    server.pause();
    const bytes = someBytes(1, 400_000);
    let written = false;
    const isRoom = client.write([bytes], () => {
      written = true;
    });
    assert(!isRoom);
    const drained = atClient.drained();
    await new Promise<void>((wake) => world.env.clock.after(10_000, wake));
    assert.equal(atServer.received.bytes.length, 0);
    assert(!written && client.queuedBytes > 300_000);
    server.resume();
    await drained;
    assert(written && client.queuedBytes === 0);
    client.end();
    assert.equal((await atServer.over).bytes.length, 400_000);
  });
});

test('a connection that breaks after some bytes tells both ends, and delivers no more', async () => {
  const world = simulatedEnv(1);
  world.net.breakNext(1000);
  await world.run(async () => {
    const { client, server } = await connected(world);
    const ends = [collect(client), collect(server)];
    client.write([new Uint8Array(5000)]);
    const [atClient, atServer] = await Promise.all(ends.map(({ over }) => over));
    assert.equal(atServer!.bytes.length, 1000);
    for (const end of [atClient!, atServer!]) {
      assert.equal((end.closed as EnvError).code, 'ENV_CLOSED');
    }
    assert.equal(client.write([new Uint8Array(1)]), false);
  });
});

test('a peer that is destroyed or killed is noticed under every seed', async () => {
  for (let seed = 0; seed < 20; seed++) {
    const world = simulatedEnv(seed);
    const victim = world.startProcess('victim');
    await world.run(async () => {
      const accepted = new Promise<Stream>((resolve, reject) => {
        victim.env.net.listen(address, resolve).catch(reject);
      });
      await new Promise<void>((wake) => world.env.clock.after(10, wake));
      const client = await world.env.net.connect(address, 1000);
      collect(await accepted);
      const atClient = collect(client);
      victim.kill();
      assert.notEqual((await atClient.over).closed, 'no');
      await assert.rejects(world.env.net.connect(address, 1000), { code: 'ENV_REFUSED' });
    });
  }
});

test('addresses: one listener each, port 0 picks one, nobody listening refuses', async () => {
  const world = simulatedEnv(1);
  const { net } = world.env;
  await world.run(async () => {
    await assert.rejects(net.connect(address, 1000), { code: 'ENV_REFUSED' });
    const listener = await net.listen(address, () => undefined);
    await assert.rejects(
      net.listen(address, () => undefined),
      { code: 'ENV_ADDRESS_IN_USE' },
    );
    await listener.close();
    await net.listen(address, () => undefined);
    const any = await net.listen({ kind: 'tcp', host: 'here', port: 0 }, () => undefined);
    assert(any.address.kind === 'tcp' && any.address.port > 0);
  });
});

test('changing a buffer that was given away ends the run', async () => {
  const world = simulatedEnv(1);
  await assert.rejects(
    world.run(async () => {
      const { client, server } = await connected(world);
      const atServer = collect(server);
      collect(client);
      const bytes = new Uint8Array(100);
      client.write([bytes]);
      bytes[0] = 1;
      client.end();
      await atServer.over;
    }),
    { code: 'SIM_MISUSE' },
  );
});

test('while the link is cut nothing arrives and nobody is told; then all of it does', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    const { client, server } = await connected(world);
    const atServer = collect(server);
    world.net.link.cut();
    client.write([someBytes(1, 1000)]);
    client.end();
    const failed = world.env.net.connect(address, 500);
    await assert.rejects(failed, { code: 'ENV_TIMEOUT' });
    assert.deepEqual(atServer.received, { bytes: [], ended: false, closed: 'no' });
    world.net.link.mend();
    collect(client);
    assert.deepEqual((await atServer.over).bytes, [...someBytes(1, 1000)]);
  });
});
