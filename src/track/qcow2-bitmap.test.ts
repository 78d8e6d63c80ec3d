/** Goal: a bitmap in an image is believed only as long as nothing speaks against it. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { deviceOf, imageBytes } from '../../test/golden/images/images.ts';
import { nodeEnv } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import type { Snapshot } from '../store/index.ts';
import type { ChangeAnswer } from './change-source.ts';
import { parseBitmapMemory } from './kept-bitmap.ts';
import { qcow2BitmapSource } from './qcow2-bitmap.ts';
import { SourceMemory } from './source-memory.ts';

const SIZE = 5 * 1024 * 1024;
const snapshot = (id: string) =>
  ({ id, digest: `d${id}`, volume: 'vm', sizeBytes: SIZE }) as Snapshot;
const first = snapshot('aaaaaaaa11');
const second = snapshot('bbbbbbbb22');

/** Where in the image the entry of the bitmap `daily` is: the first of the directory. */
function entryAt(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer);
  let at = view.getUint32(100);
  while (view.getUint32(at) !== 0x23852875) at += 8 + Math.ceil(view.getUint32(at + 4) / 8) * 8;
  return Number(view.getBigUint64(at + 24));
}

const env = nodeEnv();

class Place {
  readonly directory: string;
  bytes = imageBytes('clusters.qcow2').slice();
  identity = '1:2';
  bitmap = 'daily';
  sizeBytes = SIZE;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async make(): Promise<Place> {
    return new Place(await mkdtemp(join(tmpdir(), 'ferry-track-')));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.directory, { recursive: true });
  }

  async ask(since: Snapshot | undefined): Promise<ChangeAnswer> {
    const { directory } = this;
    const folder = { directory, makeDirectory: () => env.files.makeDirectory(directory) };
    const memory = new SourceMemory(env, folder, 'qemu', parseBitmapMemory);
    const { identity, bitmap } = this;
    const source = qcow2BitmapSource({ file: deviceOf(this.bytes), identity, bitmap, memory });
    const device = { sizeBytes: this.sizeBytes } as Device;
    return source.changes({ volume: 'vm', device, since });
  }

  /** What the first backup does. */
  async begin(): Promise<void> {
    const answer = await this.ask(undefined);
    assert.deepEqual([answer.kind, 'reason' in answer && answer.reason], ['cannot-say', 'first']);
    await answer.finish!({ kind: 'committed', snapshot: first });
  }

  get view(): DataView {
    return new DataView(this.bytes.buffer);
  }
}

async function refusal(answer: Promise<ChangeAnswer>): Promise<string> {
  const given = await answer;
  assert.equal(given.kind, 'cannot-say');
  return given.kind === 'cannot-say' ? given.reason : '';
}

test('once it was looked at, a bitmap answers for that snapshot and no other', async () => {
  await using place = await Place.make();
  await place.begin();
  const answer = await place.ask(first);
  assert.equal(answer.kind, 'changes');
  if (answer.kind !== 'changes') return;
  assert.equal(answer.precision, 'superset');
  const runs = await Array.fromAsync(answer.changed);
  assert.deepEqual(runs[0], { offsetBytes: 8192, lengthBytes: 24_576 });
  assert.equal(await refusal(place.ask(second)), 'stale');
  await answer.finish({ kind: 'failed' });
  assert.equal((await place.ask(first)).kind, 'changes');
  await answer.finish({ kind: 'committed', snapshot: second });
  assert.equal((await place.ask(second)).kind, 'changes');
  assert.equal(await refusal(place.ask(first)), 'stale');
});

test('every way in which a bitmap may be wrong is told, with its reason', async () => {
  const cases: [string, string, (place: Place) => void][] = [
    ['another name', 'absent', (place) => Object.assign(place, { bitmap: 'nightly' })],
    ['in use', 'lost', ({ view, bytes }) => view.setUint32(entryAt(bytes) + 12, 3)],
    ['disabled', 'untold', ({ view, bytes }) => view.setUint32(entryAt(bytes) + 12, 0)],
    ['unknown flags', 'lost', ({ view, bytes }) => view.setUint32(entryAt(bytes) + 12, 10)],
    ['written without bitmaps', 'behind-its-back', ({ view }) => view.setUint32(92, 0)],
    ['another image', 'replaced', (place) => Object.assign(place, { identity: '1:3' })],
    ['resized', 'resized', (place) => Object.assign(place, { sizeBytes: SIZE + 4096 })],
    ['no image any more', 'absent', ({ view }) => view.setUint32(0, 0)],
    ['cleared', 'reverted', ({ view, bytes }) => view.setBigUint64(tableOf(view, bytes), 0n)],
    [
      'made anew, coarser',
      'granularity',
      ({ view, bytes }) => view.setUint8(entryAt(bytes) + 17, 14),
    ],
  ];
  for (const [what, reason, breakIt] of cases) {
    await using place = await Place.make();
    await place.begin();
    breakIt(place);
    assert.deepEqual([what, await refusal(place.ask(first))], [what, reason]);
  }
});

function tableOf(view: DataView, bytes: Uint8Array): number {
  return Number(view.getBigUint64(entryAt(bytes)));
}

test('what was kept is not believed when it is damaged', async () => {
  await using place = await Place.make();
  await place.begin();
  const file = await env.files.open(join(place.directory, 'qemu.json'), 'update');
  await new Promise((resolve) => file.write(new Uint8Array([0x39]), 70, resolve));
  await file.close();
  assert.equal(await refusal(place.ask(first)), 'lost');
});
