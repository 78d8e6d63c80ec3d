/** Goal: a mount's requests are answered from the device, bounded, whatever the device does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EnvError, type FileDone, type FuseMount } from '../../core/index.ts';
import { type Device, DeviceError, memory } from '../../device/index.ts';
import {
  OP_DESTROY,
  OP_FALLOCATE,
  OP_FORGET,
  OP_FSYNC,
  OP_GETATTR,
  OP_INIT,
  OP_INTERRUPT,
  OP_LOOKUP,
  OP_LSEEK,
  OP_OPEN,
  OP_READ,
  OP_STATFS,
  OP_WRITE,
} from './fuse-constants.ts';
import { requestBytes, type Wish } from './fuse-request.fixture.ts';
import { FuseSession } from './fuse-session.ts';
import { FuseTree } from './fuse-tree.ts';
import { FUSE_REQUESTS_MAX } from './limits.ts';

const SIZE = 1024 * 1024;
const PUNCH = 2 | 1;
const closed = new EnvError('ENV_CLOSED', 'unmounted', { hint: '' });

type Answer = { readonly error: number; readonly body: Buffer };

/** The kernel's side of a mount, in memory. */
class FakeMount implements FuseMount {
  readonly isDirectory = false;
  readonly answers = new Map<number, Answer>();
  readonly queue: Buffer[] = [];
  isClosed = false;
  #waiting: { target: Uint8Array; done: FileDone } | undefined;
  #isGone = false;
  #next = 1;

