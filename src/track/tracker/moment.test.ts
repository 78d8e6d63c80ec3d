/** Goal: a moment reads as the device was when it was taken, whatever is written meanwhile. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Draws } from '../../../sim/index.ts';
import { equalBytes, nodeEnv } from '../../core/index.ts';
import { delayed } from '../../device/device.suite.ts';
import { type Device, memory } from '../../device/index.ts';
import type { TrackError } from '../errors.ts';
import { BLOCK_BYTES } from './limits.ts';
import type { Moment } from './moment.ts';
import { type FreezeOptions, type TrackedDevice, tracked } from './tracked-device.ts';
import { Tracker } from './tracker.ts';

const BLOCKS = 600;
const SIZE = BLOCKS * BLOCK_BYTES - 1000;
const { files } = nodeEnv();

/** Answers after a random number of turns of the loop. */
function slow(base: Device, draws: Draws): Device {
  return delayed(base, async () => {
    const turns = draws.below(4);
    for (let turn = 0; turn < turns; turn++) await new Promise((go) => setImmediate(go));
  });
}

async function place(base: Device) {
  const directory = await mkdtemp(join(tmpdir(), 'moment-'));
  const { sizeBytes } = base;
  const identify = async () => undefined;
  const tracker = await Tracker.open(nodeEnv(), { directory, volume: 'vm', sizeBytes, identify });
  const device = tracked({ base, tracker });
  const path = join(directory, 'moment-1');
  return {
    device,
    directory,
    freeze: (more: Partial<FreezeOptions> = {}) => device.freeze({ files, path, ...more }),
    async [Symbol.asyncDispose]() {
      await tracker[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

async function filled(seed: number): Promise<Device> {
  const draws = new Draws(seed, 1);
  const bytes = new Uint8Array(SIZE);
  for (let block = 0; block < BLOCKS; block++) {
    const value = draws.chance(0.2) ? 0 : 1 + draws.below(255);
    bytes.fill(value, block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
  }
  const base = memory('disk', SIZE);
  await base.write(bytes, 0, 0);
  return base;
}

async function churn(device: Device, draws: Draws, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const offset = draws.below(SIZE - 20_000);
    const length = 1 + draws.below(20_000);
    const kind = draws.below(10);
    if (kind === 0) await device.zero(length, offset, 0);
    else if (kind === 1) await device.trim(length, offset, 0);
    else await device.write(new Uint8Array(length).fill(draws.below(256)), offset, 0);
    if (draws.chance(0.2)) await new Promise((go) => setImmediate(go));
  }
}

/**
 * Reads all of it once, several pieces at a time, holes as the moment tells them; with `base` some
 * of it is read there, by somebody who does not hear of writes.
 */
async function readOnce(moment: Moment, draws: Draws, base?: Device): Promise<Uint8Array> {
  const bytes = new Uint8Array(SIZE).fill(0xee);
  const reads: Promise<void>[] = [];
  for (let at = 0; at < SIZE; ) {
    const length = Math.min(SIZE - at, BLOCK_BYTES * (1 + draws.below(20)));
    const from = at;
    const read = async () => {
      for (const { offsetBytes, lengthBytes, kind } of await moment.extents(length, from, 100)) {
        const part = bytes.subarray(offsetBytes, offsetBytes + lengthBytes);
        if (kind !== 'data') part.fill(0);
        else if (base === undefined || draws.chance(0.5)) await moment.read(part, offsetBytes);
        else {
          await moment.ready(lengthBytes, offsetBytes);
          await base.read(part, offsetBytes);
          await new Promise((go) => setImmediate(go));
          await moment.amend(part, offsetBytes);
        }
      }
    };
    reads.push(read());
    if (reads.length >= 3) await Promise.all(reads.splice(0));
    at += length;
  }
  await Promise.all(reads);
  return bytes;
}

/** What the device holds now, and which of its blocks are being written. */
function stateOf(base: Device, device: TrackedDevice) {
  const bytes = new Uint8Array(SIZE);
  assert.equal(base.read(bytes, 0), undefined);
  const inFlight = new Set<number>();
  for (const { first, last } of device.tracker.flights) {
    for (let block = first; block <= last; block++) inFlight.add(block);
  }
  return { bytes, inFlight };
}

function blockOf(bytes: Uint8Array, block: number): Uint8Array {
  return bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
}

test('under random writes a moment reads as it was, by itself or with the help of others', async () => {
  let differing = 0;
  for (let seed = 1; seed <= 12; seed++) {
    const base = await filled(seed);
    await using here = await place(seed % 3 === 0 ? base : slow(base, new Draws(seed, 3)));
    let isOver = false;
    const writers = [4, 5, 6].map((stream) =>
      churn(here.device, new Draws(seed, stream), () => isOver),
    );
    for (let turn = 0; turn < 5; turn++) await new Promise((go) => setImmediate(go));
    const memoryBytesMax = seed % 2 === 0 ? 20 * BLOCK_BYTES : 2 ** 24;
    const { cut, moment } = here.freeze({ memoryBytesMax });
    const { bytes, inFlight } = stateOf(base, here.device);
    const read = await readOnce(moment, new Draws(seed, 2), base);
    isOver = true;
    await Promise.all(writers);
    const after = stateOf(base, here.device).bytes;
    for (let block = 0; block < BLOCKS; block++) {
      if (inFlight.has(block)) continue;
      const isSame = equalBytes(blockOf(read, block), blockOf(bytes, block));
      assert.ok(isSame, `seed ${seed}: block ${block} is of another moment`);
      if (!equalBytes(blockOf(after, block), blockOf(bytes, block))) differing++;
    }
    await cut[Symbol.asyncDispose]();
    await moment[Symbol.asyncDispose]();
    const left = (await readdir(here.directory)).filter((name) => name.startsWith('moment'));
    assert.deepEqual(left, []);
  }
  assert.ok(differing > 1000, `only ${differing} blocks were written meanwhile`);
});

test('a write under way when the moment is taken belongs to it', async () => {
  const base = memory('disk', SIZE);
  const gate = Promise.withResolvers<void>();
  await using here = await place(delayed(base, () => gate.promise));
  await here.device.tracker.heat(0, 9);
  const early = here.device.write(new Uint8Array(2 * BLOCK_BYTES).fill(7), 0, 0);
  const { cut, moment } = here.freeze();
  const later = here.device.write(new Uint8Array(BLOCK_BYTES).fill(8), 0, 0);
  const target = new Uint8Array(BLOCK_BYTES);
  const read = moment.read(target, 0);
  gate.resolve();
  await Promise.all([early, later, read]);
  assert.equal(target[0], 7);
  const now = new Uint8Array(1);
  await base.read(now, 0);
  assert.equal(now[0], 8);
  await cut[Symbol.asyncDispose]();
  await moment[Symbol.asyncDispose]();
});

test('without room the moment fails, with the reason, and the writer does not', async () => {
  const base = await filled(1);
  await using here = await place(base);
  const { cut, moment } = here.freeze({ roomBytesMax: 10 * BLOCK_BYTES });
  const target = new Uint8Array(BLOCK_BYTES);
  await moment.read(target, 0);
  for (let block = 1; block < 60; block++) {
    await here.device.write(new Uint8Array(BLOCK_BYTES).fill(9), block * BLOCK_BYTES, 0);
  }
  const lost = { code: 'DEVICE_CLOSED', message: /more than 40960 bytes were overwritten/ };
  await assert.rejects(async () => moment.read(target, 0), lost);
  await assert.rejects(async () => moment.extents(BLOCK_BYTES, 0, 1), lost);
  assert.equal((moment.failure as TrackError).code, 'TRACK_ROOM');
  const now = new Uint8Array(1);
  await base.read(now, 59 * BLOCK_BYTES);
  assert.equal(now[0], 9);
  await cut[Symbol.asyncDispose]();
  await moment[Symbol.asyncDispose]();
});

test('what was read, or is not wanted, is not kept, and never read as something else', async () => {
  const base = await filled(2);
  await using here = await place(base);
  const before = stateOf(base, here.device).bytes;
  const { cut, moment } = here.freeze();
  moment.limitTo([{ offsetBytes: 10 * BLOCK_BYTES, lengthBytes: 5 * BLOCK_BYTES }]);
  const target = new Uint8Array(BLOCK_BYTES);
  await moment.read(target, 3 * BLOCK_BYTES); // Not wanted, and not written yet: an audit may.
  assert.ok(equalBytes(target, blockOf(before, 3)));
  await moment.read(target, 10 * BLOCK_BYTES);
  for (const block of [3, 10, 11]) {
    await here.device.write(new Uint8Array(BLOCK_BYTES).fill(1), block * BLOCK_BYTES, 0);
  }
  assert.ok(moment.keptBytes <= BLOCK_BYTES);
  const gone = { code: 'DEVICE_CLOSED', message: /was overwritten/ };
  await assert.rejects(async () => moment.read(target, 3 * BLOCK_BYTES), gone);
  await assert.rejects(async () => moment.read(target, 10 * BLOCK_BYTES), gone);
  await moment.read(target, 11 * BLOCK_BYTES);
  assert.ok(equalBytes(target, blockOf(before, 11)));
  await cut[Symbol.asyncDispose]();
  await moment[Symbol.asyncDispose]();
  await assert.rejects(async () => moment.read(target, 0), { code: 'DEVICE_CLOSED' });
});

test('two moments at once are each of their own time', async () => {
  const base = await filled(3);
  await using here = await place(base);
  const write = (value: number) => here.device.write(new Uint8Array(BLOCK_BYTES).fill(value), 0, 0);
  await write(1);
  const first = here.freeze({ path: join(here.directory, 'moment-a') });
  await write(2);
  const second = here.freeze({ path: join(here.directory, 'moment-b') });
  await write(3);
  const target = new Uint8Array(BLOCK_BYTES);
  await first.moment.read(target, 0);
  assert.equal(target[0], 1);
  await second.moment.read(target, 0);
  assert.equal(target[0], 2);
  for (const { cut, moment } of [first, second]) {
    await cut[Symbol.asyncDispose]();
    await moment[Symbol.asyncDispose]();
  }
});
