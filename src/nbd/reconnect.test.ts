/** Goal: a lost connection costs time; no acknowledged write is lost, and no flush lies. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Address, Env, Stream } from '../core/index.ts';
import { type Device, DeviceError, FUA } from '../device/index.ts';
import { connect } from './connect.ts';
import { altered, env, freshAddress, MIB, smallMemory } from './loopback.suite.ts';
import { simple, withServer } from './lying-server.suite.ts';
import { type NbdServer, type ServeOptions, serve } from './server.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A machine whose disk keeps what was flushed, and forgets the rest when the power fails. */
class Machine {
  readonly durable: Uint8Array;
  readonly device: Device;
  #current: Uint8Array;
  #boots = 0;
  writes = 0;
  flushes = 0;

  constructor(sizeBytes: number) {
    this.durable = new Uint8Array(sizeBytes);
    this.#current = new Uint8Array(sizeBytes);
    const change = async (at: number, bytes: Uint8Array, isForced: boolean) => {
      const boot = this.#boots;
      for (let wait = at % 3; wait > 0; wait -= 1) await turn();
      if (boot !== this.#boots) throw new Error('the machine is off');
      this.writes += 1;
      this.#current.set(bytes, at);
      if (isForced) this.durable.set(bytes, at);
    };
    this.device = altered(smallMemory(sizeBytes), {
      durable: true,
      read: (target, at) => target.set(this.#current.subarray(at, at + target.byteLength)),
      write: (source, at, flags) => change(at, source, (flags & FUA) !== 0),
      zero: (lengthBytes, at, flags) =>
        change(at, new Uint8Array(lengthBytes), (flags & FUA) !== 0),
      flush: async () => {
        const boot = this.#boots;
        await turn();
        if (boot !== this.#boots) throw new Error('the machine is off');
        this.flushes += 1;
        this.durable.set(this.#current);
      },
    });
  }

  powerCut(): void {
    this.#boots += 1;
    this.#current = this.durable.slice();
  }
}

/** A server whose connections can be cut from outside. */
async function fragile(
  device: Device,
  address: Address = freshAddress(),
  options: Partial<ServeOptions> = {},
): Promise<{ server: NbdServer; cut(): void; cutOne(): void }> {
  const streams: Stream[] = [];
  const listening: Env = {
    ...env,
    net: {
      ...env.net,
      listen: (at, onStream) =>
        env.net.listen(at, (stream) => {
          streams.push(stream);
          onStream(stream);
        }),
    },
  };
  const server = await serve(listening, { address, exports: new Map([['', device]]), ...options });
  const cutOne = () => streams.shift()?.destroy();
  const cut = () => {
    while (streams.length > 0) cutOne();
  };
  return { server, cut, cutOne };
}

test('whatever is cut and forgotten, flushed data is there and reads are right', async () => {
  const SIZE = 64 * 1024;
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('write' as const), at: fc.nat(15) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('zero' as const), at: fc.nat(15) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('force' as const), at: fc.nat(15) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('flush' as const), at: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('power' as const), at: fc.nat(3) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const), at: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), at: fc.nat(3) }) },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 50 }),
      fc.integer({ min: 1, max: 3 }),
      async (steps, connections) => {
        const machine = new Machine(SIZE);
        const { server, cut, cutOne } = await fragile(machine.device);
        const client = await connect(env, server.uri, { connections });
        const expected = new Uint8Array(SIZE);
        /** What is in flight, by place: one call at a time there, so that its order is known. */
        const busy = new Map<number, Promise<void>>();
        let fill = 0;
        const settleAll = async () => {
          await Promise.all(busy.values());
          busy.clear();
        };
        for (const { kind, at } of steps) {
          if (kind === 'power') {
            machine.powerCut();
            cut();
          } else if (kind === 'cut') cutOne();
          else if (kind === 'wait') await turn();
          else if (kind === 'flush') {
            await settleAll();
            await client.flush();
            assert.deepEqual(machine.durable, expected);
          } else {
            // Neighbours overlap by half.
            const places = [at, (at + 1) % 16, (at + 15) % 16];
            await Promise.all(places.map((place) => busy.get(place)));
            fill = (fill % 250) + 1;
            const bytes = new Uint8Array(6000).fill(kind === 'zero' ? 0 : fill);
            expected.set(bytes.subarray(0, SIZE - at * 4096), at * 4096);
            const part = bytes.subarray(0, Math.min(6000, SIZE - at * 4096));
            const done =
              kind === 'zero'
                ? client.zero(part.byteLength, at * 4096, 0)
                : client.write(part, at * 4096, kind === 'force' ? FUA : 0);
            busy.set(at, Promise.resolve(done));
          }
        }
        await settleAll();
        const seen = new Uint8Array(SIZE);
        await client.read(seen, 0);
        assert.deepEqual(seen, expected);
        await client.flush();
        assert.deepEqual(machine.durable, expected);
        await client[Symbol.asyncDispose]();
        await server.close();
      },
    ),
    { numRuns: 60 },
  );
});