  read(target: Uint8Array, done: FileDone): void {
    assert.equal(this.#waiting, undefined, 'one read at a time');
    this.#waiting = { target, done };
    queueMicrotask(() => this.#serve());
  }

  write(reply: Uint8Array): boolean {
    const bytes = Buffer.from(reply);
    assert.equal(bytes.readUInt32LE(0), bytes.byteLength);
    const unique = bytes.readUInt32LE(8);
    assert.equal(this.answers.has(unique), false, 'a request is answered once');
    this.answers.set(unique, { error: 0 - bytes.readInt32LE(4), body: bytes.subarray(16) });
    return true;
  }

  unmount(): Promise<boolean> {
    this.#isGone = true;
    this.#serve();
    return Promise.resolve(true);
  }

  close(): void {
    this.isClosed = true;
  }

  send(wish: Wish): number {
    const unique = this.#next++;
    this.queue.push(requestBytes({ ...wish, uniqueLow: unique }));
    this.#serve();
    return unique;
  }

  async ask(wish: Wish): Promise<Answer> {
    const unique = this.send(wish);
    for (let turns = 0; turns < 100; turns += 1) {
      const answer = this.answers.get(unique);
      if (answer !== undefined) return answer;
      await new Promise((resolve) => setImmediate(resolve));
    }
    throw new Error(`request ${unique} was not answered`);
  }

  #serve(): void {
    const waiting = this.#waiting;
    if (waiting === undefined || (this.queue.length === 0 && !this.#isGone)) return;
    this.#waiting = undefined;
    const bytes = this.queue.shift();
    if (bytes === undefined) waiting.done(closed, 0);
    else {
      waiting.target.set(bytes);
      waiting.done(null, bytes.byteLength);
    }
  }
}

function sessionOver(device: Device, fileName?: string) {
  const mount = new FakeMount();
  const troubles: unknown[] = [];
  const tree = new FuseTree({
    ...{ fileName, sizeBytes: device.sizeBytes, readOnly: device.readOnly, forOthers: false },
    ...{ modifiedMs: 0, userId: 0, groupId: 0 },
  });
  const onTrouble = (error: unknown) => void troubles.push(error);
  return { mount, troubles, session: new FuseSession({ mount, device, tree, onTrouble }) };
}

/** `base` with some methods replaced. */
function over(base: Device, changes: Partial<Device>): Device {
  return new Proxy(base, {
    get: (target, key) => {
      if (key in changes) return changes[key as keyof Device];
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('reads, writes, holes and flushes have the effect that a plain array would show', async () => {
  const place = fc.record({ at: fc.nat(SIZE - 1), length: fc.integer({ min: 1, max: 70_000 }) });
  const step = fc.record({ kind: fc.constantFrom('read', 'write', 'punch', 'flush'), place });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { mount } = sessionOver(memory('m', SIZE));
      const model = Buffer.alloc(SIZE);
      for (const [number, { kind, place: wanted }] of steps.entries()) {
        const { at: offsetBytes, length: lengthBytes } = wanted;
        const end = Math.min(offsetBytes + lengthBytes, SIZE);
        const where = { offsetBytes, lengthBytes };
        if (kind === 'read') {
          const { body } = await mount.ask({ opcode: OP_READ, ...where });
          assert.ok(body.equals(model.subarray(offsetBytes, end)));
        } else if (kind === 'write') {
          const payload = Buffer.alloc(lengthBytes, number + 1);
          const { body } = await mount.ask({ opcode: OP_WRITE, ...where, payload });
          assert.equal(body.readUInt32LE(0), end - offsetBytes, 'what passes the end is not taken');
          model.fill(number + 1, offsetBytes, end);
        } else if (kind === 'punch') {
          await mount.ask({ opcode: OP_FALLOCATE, ...where, flags: PUNCH });
          model.fill(0, offsetBytes, end);
        } else assert.equal((await mount.ask({ opcode: OP_FSYNC })).error, 0);
      }
    }),
    { numRuns: 30 },
  );
});

test('no request, however odd, gets two answers or stops the next one', async () => {
  const number = fc.oneof(fc.nat(2 * SIZE), fc.bigInt(0n, 2n ** 64n - 1n).map(Number));
  const odd = fc.record({
    opcode: fc.nat(60),
    node: fc.nat(3),
    offsetBytes: number,
    lengthBytes: fc.nat(2 ** 32 - 1),
    flags: fc.nat(2 ** 31),
    cutBytes: fc.nat(60),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(odd, { maxLength: 30 }), async (requests) => {
      const { mount, troubles } = sessionOver(memory('m', SIZE), 'disk');
      for (const [index, { cutBytes, offsetBytes, ...rest }] of requests.entries()) {
        const wish = { ...rest, offsetBytes: BigInt(offsetBytes) % 2n ** 64n };
        const bytes = requestBytes({ ...wish, uniqueLow: 1000 + index });
        mount.queue.push(cutBytes < 16 ? bytes : bytes.subarray(0, cutBytes));
      }
      const { error } = await mount.ask({ opcode: OP_GETATTR, node: 2 });
      assert.equal(error, 0);
      assert.deepEqual(troubles, []); // A second answer would be one.
    }),
    { numRuns: 200 },
  );
});

test('the file has the size of the device, by name in a directory or as the root', async () => {
  const root = sessionOver(memory('m', SIZE)).mount;
  assert.equal((await root.ask({ opcode: OP_GETATTR })).body.readBigUInt64LE(24), BigInt(SIZE));
  const { mount } = sessionOver(memory('m', SIZE), 'disk');
  const found = await mount.ask({ opcode: OP_LOOKUP, name: 'disk' });
  assert.deepEqual([found.error, found.body.readBigUInt64LE(0)], [0, 2n]);
  assert.equal((await mount.ask({ opcode: OP_LOOKUP, name: 'other' })).error, 2);
  assert.equal((await mount.ask({ opcode: OP_OPEN, node: 1 })).error, 21);
  assert.equal((await mount.ask({ opcode: OP_OPEN, node: 2 })).error, 0);
  assert.equal((await mount.ask({ opcode: OP_READ, node: 1, lengthBytes: 1 })).error, 9);
  assert.equal((await mount.ask({ opcode: OP_STATFS })).error, 0);
});

test('holes and data are found, and after the last there are none', async () => {
  const device = memory('m', 8 * SIZE);
  await device.write(Buffer.alloc(4096, 1), 3 * SIZE, 0);
  const { mount } = sessionOver(device);
  const seek = async (offsetBytes: number, flags: number) => {
    const { error, body } = await mount.ask({ opcode: OP_LSEEK, offsetBytes, flags });
    return error === 0 ? Number(body.readBigUInt64LE(0)) : -error;
  };
  const data = await seek(0, 3);
  assert.ok(data > 0 && data <= 3 * SIZE, `data begins at ${data}`);
  assert.equal(await seek(0, 4), 0);
  assert.ok((await seek(3 * SIZE, 4)) > 3 * SIZE);
  assert.equal(await seek(7 * SIZE, 3), -6);
  assert.equal(await seek(8 * SIZE, 4), -6);
  assert.equal(await seek(0, 9), -22);
});

test('errors of the device reach their caller as numbers, and the next request is answered', async () => {
  const codes = [
    ['DEVICE_IO', 5],
    ['DEVICE_CLOSED', 5],
    ['DEVICE_NO_SPACE', 28],
  ] as const;
  for (const [code, number] of codes) {
    const fail = () => Promise.reject(new DeviceError(code, 'no', { hint: '' }));
    const { mount } = sessionOver(over(memory('m', SIZE), { read: fail, flush: fail }));
    assert.equal((await mount.ask({ opcode: OP_READ, lengthBytes: 4096 })).error, number);
    assert.equal((await mount.ask({ opcode: OP_FSYNC })).error, number);
    assert.equal((await mount.ask({ opcode: OP_GETATTR })).error, 0);
  }
});

test('what is not known is refused, what wants no answer gets none', async () => {
  const { mount } = sessionOver(memory('m', SIZE));
  assert.equal((await mount.ask({ opcode: 4711 })).error, 38);
  const silent = [OP_FORGET, OP_INTERRUPT].map((opcode) => mount.send({ opcode }));
  assert.equal((await mount.ask({ opcode: OP_DESTROY })).error, 0);
  for (const unique of silent) assert.equal(mount.answers.has(unique), false);
  mount.queue.push(requestBytes({ opcode: OP_READ, uniqueLow: 99 }).subarray(0, 50));
  assert.equal((await mount.ask({ opcode: OP_GETATTR })).error, 0);
  assert.equal(mount.answers.get(99)?.error, 71);
});

test('a kernel that is too old is refused with a reason', async () => {
  const { mount, troubles } = sessionOver(memory('m', SIZE));
  assert.equal((await mount.ask({ opcode: OP_INIT, minor: 27 })).error, 71);
  assert.match(String(troubles[0]), /FUSE 7\.27/);
  assert.equal((await mount.ask({ opcode: OP_INIT, minor: 28 })).error, 0);
});

test('a device that does not answer holds a bounded number of requests', async () => {
  const gates: (() => void)[] = [];
  const read = () => new Promise<void>((resolve) => void gates.push(resolve));
  const { mount, session } = sessionOver(over(memory('m', SIZE), { read }));
  for (let count = 0; count < 3 * FUSE_REQUESTS_MAX; count += 1) {
    mount.send({ opcode: OP_READ, lengthBytes: 4096 });
  }
  for (let turns = 0; turns < 3 * FUSE_REQUESTS_MAX; turns += 1) await settled();
  assert.equal(session.requestCount, FUSE_REQUESTS_MAX);
  assert.equal(mount.queue.length, 2 * FUSE_REQUESTS_MAX, 'the others stay in the kernel');
  while (mount.answers.size < 3 * FUSE_REQUESTS_MAX) {
    gates.shift()?.();
    await settled();
  }
});

test('overlapping writes take effect in the order in which they came', async () => {
  const inner = memory('m', SIZE);
  let release = () => {};
  let writes = 0;
  const device = over(inner, {
    write(source: Uint8Array, offsetBytes: number) {
      if (writes++ > 0) return inner.write(source, offsetBytes, 0);
      return new Promise<void>((resolve) => {
        release = () => resolve(inner.write(source, offsetBytes, 0));
      });
    },
  });
  const { mount } = sessionOver(device);
  const write = (value: number) =>
    mount.send({ opcode: OP_WRITE, lengthBytes: 512, payload: Buffer.alloc(512, value) });
  write(1);
  const second = write(2);
  await settled();
  assert.equal(mount.answers.has(second), false, 'the second waits for the first');
  release();
  const { body } = await mount.ask({ opcode: OP_READ, lengthBytes: 512 });
  assert.ok(body.equals(Buffer.alloc(512, 2)));
});

test('after the unmount it ends when the last request is answered, and lets go', async () => {
  let release = () => {};
  const flush = () =>
    new Promise<void>((resolve) => {
      release = resolve;
    });
  const { mount, session } = sessionOver(over(memory('m', SIZE), { flush }));
  const last = mount.send({ opcode: OP_FSYNC });
  await settled();
  await mount.unmount();
  await settled();
  assert.equal(mount.isClosed, false);
  release();
  await session.ended;
  assert.deepEqual([mount.isClosed, mount.answers.get(last)?.error], [true, 0]);
});
