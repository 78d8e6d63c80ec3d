/** Goal: a kept layer is a device like any other, and after a kill it has what was flushed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { test } from 'node:test';
import { deviceSuite } from './device.suite.ts';
import { type Device, FUA } from './device.ts';
import { type KeptLayer, openKeptLayer } from './kept-layer.ts';
import { memory } from './memory.ts';
import { type Fault, failNth, faulty, files, scratch } from './scratch.suite.ts';

const at = scratch();
const BLOCK = 4096;
let made = 0;

async function baseOf(sizeBytes: number, content?: Uint8Array): Promise<Device> {
  const base = memory('base', sizeBytes);
  if (content !== undefined) await base.write(content, 0, 0);
  return base;
}

deviceSuite({
  name: 'kept layer',
  runs: 25,
  make: async (content) => {
    const layer = await openKeptLayer(files, {
      base: await baseOf(content.byteLength, content),
      identity: 'suite',
      directory: at(`suite-${made++}`),
    });
    return { device: layer.device, close: () => layer[Symbol.asyncDispose]() };
  },
});

type Opening = { sizeBytes?: number; identity?: string; from?: typeof files };

async function open(
  name: string,
  { sizeBytes = 10 * BLOCK, ...rest }: Opening = {},
): Promise<KeptLayer> {
  const { identity = 'snapshot 1', from = files } = rest;
  const base = await baseOf(sizeBytes);
  return openKeptLayer(from, { base, identity, directory: at(name) });
}

test('what was flushed is there again, also without an orderly end', async () => {
  {
    await using first = await open('again');
    assert.equal(first.continued, false);
    assert.equal(first.device.durable, true);
    await first.device.write(new Uint8Array(BLOCK).fill(1), BLOCK, 0);
    await first.device.zero(BLOCK, 4 * BLOCK, FUA);
    await first.device.write(Uint8Array.of(3), 9 * BLOCK, 0); // Never flushed.
  }
  await using second = await open('again');
  assert.equal(second.continued, true);
  assert.deepEqual(
    [...second.device.changedExtents()],
    [
      { offsetBytes: BLOCK, lengthBytes: BLOCK },
      { offsetBytes: 4 * BLOCK, lengthBytes: BLOCK },
    ],
  );
  const target = new Uint8Array(BLOCK);
  await second.device.read(target, BLOCK);
  assert.deepEqual(target, new Uint8Array(BLOCK).fill(1));
});

test('a layer of another base, size, version or with damage is refused and left alone', async () => {
  await (await open('refused'))[Symbol.asyncDispose]();
  const map = at('refused/changed.map');
  const whole = fs.readFileSync(map);
  const refused = { code: 'DEVICE_LAYER' };
  await assert.rejects(open('refused', { identity: 'snapshot 2' }), {
    code: 'DEVICE_LAYER',
    message: /belongs to snapshot 1 \(40960 bytes\), not to snapshot 2/,
  });
  await assert.rejects(open('refused', { sizeBytes: 9 * BLOCK }), refused);
  const damages: Record<string, (bytes: Buffer) => Uint8Array> = {
    'wrong magic': (bytes) => bytes.fill('X', 0, 1),
    'flipped bit in the version': (bytes) => bytes.fill(3, 8, 9),
    'flipped bit in the identity': (bytes) => bytes.fill(bytes[25]! ^ 1, 25, 26),
    'flipped bit in both copies of the marks': (bytes) =>
      bytes.fill(1, BLOCK, BLOCK + 1).fill(1, 2 * BLOCK, 2 * BLOCK + 1),
    'cut header': (bytes) => bytes.subarray(0, 100),
    'cut bits': (bytes) => bytes.subarray(0, BLOCK + 100),
    'cut second copy of the bits': (bytes) => bytes.subarray(0, 3 * BLOCK - 1),
    empty: (bytes) => bytes.subarray(0, 0),
  };
  for (const [what, damage] of Object.entries(damages)) {
    fs.writeFileSync(map, damage(Buffer.from(whole)));
    await assert.rejects(open('refused'), refused, what);
  }
  fs.writeFileSync(map, whole);
  await (await open('refused'))[Symbol.asyncDispose]();
  fs.truncateSync(at('refused/layer.raw'), BLOCK);
  await assert.rejects(open('refused'), { code: 'DEVICE_SIZE' });
  fs.rmSync(at('refused/layer.raw'));
  await assert.rejects(open('refused'), { code: 'DEVICE_NOT_FOUND' });
});

test('a layer has one user at a time', async () => {
  await using first = await open('single');
  await assert.rejects(open('single'), { code: 'DEVICE_ACCESS' });
  await first[Symbol.asyncDispose]();
  await (await open('single'))[Symbol.asyncDispose]();
});

test('a map beyond its first page is kept too', async () => {
  const sizeBytes = 2 ** 40;
  const far = 2 ** 39 + 17 * BLOCK;
  {
    await using layer = await open('large', { sizeBytes });
    await layer.device.write(new Uint8Array(2 * BLOCK).fill(5), far, 0);
    await layer.device.write(Uint8Array.of(6), sizeBytes - 1, 0);
    await layer.device.flush();
  }
  await using layer = await open('large', { sizeBytes });
  assert.deepEqual(
    [...layer.device.changedExtents()],
    [
      { offsetBytes: far, lengthBytes: 2 * BLOCK },
      { offsetBytes: sizeBytes - BLOCK, lengthBytes: BLOCK },
    ],
  );
});

test('whichever call is the last one, nothing that was flushed is lost', async () => {
  async function work(
    name: string,
    from: typeof files,
    flushed: Map<number, number>,
  ): Promise<void> {
    await using layer = await open(name, { from });
    for (let step = 1; step <= 4; step++) {
      await layer.device.write(new Uint8Array(10).fill(step), step * BLOCK + 7, 0);
      await layer.device.flush();
      flushed.set(step * BLOCK + 7, step);
    }
  }
  const counter = failNth(0);
  await work('calls', faulty(files, counter), new Map());
  assert.ok(counter.count() > 20);
  for (let nth = 1; nth <= counter.count(); nth++) {
    const flushed = new Map<number, number>();
    const dying = faulty(files, failNth(nth, { stays: true }));
    await assert.rejects(work(`calls-${nth}`, dying, flushed));
    await using layer = await open(`calls-${nth}`);
    for (const [offset, value] of flushed) {
      const target = new Uint8Array(10);
      await layer.device.read(target, offset);
      assert.deepEqual(target, new Uint8Array(10).fill(value), `call ${nth}`);
    }
  }
});

test('kill -9 in the midst of writing loses no flushed write', async () => {
  const modules = ['../core/index.ts', './kept-layer.ts', './memory.ts'];
  const [core, kept, mem] = modules.map((name) =>
    JSON.stringify(new URL(name, import.meta.url).href),
  );
  const script = `
    const { nodeEnv } = await import(${core});
    const { openKeptLayer } = await import(${kept});
    const { memory } = await import(${mem});
    const { device } = await openKeptLayer(nodeEnv().files, {
      base: memory('base', 40 * ${BLOCK}), identity: 'kill', directory: process.argv[1] });
    let value = Number(process.argv[2]);
    for (;;) {
      value++;
      await Promise.all(Array.from({ length: 8 }, async (_, part) =>
        device.write(new Uint8Array(64).fill(value % 251),
          (value * 13 % 39) * ${BLOCK} + part * 512, 0)));
      await device.flush();
      (await import('node:fs')).writeSync(1, value + '\\n');
    }`;
  let last = 0;
  const written = new Map<number, number>();
  for (let round = 0; round < 8; round++) {
    const args = ['--input-type=module', '-e', script, at('killed'), String(last)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (bytes: Buffer) => {
      output += String(bytes);
      if (output.split('\n').length > 3 + 5 * round) child.kill('SIGKILL');
    });
    await once(child, 'close');
    // The last line may be cut; the value after it may or may not have been written.
    for (const line of output.split('\n').slice(0, -1)) {
      last = Number(line);
      written.set((last * 13) % 39, last % 251);
    }
    const unsure = ((last + 1) * 13) % 39;
    const base = memory('base', 40 * BLOCK);
    await using layer = await openKeptLayer(files, {
      base,
      identity: 'kill',
      directory: at('killed'),
    });
    for (const [block, value] of written) {
      const target = new Uint8Array(BLOCK);
      await layer.device.read(target, block * BLOCK);
      for (let part = 0; part < 8 && block !== unsure; part++) {
        const found = target.subarray(part * 512, part * 512 + 64);
        assert.deepEqual(found, new Uint8Array(64).fill(value), `block ${block}, part ${part}`);
      }
    }
  }
  assert.ok(last > 50, `only ${last} flushes`);
});

test('a discarded layer leaves nothing, and the next one starts anew', async () => {
  const first = await open('discarded');
  await first.device.write(new Uint8Array(BLOCK).fill(1), 0, FUA);
  await first.discard();
  assert.equal(fs.existsSync(at('discarded')), false);
  await using second = await open('discarded');
  assert.deepEqual([second.continued, second.device.changedBytes()], [false, 0]);
});

test('a layer whose map is missing is refused and left alone, also if it is all zeroes', async () => {
  for (const [name, value] of Object.entries({ ones: 1, zeroes: 0 })) {
    {
      await using first = await open(name);
      if (value === 0) await first.device.zero(BLOCK, 0, FUA);
      else await first.device.write(new Uint8Array(BLOCK).fill(value), 0, FUA);
    }
    fs.renameSync(at(`${name}/changed.map`), at('aside'));
    await assert.rejects(open(name), {
      code: 'DEVICE_LAYER',
      message: /changed\.map is missing, but .*layer\.raw is there/,
      hint: /put back the map, or remove the directory/,
    });
    fs.renameSync(at('aside'), at(`${name}/changed.map`));
    await using again = await open(name);
    const target = new Uint8Array(BLOCK);
    await again.device.read(target, 0);
    assert.deepEqual([again.device.changedBytes(), target[0]], [BLOCK, value]);
  }
});

test('whichever call interrupts a discard, the next opening has the layer or a new one', async () => {
  async function interrupted(name: string, fault: Fault & { count: () => number }) {
    let armed = false;
    const from = faulty(files, (call, path) => (armed ? fault(call, path) : undefined));
    await using first = await open(name, { from });
    await first.device.write(new Uint8Array(BLOCK).fill(1), 0, FUA);
    armed = true;
    await first.discard();
  }
  const counter = failNth(0);
  await interrupted('discards', counter);
  assert.ok(counter.count() > 5);
  const outcomes = new Set<boolean>();
  for (let nth = 1; nth <= counter.count(); nth++) {
    await assert.rejects(interrupted(`discards-${nth}`, failNth(nth, { stays: true })));
    await using next = await open(`discards-${nth}`);
    assert.equal(next.device.changedBytes(), next.continued ? BLOCK : 0, `call ${nth}`);
    outcomes.add(next.continued);
    assert.equal(fs.existsSync(at(`discards-${nth}/discarding`)), false);
  }
  assert.equal(outcomes.size, 2);
});

test('a lock that was waited for through a discard still keeps the next one out', async () => {
  await using first = await open('waited/');
  // Another name stands for a process that has opened the lock's file, but not locked it yet.
  fs.linkSync(at('waited.lock'), at('opened-before'));
  await first.discard();
  assert.equal(fs.existsSync(at('waited')), false);
  {
    await using second = await open('waited');
    assert.equal(second.continued, false);
    assert.equal(await files.lock(at('opened-before')), undefined);
  }
  const late = await files.lock(at('opened-before'));
  assert.ok(late);
  await assert.rejects(open('waited'), { code: 'DEVICE_ACCESS' });
  await late.release();
});

test('a directory is discarded under the lock: the next one finds it gone or its own', async () => {
  let held: boolean | undefined;
  const from = faulty(files, (call, path) => {
    if (call === 'removeDirectory') held = fs.existsSync(path) && !released;
  });
  let released = false;
  const lock: typeof files.lock = async (path) => {
    const taken = await files.lock(path);
    const release = (): Promise<void> => {
      released = true;
      return taken!.release();
    };
    return taken && { release };
  };
  const first = await open('under-lock', { from: { ...from, lock } });
  await first.discard();
  assert.deepEqual([held, released], [true, true]);
});

test('a layer in use is not discarded by another process that wants it', async () => {
  await using first = await open('shared');
  await assert.rejects(open('shared'), { code: 'DEVICE_ACCESS' });
  await first.device.write(new Uint8Array(BLOCK).fill(1), 0, FUA);
  await first.discard();
  await using second = await open('shared');
  assert.equal(second.continued, false);
});
