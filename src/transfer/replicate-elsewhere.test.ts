/** Goal: what a thread reads of a volume that is written meanwhile arrives as it was at the cut. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws, simulatedEnv } from '../../sim/index.ts';
import { CodecError, type CodecPool, codecPool } from '../codec/index.ts';
import { equalBytes } from '../core/index.ts';
import { type Device, memory } from '../device/index.ts';
import { Tracker, tracked } from '../track/index.ts';
import { type EpochSource, keepReplica, Likeness, TrackedSource } from './replicate/index.ts';
import { makePlace } from './replicate.suite.ts';
import { connect, serve } from './replicate-simulation.suite.ts';

const BLOCK = 4096;
const BLOCKS = 1500;
const SIZE = BLOCKS * BLOCK - 1000;
const EPOCHS = 6;

/** Reads what is there when it comes to it, each range at another time. */
function slowReader(pool: CodecPool, base: Device, turn: () => Promise<void>) {
  const reader = { ranges: 0, failing: false };
  const slow: CodecPool = {
    ...pool,
    read: async ({ memory: target, ranges }) => {
      for (let at = 0; at < ranges.length; at += 3) {
        await turn();
        const [offsetBytes, lengthBytes, to] = ranges.subarray(at, at + 3);
        await base.read(new Uint8Array(target, to, lengthBytes), offsetBytes!);
        reader.ranges += 1;
        if (reader.failing) throw new CodecError('CODEC_WORKER', 'it died', { hint: '' });
      }
    },
  };
  return { reader, slow };
}

test('each epoch is what the volume was at its cut, whoever reads it, and whoever fails', async () => {
  const world = simulatedEnv(11);
  await world.run(async () => {
    const { env } = world;
    await makePlace(env);
    await env.files.makeDirectory('/t');
    const provider = await serve(env, 1);
    const draws = new Draws(11, 7);
    const turn = () => new Promise<void>((resolve) => env.clock.after(draws.below(3), resolve));
    const where = {
      directory: '/t',
      volume: 'vol',
      sizeBytes: SIZE,
      identify: async () => undefined,
    };
    await using tracker = await Tracker.open(env, where);
    const base = memory('volume', SIZE);
    const device = tracked({ base, tracker });
    await using pool = codecPool(env, 0);
    const { reader, slow } = slowReader(pool, base, turn);
    const source = new TrackedSource({
      ...{ device, volume: 'vol', files: env.files, clock: env.clock, directory: '/t' },
      ...{ roomBytesMax: SIZE, number: 0, preImages: device.keepPreImages(2 ** 20) },
      likeness: await Likeness.open(env, { path: '/t/samples', sizeBytes: SIZE }),
      file: { path: '/t/disk', device: 1, inode: 1 },
    });
    const write = async () => {
      const bytes = new Uint8Array(BLOCK * (1 + draws.below(3))).fill(1 + draws.below(255));
      const offsetBytes = draws.below(BLOCKS - 5) * BLOCK;
      const kind = draws.below(8);
      if (kind === 0) await device.zero(bytes.byteLength, offsetBytes, 0);
      else if (kind === 1) await device.trim(bytes.byteLength, offsetBytes, 0);
      else await device.write(bytes, offsetBytes, 0);
    };
    let cut = new Uint8Array(SIZE);
    const watched: EpochSource = {
      sizeBytes: SIZE,
      cut: (held) => {
        cut = new Uint8Array(SIZE);
        assert.equal(base.read(cut, 0), undefined);
        return source.cut(held);
      },
    };
    for (let epoch = 0; epoch < EPOCHS; epoch += 1) {
      for (let count = 0; count < 300; count += 1) await write();
      reader.failing = epoch === EPOCHS - 1;
      let isOver = false;
      const writer = (async () => {
        while (!isOver) {
          await write();
          await turn();
        }
      })();
      const options = { name: 'vol', source: watched, pool: slow, connect: () => connect(env) };
      await keepReplica(env, options);
      isOver = true;
      await writer;
      const replica = await provider.replica('vol', 'agent', SIZE);
      const there = await replica.read(0, SIZE);
      assert.ok(equalBytes(there, cut), `epoch ${epoch} is of another moment`);
      const now = new Uint8Array(SIZE);
      assert.equal(base.read(now, 0), undefined);
      assert.ok(!equalBytes(now, cut), 'nothing was written meanwhile');
    }
    assert.ok(reader.ranges > 100, `${reader.ranges} ranges were read elsewhere`);
  });
});
