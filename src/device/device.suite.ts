/** The contract of device.ts as a suite: every backend and every decorator runs it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Device, type DeviceExtent, FUA, NO_HOLE } from './device.ts';

export type Subject = { readonly device: Device; close(): PromiseLike<void> };

export type SuiteOptions = {
  readonly name: string;
  /** A device of the size of `content` that reads as `content`. */
  make(content: Uint8Array): Promise<Subject>;
  /** How many command sequences; fewer where a subject costs system calls. */
  readonly runs?: number;
};

const BLOCK = 4096;
const SIZE = 3 * BLOCK + 1000; // The last block is short.

/** Block 1 is zero, so that there is something to be called a hole. */
const content = Uint8Array.from({ length: SIZE }, (_, index) =>
  index >= BLOCK && index < 2 * BLOCK ? 0 : 1 + (index % 251),
);

/** `trimmed[i]`: byte i may read as what it was, or as zero, each time anew. */
type Model = { readonly bytes: Uint8Array; readonly trimmed: Uint8Array };
type Command = fc.AsyncCommand<Model, Device>;
type Range = { readonly offset: number; readonly length: number };

const edge = fc
  .tuple(fc.nat(3), fc.integer({ min: -1, max: 1 }))
  .map(([block, delta]) => Math.max(0, block * BLOCK + delta));
const point = fc.oneof(fc.nat(SIZE), edge);
const range: fc.Arbitrary<Range> = fc
  .tuple(point, fc.oneof(point, fc.nat(600), fc.constant(BLOCK)))
  .map(([offset, wanted]) => ({ offset, length: Math.min(wanted, SIZE - offset) }));

export function deviceSuite({ name, make, runs = 60 }: SuiteOptions): void {
  const all = [reads, extentLists, flushes, writes, zeroes, trims, overlaps];

  test(`${name}: behaves like a plain array`, () =>
    fc.assert(
      fc.asyncProperty(fc.commands(all, { maxCommands: 25 }), async (commands) => {
        const { device, close } = await make(content.slice());
        try {
          const model = { bytes: content.slice(), trimmed: new Uint8Array(SIZE) };
          await fc.asyncModelRun(() => ({ model, real: device }), commands);
          await expectContent(device, model, { offset: 0, length: SIZE });
        } finally {
          await close();
        }
      }),
      { numRuns: runs },
    ));

  sharedTests(name, make);

  test(`${name}: is writable and says so`, async () => {
    const { device, close } = await make(content.slice());
    assert.equal(device.readOnly, false);
    await rejectsOutOfRange((...at) => device.write(new Uint8Array(at[0]), at[1], 0));
    await rejectsOutOfRange((...at) => device.zero(...at, 0));
    await rejectsOutOfRange((...at) => device.trim(...at, 0));
    await close();
  });
}

export function readOnlyDeviceSuite({ name, make, runs = 60 }: SuiteOptions): void {
  test(`${name}: reads like a plain array`, () =>
    fc.assert(
      fc.asyncProperty(fc.commands([reads, extentLists, flushes]), async (commands) => {
        const { device, close } = await make(content.slice());
        try {
          const model = { bytes: content, trimmed: new Uint8Array(SIZE) };
          await fc.asyncModelRun(() => ({ model, real: device }), commands);
        } finally {
          await close();
        }
      }),
      { numRuns: runs },
    ));

  sharedTests(name, make);

  test(`${name}: refuses every change and stays as it is`, async () => {
    const { device, close } = await make(content.slice());
    const code = { code: 'DEVICE_READ_ONLY' };
    assert.equal(device.readOnly, true);
    await assert.rejects(async () => device.write(Uint8Array.of(1), 0, 0), code);
    await assert.rejects(async () => device.zero(1, 0, 0), code);
    await assert.rejects(async () => device.trim(1, 0, 0), code);
    await device.flush();
    const model = { bytes: content, trimmed: new Uint8Array(SIZE) };
    await expectContent(device, model, { offset: 0, length: SIZE });
    await close();
  });
}