test('calls wait for a server that is away and comes back', async () => {
  const device = smallMemory();
  const address = freshAddress();
  const { server } = await fragile(device, address);
  const client = await connect(env, server.uri, { connections: 2 });
  await client.write(Uint8Array.of(1, 2, 3), 7, 0);
  await server.close();
  const target = new Uint8Array(3);
  const reading = client.read(target, 7);
  const writing = client.write(Uint8Array.of(9), 8, 0);
  await turn();
  const { server: again } = await fragile(device, address);
  await Promise.all([reading, writing]);
  await client.read(target, 7);
  assert.deepEqual([...target], [1, 9, 3]);
  assert.equal(again.connectionCount, 2);
  await client[Symbol.asyncDispose]();
  await again.close();
});

test('a server that stays away fails all calls after the time given, those to come too', async () => {
  const { server } = await fragile(smallMemory());
  const client = await connect(env, server.uri, { reconnectTimeoutMs: 120 });
  await server.close();
  const failed = { code: 'DEVICE_CLOSED' };
  const calls = [client.read(new Uint8Array(9), 0), client.write(new Uint8Array(9), 0, 0)];
  for (const call of calls) await assert.rejects(Promise.resolve(call), failed);
  await assert.rejects(async () => client.read(new Uint8Array(9), 0), failed);
  await assert.rejects(async () => client.flush(), { code: 'DEVICE_FLUSH_FAILED' });
  await client[Symbol.asyncDispose]();
});

test('disposing ends the wait for a server that is away', async () => {
  const { server } = await fragile(smallMemory());
  const client = await connect(env, server.uri);
  await server.close();
  const reading = assert.rejects(async () => client.read(new Uint8Array(9), 0), DeviceError);
  await turn();
  await client[Symbol.asyncDispose]();
  await reading;
});

test('an export that has become another one is not gone on with', async () => {
  const address = freshAddress();
  const { server } = await fragile(smallMemory(), address);
  const client = await connect(env, server.uri);
  await server.close();
  const { server: other } = await fragile(smallMemory(2 * MIB), address);
  await assert.rejects(async () => client.read(new Uint8Array(9), 0), DeviceError);
  await client[Symbol.asyncDispose]();
  await other.close();
});

test('a request that brings the server down each time fails in the end', async () => {
  let count = 0;
  await withServer(
    {
      answer: (peer, request) => {
        if (request.command !== 0) peer.send(simple(request));
        else {
          count += 1;
          peer.stream.destroy();
        }
      },
      structured: false,
    },
    async (open) => {
      const client = await open({ reconnectTimeoutMs: 20_000 });
      await assert.rejects(async () => client.read(new Uint8Array(9), 0), { code: 'DEVICE_IO' });
      assert.equal(count, 6);
      await client.flush();
      await client[Symbol.asyncDispose]();
    },
  );
});

