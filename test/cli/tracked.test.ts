/** Goal: an exported volume is backed up at one moment, and only what was written is read. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { connect, type NbdDevice } from '../../src/nbd/index.ts';
import { env, type Line, MIB, noise, overwrite, type Place, place, writeImage } from './ferry.ts';

const SIZE = 16 * MIB;
const BLOCK = 4096;
const CHUNK = 65_536;

/** A place with a repository and an image of 16 MiB without holes. */
async function prepared(): Promise<Place> {
  const here = await place();
  await here.ok('init');
  await writeImage(here.path('disk.img'), SIZE, { 0: noise(SIZE, 1) });
  return here;
}

async function backUp(here: Place, ...words: string[]): Promise<Line> {
  return (await here.json(0, 'backup', ...words)).at(-1)!;
}

async function restoredOf(here: Place, snapshot: string): Promise<Buffer> {
  await here.ok('restore', snapshot, 'restored.img');
  return readFile(here.path('restored.img'));
}

const write = (device: NbdDevice, offset: number, seed: number) =>
  device.write(noise(BLOCK, seed), offset, 0);

test('while it is exported only what was written is read; by its name and by its file', async () => {
  await using here = await prepared();
  const server = await here.serve('export', 'disk.img', '--name', 'vm');
  await using device = await connect(env, server.uri);
  const first = await backUp(here, 'vm');
  assert.deepEqual([first.volume, first.source, first.oneMoment], ['vm', 'full', true]);
  await write(device, 5 * CHUNK + BLOCK, 2);
  await write(device, 100 * CHUNK, 3);
  const second = await backUp(here, 'vm');
  assert.deepEqual(
    [second.source, second.readBytes, second.oneMoment],
    ['tracker', 2 * CHUNK, true],
  );
  assert.match(String(second.reason), /^tracker: written through its export since vm@/);
  const third = await backUp(here, 'disk.img');
  assert.deepEqual([third.volume, third.source, third.readBytes], ['vm', 'tracker', 0]);
  assert.ok((await restoredOf(here, 'vm@latest')).equals(await readFile(here.path('disk.img'))));
  const compared = await backUp(here, 'vm', '--changes', 'checksum');
  assert.deepEqual([compared.source, compared.changedBytes], ['checksum', 0]);
  assert.equal(compared.oneMoment, true);
});

test('after the export has stopped its marks still tell, and what was done behind its back too', async () => {
  await using here = await prepared();
  const served = await here.serve('export', 'disk.img', '--name', 'vm');
  await backUp(here, 'vm');
  {
    await using device = await connect(env, served.uri);
    await write(device, 7 * CHUNK, 4);
    await device.flush();
  }
  served.kill('SIGTERM');
  await served.finished();
  const stopped = await backUp(here, 'disk.img', '--name', 'vm');
  assert.deepEqual([stopped.source, stopped.readBytes], ['tracker', CHUNK]);
  assert.equal(stopped.oneMoment, false);
  await overwrite(here.path('disk.img'), 9 * CHUNK, noise(BLOCK, 5));
  const behind = await backUp(here, 'disk.img', '--name', 'vm');
  assert.deepEqual([behind.source, behind.changedBytes], ['checksum', CHUNK]);
  const [passed] = behind.passed as unknown as [Line];
  assert.deepEqual([passed.source, passed.code], ['tracker', 'behind-its-back']);
});

test('after a kill the marks are a superset, and the snapshot is right', async () => {
  await using here = await prepared();
  const server = await here.serve('export', 'disk.img', '--name', 'vm');
  await backUp(here, 'vm');
  const device = await connect(env, server.uri, { reconnectTimeoutMs: 0 });
  await write(device, 3 * CHUNK, 6);
  server.kill('SIGKILL');
  await server.finished();
  await device[Symbol.asyncDispose]();
  await here.serve('export', 'disk.img', '--name', 'vm');
  const next = await backUp(here, 'vm');
  assert.deepEqual([next.source, next.readBytes, next.changedBytes], ['tracker', 4 * MIB, CHUNK]);
  assert.match(String(next.reason), /regions whole/);
  assert.ok((await restoredOf(here, 'vm@latest')).equals(await readFile(here.path('disk.img'))));
});

test('a backup under a writer that numbers its blocks is one moment', async () => {
  await using here = await prepared();
  const server = await here.serve('export', 'disk.img', '--name', 'vm');
  await using device = await connect(env, server.uri);
  const blocks = SIZE / BLOCK;
  const written = new Float64Array(blocks).fill(-1);
  let count = 0;
  let isOver = false;
  const bytes = Buffer.alloc(BLOCK);
  const writing = (async () => {
    while (!isOver) {
      const block = (count * 2654435761) % blocks;
      bytes.fill(count & 0xff);
      bytes.writeDoubleLE(count, 0);
      await device.write(bytes, block * BLOCK, 0);
      written[block] = count++;
    }
  })();
  await backUp(here, 'vm');
  await backUp(here, 'vm', '--changes', 'checksum'); // All of the moment is read, and kept.
  await backUp(here, 'vm');
  isOver = true;
  await writing;
  assert.ok(count > 500, `only ${count} writes`);
  for (const back of [0, 1, 2]) {
    const snapshot = await restoredOf(here, `vm@latest~${back}`);
    // Writes 0 to n are there, and no other: the last write of each block says which.
    let newest = -1;
    for (let block = 0; block < blocks; block++)
      newest = Math.max(newest, numberIn(snapshot, block));
    for (let number = 0; number <= newest; number++) {
      const block = (number * 2654435761) % blocks;
      assert.ok(numberIn(snapshot, block) >= number, `write ${number} is missing below ${newest}`);
    }
  }

  function numberIn(image: Buffer, block: number): number {
    const number = image.readDoubleLE(block * BLOCK);
    const isOurs = Number.isInteger(number) && number >= 0 && number < count;
    return isOurs && (number * 2654435761) % blocks === block ? number : -1;
  }
});