function sharedTests(name: string, make: SuiteOptions['make']): void {
  test(`${name}: has the right size, and refuses what lies outside`, async () => {
    const { device, close } = await make(content.slice());
    assert.equal(device.sizeBytes, SIZE);
    assert.ok(device.name.length > 0);
    await rejectsOutOfRange((...at) => device.read(new Uint8Array(at[0]), at[1]));
    await rejectsOutOfRange((...at) => device.extents(...at, 1));
    await device.read(new Uint8Array(0), SIZE);
    await close();
  });

  test(`${name}: may be disposed twice`, async () => {
    const { device, close } = await make(content.slice());
    await device[Symbol.asyncDispose]();
    await device[Symbol.asyncDispose]();
    await close();
  });
}

/** Makes every answer of `device` come later, in the order and at the time that `delay` decides. */
export function delayed(device: Device, delay: () => Promise<unknown>): Device {
  async function later<T>(act: () => T | Promise<T>): Promise<T> {
    await delay();
    const answer = await act();
    await delay();
    return answer;
  }
  return {
    name: device.name,
    sizeBytes: device.sizeBytes,
    blockSizes: device.blockSizes,
    readOnly: device.readOnly,
    hints: device.hints,
    durable: device.durable,
    read: (target, offsetBytes) => later(() => device.read(target, offsetBytes)),
    write: (source, offsetBytes, flags) => later(() => device.write(source, offsetBytes, flags)),
    flush: () => later(() => device.flush()),
    zero: (length, offsetBytes, flags) => later(() => device.zero(length, offsetBytes, flags)),
    trim: (length, offsetBytes, flags) => later(() => device.trim(length, offsetBytes, flags)),
    extents: (length, offsetBytes, limit) =>
      later(() => device.extents(length, offsetBytes, limit)),
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}

async function rejectsOutOfRange(
  act: (lengthBytes: number, offsetBytes: number) => unknown,
): Promise<void> {
  for (const [length, offset] of [
    [1, SIZE],
    [2, SIZE - 1],
    [SIZE + 1, 0],
    [1, -1],
    [1, Number.MAX_SAFE_INTEGER],
  ] as const) {
    await assert.rejects(async () => act(length, offset), { code: 'DEVICE_RANGE' });
  }
}

/** Reads between guards: neither the range nor its surroundings may be wrong. */
async function readGuarded(device: Device, { offset, length }: Range): Promise<Uint8Array> {
  const around = new Uint8Array(length + 16).fill(0xa5);
  const target = around.subarray(8, 8 + length);
  await device.read(target, offset);
  const guards = [...around.subarray(0, 8), ...around.subarray(8 + length)];
  assert.ok(
    guards.every((byte) => byte === 0xa5),
    'bytes outside the target were touched',
  );
  return target;
}

async function expectContent(device: Device, model: Model, at: Range): Promise<void> {
  const bytes = await readGuarded(device, at);
  for (let i = 0; i < at.length; i++) {
    const wanted = model.bytes[at.offset + i];
    if (bytes[i] === wanted || (bytes[i] === 0 && model.trimmed[at.offset + i])) continue;
    assert.fail(`byte ${at.offset + i} is ${bytes[i]}, not ${wanted}`);
  }
}

function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (seed + index * 7) & 0xff);
}

function command(label: string, run: (model: Model, device: Device) => Promise<void>): Command {
  return { check: () => true, toString: () => label, run };
}

function set(model: Model, { offset }: Range, bytes: Uint8Array): void {
  model.bytes.set(bytes, offset);
  model.trimmed.fill(0, offset, offset + bytes.byteLength);
}

const reads = range.map((at) =>
  command(`read(${at.length} at ${at.offset})`, (model, device) =>
    expectContent(device, model, at),
  ),
);

const flushes = fc.constant(command('flush()', async (_model, device) => device.flush()));

const writes = fc.tuple(range, fc.nat(255), fc.boolean()).map(([at, seed, force]) =>
  command(`write(${at.length} at ${at.offset}, seed ${seed})`, async (model, device) => {
    const source = pattern(at.length, seed);
    set(model, at, source);
    await device.write(source, at.offset, force ? FUA : 0);
    source.fill(0xee); // It is the caller's again.
  }),
);

