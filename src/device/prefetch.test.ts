/** Goal: what is fetched ahead is at hand, within bounds, and costs nobody anything. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { nodeEnv } from '../core/index.ts';
import { type Answer, anyBlockSizes, type Device } from './device.ts';
import { openFile } from './file.ts';
import { PREFETCH_BYTES_MAX, PREFETCHES_AT_ONCE_MAX } from './limits.ts';
import { memory } from './memory.ts';
import { prefetch } from './prefetch.ts';
import { readOnly } from './read-only.ts';
import { slice } from './slice.ts';

const env = nodeEnv();
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ferry-prefetch-'));
after(() => fs.rmSync(folder, { recursive: true }));
const onTmpfs = fs.statfsSync(folder).type === 0x01021994;
const MIB = 2 ** 20;

/** A device that tells which ranges are read of it, or cached. */
function watched(act: (lengthBytes: number, offsetBytes: number) => Answer, withCache = false) {
  const cache = withCache ? { cache: act } : {};
  const device: Device = {
    ...{ name: 'watched', sizeBytes: 256 * MIB, readOnly: false, durable: false },
    blockSizes: { ...anyBlockSizes, minimumBytes: 512, maximumBytes: 100_000 },
    hints: { rotational: false, fastZero: false },
    read: (target, offsetBytes) => act(target.byteLength, offsetBytes),
    write: () => undefined,
    flush: () => undefined,
    zero: () => undefined,
    trim: () => undefined,
    extents: (lengthBytes, offsetBytes) => [{ offsetBytes, lengthBytes, kind: 'data' }],
    [Symbol.asyncDispose]: async () => {},
    ...cache,
  };
  return device;
}

test('a device is read once through, in reads that it takes, up to the limit', async () => {
  let at = MIB;
  const device = watched(async (lengthBytes, offsetBytes) => {
    assert.equal(offsetBytes, at);
    assert.ok(lengthBytes <= 100_000 && lengthBytes % 512 === 0);
    at += lengthBytes;
  });
  await prefetch(device, 3 * MIB, MIB);
  assert.equal(at, 4 * MIB);
  await prefetch(device, 128 * MIB, at);
  assert.equal(at, 4 * MIB + PREFETCH_BYTES_MAX);
});

test('views hand the wish on, and a device with a way of its own is asked for it', async () => {
  const asked: number[][] = [];
  const device = watched((...range) => void asked.push(range), true);
  await prefetch(readOnly(slice(device, { offsetBytes: 4096, lengthBytes: MIB })), 1024, 512);
  assert.deepEqual(asked, [[1024, 4608]]);
  assert.equal(prefetch(device, 0, 0), undefined);
  assert.equal(asked.length, 1);
  assert.throws(() => prefetch(device, 1024, 256 * MIB), { code: 'DEVICE_RANGE' });
  // Memory is at hand.
  assert.equal(prefetch(memory('near', MIB), MIB, 0), undefined);
});

test('more calls than may read at once do nothing, and a failure frees its place', async () => {
  const gate = Promise.withResolvers<void>();
  const stuck = watched(() => gate.promise);
  const started = Array.from({ length: PREFETCHES_AT_ONCE_MAX }, () => prefetch(stuck, 512, 0));
  assert.ok(started.every((answer) => answer instanceof Promise));
  assert.equal(prefetch(stuck, 512, 0), undefined);
  gate.reject(new Error('no'));
  for (const answer of started) await assert.rejects(async () => answer, /no/);
  assert.ok(
    prefetch(
      watched(async () => {}),
      512,
      0,
    ) instanceof Promise,
  );
});

test('a file is in the page cache afterwards, one with direct transfers is let be', async (t) => {
  if (onTmpfs) return t.skip('temporary files lie in memory here: set TMPDIR to a disk');
  const name = path.join(folder, 'cold');
  fs.writeFileSync(name, new Uint8Array(4 * MIB).fill(7));
  execFileSync('sync', [name]);
  const drop = ['oflag=nocache', 'conv=notrunc,fdatasync', 'count=0'];
  execFileSync('dd', [`of=${name}`, ...drop], { stdio: 'ignore' });
  const file = await env.files.open(name, 'read');
  const target = new Uint8Array(4096);
  const isAtHand = (offsetBytes: number) => file.readAtOnce!(target, offsetBytes);
  await using direct = await openFile(env.files, name, { readOnly: true, directIo: true });
  assert.equal(prefetch(direct, MIB, 2 * MIB), undefined);
  assert.equal(isAtHand(3 * MIB - 4096), false);
  await using device = await openFile(env.files, name, { readOnly: true });
  await prefetch(device, MIB, 2 * MIB);
  assert.equal(isAtHand(3 * MIB - 4096), true);
  await file.close();
});