test('without room for what is overwritten the backup fails, and the export goes on', async () => {
  await using here = await prepared();
  const server = await here.serve('export', 'disk.img', '--name', 'vm', '--moment-room', '8K');
  await using device = await connect(env, server.uri);
  let isOver = false;
  const writing = (async () => {
    for (let at = 0; !isOver; at += CHUNK) await write(device, at % SIZE, at);
  })();
  const error = await here.failure(1, 'backup', 'vm');
  isOver = true;
  await writing;
  assert.equal(error.code, 'TRACK_ROOM', error.message);
  assert.match(error.message, /overwritten before they were read/);
  assert.match(await here.ok('ls'), /no snapshots yet/);
});

test('what is written beside the export is found by an audit, healed, and not forgotten', async () => {
  await using here = await prepared();
  const server = await here.serve('export', 'disk.img', '--name', 'vm');
  await backUp(here, 'vm');
  const [honest] = (await here.json(0, 'audit', 'vm', '--audit', '100%')) as [Line];
  const report = honest.audit as unknown as Line;
  assert.deepEqual([honest.source, report.sampled, report.untoldCount], ['tracker', 256, 0]);
  await overwrite(here.path('disk.img'), 9 * CHUNK, noise(BLOCK, 5));
  await here.json(21, 'audit', 'vm', '--audit', '100%');
  assert.ok((await restoredOf(here, 'vm@latest')).equals(await readFile(here.path('disk.img'))));
  const doubted = await backUp(here, 'vm');
  const [passed] = doubted.passed as unknown as [Line];
  assert.deepEqual(
    [doubted.source, passed.code, doubted.oneMoment],
    ['checksum', 'untrusted', true],
  );
  const trusted = await backUp(here, 'vm');
  assert.equal(trusted.source, 'tracker');
  server.kill('SIGTERM');
  await server.finished();
});

test('the profile of a volume is told while it is exported and later; damage is told too', async () => {
  await using here = await prepared();
  const server = await here.serve('export', 'disk.img', '--name', 'vm');
  {
    await using device = await connect(env, server.uri);
    for (let count = 0; count < 3; count++) await write(device, 5 * CHUNK, count);
    await device.read(Buffer.alloc(BLOCK), 9 * CHUNK);
  }
  const [hot, cold, summary] = (await here.json(0, 'profile', 'vm')) as [Line, Line, Line];
  assert.equal(hot.offsetBytes, 5 * CHUNK);
  assert.ok(Number(hot.writes) > 2.9 && Number(hot.writtenWithinMinute) > 0.9);
  assert.deepEqual([cold.offsetBytes, cold.writes, cold.writtenWithinMinute], [9 * CHUNK, 0, 0]);
  assert.deepEqual([summary.volume, summary.isRunning, summary.regions], ['vm', true, 2]);
  server.kill('SIGTERM');
  await server.finished();
  const [kept] = (await here.json(0, 'profile', 'vm', '--by', 'writes', '--top', '1')) as [Line];
  assert.equal(kept.offsetBytes, 5 * CHUNK);
  assert.match(await here.ok('profile', 'vm'), /OFFSET +READS +WRITES/);
  await overwrite(here.path('state/trackers/vm/profile'), 60, noise(40, 1));
  assert.equal((await here.failure(1, 'profile', 'vm')).code, 'TRACK_STATE');
});

test('a mark for NBD clients tells what is written after it, until it is forgotten', async () => {
  await using here = await prepared();
  const server = await here.serve('export', 'disk.img', '--name', 'vm');
  await using device = await connect(env, server.uri);
  await write(device, 3 * CHUNK, 1);
  const [marked] = (await here.json(0, 'nbd', 'mark', 'vm', '--as', 'night')) as [Line];
  await write(device, 5 * CHUNK + BLOCK, 2);
  const map = (await here.json(0, 'nbd', 'info', server.uri, `--map=${marked.context}`)) as Line[];
  const dirty = map.filter(({ type }) => type === 'dirty');
  assert.deepEqual(
    dirty.map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
    [[5 * CHUNK + BLOCK, BLOCK]],
  );
  await here.json(0, 'nbd', 'forget', 'vm', '--as', 'night');
  await using after = await connect(env, server.uri, { contexts: ['ferry:dirty/'] });
  assert.ok(!after.contexts.includes(String(marked.context)), after.contexts.join());
  assert.equal((await here.failure(1, 'nbd', 'mark', 'other')).code, 'TRACK_SOURCE');
});

test('a volume is exported once, and one without a name is not tracked', async () => {
  await using here = await prepared();
  await here.serve('export', 'disk.img', '--name', 'vm');
  const error = await here.failure(11, 'export', 'disk.img', '--name', 'vm');
  assert.equal(error.code, 'TRACK_BUSY');
  const other = await here.serve('export', 'disk.img');
  other.kill('SIGTERM');
  const { stdout } = await other.finished();
  assert.match(stdout, /"tracked":false/);
});