const zeroes = fc.tuple(range, fc.constantFrom(0, FUA, NO_HOLE, NO_HOLE | FUA)).map(([at, flags]) =>
  command(`zero(${at.length} at ${at.offset}, flags ${flags})`, async (model, device) => {
    set(model, at, new Uint8Array(at.length));
    await device.zero(at.length, at.offset, flags);
  }),
);

const trims = fc.tuple(range, fc.constantFrom(0, FUA)).map(([at, flags]) =>
  command(`trim(${at.length} at ${at.offset}, flags ${flags})`, async (model, device) => {
    model.trimmed.fill(1, at.offset, at.offset + at.length);
    await device.trim(at.length, at.offset, flags);
  }),
);

const extentLists = fc.tuple(range, fc.integer({ min: 1, max: 5 })).map(([at, limit]) =>
  command(`extents(${at.length} at ${at.offset}, limit ${limit})`, async (model, device) => {
    const end = at.offset + at.length;
    for (let next = at.offset; next < end; ) {
      const extents = await device.extents(end - next, next, limit);
      assert.ok(extents.length >= 1 && extents.length <= limit, `${extents.length} of ${limit}`);
      for (const extent of extents) {
        assert.equal(extent.offsetBytes, next, 'extents must follow each other without a gap');
        assert.ok(extent.lengthBytes > 0);
        expectZeroIfTold(model, extent);
        next += extent.lengthBytes;
      }
      assert.ok(next <= end, 'extents must be clipped to the range');
    }
  }),
);

function expectZeroIfTold(model: Model, { offsetBytes, lengthBytes, kind }: DeviceExtent): void {
  if (kind === 'data') return;
  for (let at = offsetBytes; at < offsetBytes + lengthBytes; at++) {
    if (model.bytes[at] === 0 || model.trimmed[at]) continue;
    assert.fail(`byte ${at} is told to be a ${kind}, but is ${model.bytes[at]}`);
  }
}

type Overlap = {
  readonly at: Range;
  readonly kind: 'write' | 'zero' | 'read';
  readonly seed: number;
};

const overlap: fc.Arbitrary<Overlap> = fc.record({
  at: range,
  kind: fc.constantFrom('write', 'write', 'zero', 'read'),
  seed: fc.nat(255),
});

const overlaps = fc.array(overlap, { minLength: 2, maxLength: 5 }).map((calls) =>
  command(
    `together(${calls.map(({ kind, at }) => `${kind}(${at.length} at ${at.offset})`).join(', ')})`,
    async (model, device) => {
      const written = calls
        .filter(({ kind }) => kind !== 'read')
        .map(({ at, kind, seed }) => ({
          at,
          bytes: kind === 'write' ? pattern(at.length, seed) : new Uint8Array(at.length),
        }));
      const check = (bytes: Uint8Array, from: number, oldIsFine: boolean): void => {
        for (let i = 0; i < bytes.byteLength; i++) {
          expectOneOf(model, written, from + i, bytes[i]!, oldIsFine);
        }
      };
      await Promise.all(
        calls.map(async ({ at, kind, seed }) => {
          if (kind === 'write') await device.write(pattern(at.length, seed), at.offset, 0);
          else if (kind === 'zero') await device.zero(at.length, at.offset, 0);
          else check(await readGuarded(device, at), at.offset, true);
        }),
      );
      const after = await readGuarded(device, { offset: 0, length: SIZE });
      check(after, 0, false);
      for (const { at } of written) set(model, at, after.slice(at.offset, at.offset + at.length));
    },
  ),
);

/** The byte is a value that one of the overlapping calls wrote, or the old one where none did. */
function expectOneOf(
  model: Model,
  written: readonly { at: Range; bytes: Uint8Array }[],
  index: number,
  value: number,
  oldIsFine: boolean,
): void {
  let touched = false;
  for (const { at, bytes } of written) {
    if (index < at.offset || index >= at.offset + at.length) continue;
    if (bytes[index - at.offset] === value) return;
    touched = true;
  }
  const isOld = value === model.bytes[index] || (value === 0 && model.trimmed[index] === 1);
  if (isOld && (oldIsFine || !touched)) return;
  assert.fail(`byte ${index} is ${value}, which none of the overlapping calls wrote`);
}
