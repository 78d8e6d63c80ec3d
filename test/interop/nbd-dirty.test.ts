/** Goal: what a tracking device knows of its changes reaches the clients that people use. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Device, DeviceError, memory, type Tracking } from '../../src/device/index.ts';
import { connect } from '../../src/nbd/index.ts';
import { deviceOver, noise, overwrite, place, writeImage } from '../cli/ferry.ts';
import { env, MIB, scratch } from './nbd-scratch.ts';
import { runOk } from './processes.ts';
import { requireTool } from './tools.ts';

const SIZE = 16 * MIB;
const BLOCK = 65_536;

/** Remembers the blocks that were written since each cut: enough for a test, and no more. */
class Tracker implements Tracking {
  readonly #dirty = new Map<number, Set<number>>();

  cut(epoch: number): void {
    this.#dirty.set(epoch, new Set());
  }

  forget(epoch: number): void {
    this.#dirty.delete(epoch);
  }

  mark(lengthBytes: number, offsetBytes: number): void {
    for (const blocks of this.#dirty.values()) {
      const last = Math.floor((offsetBytes + lengthBytes - 1) / BLOCK);
      for (let block = Math.floor(offsetBytes / BLOCK); block <= last; block += 1) {
        blocks.add(block);
      }
    }
  }

  epochs(): readonly number[] {
    return [...this.#dirty.keys()];
  }

  changes(epoch: number, lengthBytes: number, offsetBytes: number, limit: number) {
    const blocks = this.#dirty.get(epoch);
    if (blocks === undefined) {
      const hint = 'Compare everything.';
      throw new DeviceError('DEVICE_UNSUPPORTED', `epoch ${epoch} is forgotten`, { hint });
    }
    const extents: { lengthBytes: number; isDirty: boolean }[] = [];
    const end = offsetBytes + lengthBytes;
    for (let at = offsetBytes; at < end && extents.length < limit; ) {
      const next = Math.min(at - (at % BLOCK) + BLOCK, end);
      extents.push({ lengthBytes: next - at, isDirty: blocks.has(Math.floor(at / BLOCK)) });
      at = next;
    }
    return extents;
  }
}

function tracked(): { device: Device; tracker: Tracker } {
  const base = memory('tracked', SIZE);
  const tracker = new Tracker();
  const device = deviceOver(base, {
    tracking: tracker,
    async write(source, offsetBytes, flags) {
      await base.write(source, offsetBytes, flags);
      tracker.mark(source.byteLength, offsetBytes);
    },
  });
  return { device, tracker };
}

/** Cut 6, a write at 1 MiB, cut 7, a write at 4 MiB. */
async function twoEpochs() {
  const stage = tracked();
  const place = await scratch();
  const server = await place.serve(stage.device);
  const client = await connect(env, server.uri);
  stage.tracker.cut(6);
  await client.write(Buffer.alloc(2 * BLOCK, 1), MIB, 0);
  stage.tracker.cut(7);
  await client.write(Buffer.alloc(100, 2), 4 * MIB + BLOCK - 50, 0);
  await client[Symbol.asyncDispose]();
  return { ...stage, place, uri: server.uri };
}

const since7 = [
  [0, 4 * MIB, 'clean'],
  [4 * MIB, 2 * BLOCK, 'dirty'],
  [4 * MIB + 2 * BLOCK, SIZE - 4 * MIB - 2 * BLOCK, 'clean'],
];

test('our client and ferry nbd info see what has changed since each epoch', async () => {
  const { place: served, tracker, uri } = await twoEpochs();
  await using _served = served;
  const contexts = ['ferry:dirty/6', 'ferry:dirty/7', 'ferry:dirty/8'];
  for (const replies of ['structured', 'extended'] as const) {
    await using client = await connect(env, uri, { contexts, replies });
    assert.deepEqual([...client.contexts].sort(), [
      ...['base:allocation', 'ferry:dirty/6', 'ferry:dirty/7'],
    ]);
    assert.deepEqual(await client.status('ferry:dirty/6', 4 * BLOCK, MIB - BLOCK), [
      { lengthBytes: BLOCK, flags: 0 },
      { lengthBytes: 2 * BLOCK, flags: 1 },
      { lengthBytes: BLOCK, flags: 0 },
    ]);
  }
  await using here = await place();
  const map = await here.json(0, 'nbd', 'info', uri, '--map=ferry:dirty/7');
  const rows = map.slice(0, -1);
  assert.deepEqual(
    rows.map(({ offsetBytes, lengthBytes, type }) => [offsetBytes, lengthBytes, type]),
    since7,
  );
  // Forgotten while a client has it: everything may have changed.
  await using client = await connect(env, uri, { contexts });
  tracker.forget(7);
  const all = [{ lengthBytes: SIZE, flags: 1 }];
  assert.deepEqual(await client.status('ferry:dirty/7', SIZE, 0), all);
  assert.equal((await client.status('ferry:dirty/6', BLOCK, 0))[0]!.flags, 0);
});

test('nbdinfo lists the epochs, and maps what has changed since one', async (context) => {
  const nbdinfo = requireTool(context, 'nbdinfo', 'libnbd-bin');
  if (nbdinfo === undefined) return;
  const { place: served, uri } = await twoEpochs();
  await using _served = served;
  const info = JSON.parse((await runOk(nbdinfo, ['--json', uri])).stdout);
  const names = ['base:allocation', 'ferry:dirty/7', 'ferry:dirty/6'];
  assert.deepEqual(info.exports[0].contexts, names);
  const { stdout } = await runOk(nbdinfo, ['--map=ferry:dirty/7', '--json', uri]);
  const rows: { offset: number; length: number; type: number }[] = JSON.parse(stdout);
  assert.deepEqual(
    rows.map(({ offset, length, type }) => [offset, length, type === 1 ? 'dirty' : 'clean']),
    since7,
  );
});

test('qemu-img maps what has changed since an epoch', async (context) => {
  const qemuImg = requireTool(context, 'qemu-img', 'qemu-utils');
  if (qemuImg === undefined) return;
  const { place: served, uri } = await twoEpochs();
  await using _served = served;
  const socket = new URL(uri).searchParams.get('socket');
  const image = [
    `driver=nbd,server.type=unix,server.path=${socket}`,
    'x-dirty-bitmap=ferry:dirty/7',
  ].join(',');
  const { stdout } = await runOk(qemuImg, ['map', '--output=json', '--image-opts', image]);
  const rows: { start: number; length: number; data: boolean }[] = JSON.parse(stdout);
  // What is dirty is shown as if it were no data: so QEMU reads any context's first flag.
  assert.deepEqual(
    rows.map(({ start, length, data }) => [start, length, data ? 'clean' : 'dirty']),
    since7,
  );
});

test('nbdinfo maps in what a mounted snapshot differs from an earlier one', async (context) => {
  const nbdinfo = requireTool(context, 'nbdinfo', 'libnbd-bin');
  if (nbdinfo === undefined) return;
  await using here = await place();
  await here.ok('init');
  await writeImage(here.path('disk.img'), SIZE, { [MIB]: noise(MIB, 1) });
  await here.ok('backup', 'disk.img');
  await overwrite(here.path('disk.img'), 4 * MIB, noise(BLOCK, 2));
  await here.ok('backup', 'disk.img');
  await using served = await here.serve('mount', 'disk', '--since', 'disk@latest~1');
  const { stdout } = await runOk(nbdinfo, ['--map=ferry:dirty/1', '--json', served.uri]);
  const rows: { offset: number; length: number; type: number }[] = JSON.parse(stdout);
  assert.deepEqual(
    rows.map(({ offset, length, type }) => [offset, length, type]),
    [
      [0, 4 * MIB, 0],
      [4 * MIB, BLOCK, 1],
      [4 * MIB + BLOCK, SIZE - 4 * MIB - BLOCK, 0],
    ],
  );
});