test('a server that stops answering is left, and asked again elsewhere', async () => {
  let isDeaf = true;
  const inner = smallMemory();
  const device = altered(inner, {
    async read(target, offsetBytes) {
      if (isDeaf) {
        isDeaf = false;
        await new Promise(() => {});
      }
      await inner.read(target, offsetBytes);
    },
  });
  const { server } = await fragile(device);
  const client = await connect(env, server.uri, { answerTimeoutMs: 100 });
  await client.write(Uint8Array.of(5), 0, 0);
  await client.flush();
  const target = new Uint8Array(1);
  await client.read(target, 0);
  assert.equal(target[0], 5);
  await client[Symbol.asyncDispose]();
  await server.close(50);
});

test('unflushed writes are flushed before they fill the memory kept for them', async () => {
  const machine = new Machine(8 * MIB);
  const { server, cut } = await fragile(machine.device);
  const client = await connect(env, server.uri);
  const block = new Uint8Array(4 * MIB);
  for (let round = 0; round < 40; round += 1) {
    block.fill(round + 1);
    await client.write(block, (round % 2) * block.byteLength, 0);
  }
  assert.ok(machine.flushes >= 2 && machine.flushes < 10, `${machine.flushes} flushes`);
  machine.powerCut();
  cut();
  await client.flush();
  assert.ok(machine.durable.subarray(0, 4 * MIB).every((byte) => byte === 39));
  assert.ok(machine.durable.subarray(4 * MIB).every((byte) => byte === 40));
  await client[Symbol.asyncDispose]();
  await server.close();
});

test('a flush that the server refuses stays failed after a new connection', async () => {
  let mayFlush = false;
  const device = altered(smallMemory(), {
    durable: true,
    flush() {
      if (!mayFlush) throw new DeviceError('DEVICE_IO', 'no', { hint: 'None.' });
    },
  });
  const { server, cut } = await fragile(device);
  const client = await connect(env, server.uri);
  await client.write(Uint8Array.of(1), 0, 0);
  await assert.rejects(async () => client.flush(), { code: 'DEVICE_FLUSH_FAILED' });
  mayFlush = true;
  cut();
  await client.read(new Uint8Array(1), 0);
  await assert.rejects(async () => client.flush(), { code: 'DEVICE_FLUSH_FAILED' });
  await client[Symbol.asyncDispose]();
  await server.close();
});

test('what is written again does not undo a newer write on another connection', async () => {
  const gate = Promise.withResolvers<void>();
  const readStarted = Promise.withResolvers<void>();
  const writeStarted = Promise.withResolvers<void>();
  const inner = smallMemory();
  let isFirst = true;
  const device = altered(inner, {
    durable: true,
    async read(target, offsetBytes) {
      if (isFirst) {
        isFirst = false;
        readStarted.resolve();
        await new Promise(() => {});
      }
      await inner.read(target, offsetBytes);
    },
    async write(source, offsetBytes, flags) {
      if (source[0] === 2) {
        writeStarted.resolve();
        await gate.promise;
      }
      await inner.write(source, offsetBytes, flags);
    },
  });
  const { server, cutOne } = await fragile(device);
  const client = await connect(env, server.uri, { connections: 2 });
  await client.write(Uint8Array.of(1), 0, 0);
  const reading = client.read(new Uint8Array(1), 8192);
  const writing = client.write(Uint8Array.of(2), 0, 0);
  await Promise.all([readStarted.promise, writeStarted.promise]);
  cutOne();
  // The first connection is back, or could be.
  for (let wait = 0; wait < 50; wait += 1) await turn();
  gate.resolve();
  await Promise.all([reading, writing]);
  const target = new Uint8Array(1);
  await client.read(target, 0);
  assert.equal(target[0], 2);
  await client[Symbol.asyncDispose]();
  await server.close(50);
});
