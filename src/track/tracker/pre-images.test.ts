/** Goal: what a pre-image says was there at a cut was there, and memory stays within its bound. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Draws } from '../../../sim/index.ts';
import { equalBytes, nodeEnv } from '../../core/index.ts';
import { delayed } from '../../device/device.suite.ts';
import { type Device, memory } from '../../device/index.ts';
import { BLOCK_BYTES } from './limits.ts';
import type { PreImages } from './pre-images.ts';
import { type TrackedDevice, tracked } from './tracked-device.ts';
import { Tracker } from './tracker.ts';
import { markOf } from './tracker-source.ts';

const BLOCKS = 40;
const SIZE = BLOCKS * BLOCK_BYTES - 1000;

type Place = AsyncDisposable & { readonly device: TrackedDevice; readonly images: PreImages };

async function place(base: Device, bytesMax: number): Promise<Place> {
  const directory = await mkdtemp(join(tmpdir(), 'pre-images-'));
  const identify = async () => undefined;
  const options = { directory, volume: 'vm', sizeBytes: SIZE, identify };
  const tracker = await Tracker.open(nodeEnv(), options);
  const device = tracked({ base, tracker });
  return {
    ...{ device, images: device.keepPreImages(bytesMax) },
    async [Symbol.asyncDispose]() {
      await tracker[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

function cutOf(device: TrackedDevice): { mark: string; release(): Promise<void> } {
  const cut = device.cut();
  return { mark: markOf(device.tracker, cut), release: async () => cut[Symbol.asyncDispose]() };
}

async function contentOf(device: Device): Promise<Uint8Array> {
  const bytes = new Uint8Array(SIZE);
  await device.read(bytes, 0);
  return bytes;
}

async function write(device: Device, draws: Draws): Promise<void> {
  const bytes = new Uint8Array(1 + draws.below(3 * BLOCK_BYTES)).fill(1 + draws.below(255));
  await device.write(bytes, draws.below(SIZE - bytes.byteLength), 0);
}

/** Settles each call after a number of turns of the loop. */
function slow(base: Device, draws: Draws): Device {
  return delayed(base, async () => {
    for (let turn = draws.below(4); turn > 0; turn--) await new Promise((go) => setImmediate(go));
  });
}

for (const [name, isSlow, bytesMax] of [
  ['at once', false, 1 << 24],
  ['later', true, 1 << 24],
  ['at once, with room for few of them', false, 1 << 20],
] as const) {
  test(`what was overwritten is known as it was at each cut (a base that answers ${name})`, async () => {
    const draws = new Draws(7, isSlow ? 1 : 2);
    const base = memory('disk', SIZE);
    await using here = await place(isSlow ? slow(base, draws) : base, bytesMax);
    const { device, images } = here;
    const cuts: { mark: string; content: Uint8Array }[] = [];
    let known = 0;
    for (let round = 0; round < 60; round++) {
      // Nothing is under way at the cut, so that its content is what can be read.
      const { mark, release } = cutOf(device);
      cuts.push({ mark, content: await contentOf(base) });
      await release();
      await Promise.all(Array.from({ length: draws.below(6) }, () => write(device, draws)));
      for (const { mark: since, content } of cuts.slice(-3)) {
        for (let block = 0; block < BLOCKS; block++) {
          const offsetBytes = block * BLOCK_BYTES;
          const lengthBytes = Math.min(BLOCK_BYTES, SIZE - offsetBytes);
          const was = content.subarray(offsetBytes, offsetBytes + lengthBytes);
          const old = images.old({ offsetBytes, lengthBytes }, since);
          if (old === undefined) continue;
          known += 1;
          assert.ok(equalBytes(old, was), `round ${round}, block ${block}`);
        }
      }
      if (draws.chance(0.5)) images.hold('provider', mark);
      assert.ok(images.keptBytes <= bytesMax);
    }
    assert.ok(known > 500, `only ${known} blocks were known`);
  });
}

test('where none serves for a patch few are kept, until some do again', async () => {
  const base = memory('disk', SIZE);
  await using here = await place(base, 1 << 24);
  const { device, images } = here;
  const keptOf = async () => {
    const { mark, release } = cutOf(device);
    images.hold('provider', mark);
    for (let block = 0; block < BLOCKS - 1; block++) {
      await device.write(new Uint8Array(BLOCK_BYTES).fill(7), block * BLOCK_BYTES, 0);
    }
    await release();
    return images.keptBytes / BLOCK_BYTES;
  };
  assert.equal(await keptOf(), BLOCKS - 1);
  for (let at = 0; at < 2_000; at++) images.judge(false);
  assert.equal(images.keptBytes, 0);
  const few = await keptOf();
  assert.ok(few > 0 && few < BLOCKS / 4, `${few} of ${BLOCKS}`);
  for (let at = 0; at < 2_000; at++) images.judge(true);
  assert.equal(await keptOf(), BLOCKS - 1);
});

test('a write that is under way at a cut belongs to what was before it', async () => {
  const base = memory('disk', SIZE);
  const gate = Promise.withResolvers<void>();
  let isHeld = false;
  const gated = delayed(base, async () => {
    if (isHeld) await gate.promise;
  });
  await using here = await place(gated, 1 << 24);
  const { device, images } = here;
  const bytes = (value: number) => new Uint8Array(BLOCK_BYTES).fill(value);
  await device.write(bytes(1), 0, 0);
  isHeld = true;
  const early = device.write(bytes(2), 0, 0);
  const { mark, release } = cutOf(device);
  const late = device.write(bytes(3), 0, 0);
  isHeld = false;
  gate.resolve();
  await Promise.all([early, late]);
  const extent = { offsetBytes: 0, lengthBytes: BLOCK_BYTES };
  assert.deepEqual(images.old(extent, mark), bytes(2));
  await release();
});

test('nothing is known of a cut that was given up, or of what was not written', async () => {
  const base = memory('disk', SIZE);
  await using here = await place(base, 1 << 24);
  const { device, images } = here;
  const first = cutOf(device);
  await device.write(new Uint8Array(BLOCK_BYTES).fill(1), 0, 0);
  const extent = { offsetBytes: 0, lengthBytes: BLOCK_BYTES };
  assert.deepEqual(images.old(extent, first.mark), new Uint8Array(BLOCK_BYTES));
  assert.equal(images.old({ ...extent, offsetBytes: BLOCK_BYTES }, first.mark), undefined);
  const second = cutOf(device);
  images.hold('provider', second.mark);
  assert.equal(images.old(extent, first.mark), undefined);
  assert.equal(images.keptBytes, 0);
  await first.release();
  await second.release();
});
