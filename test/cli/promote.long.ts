/** Goal: a volume is promoted, written at the provider, and brought back, as a person does it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { connect } from '../../src/nbd/index.ts';
import { run, start } from '../interop/processes.ts';
import { env, ferryPath, linesOf, MIB, noise, type Place, place, writeImage } from './ferry.ts';

const SIZE = 3 * MIB + 4096;

/** As the provider's machine has it. */
function there(here: Place) {
  const FERRY_STATE_DIR = here.path('provider');
  return { cwd: here.folder, env: { ...here.variables, FERRY_STATE_DIR } };
}

async function startProvider(here: Place, listen = '127.0.0.1:0') {
  const child = start(ferryPath, ['serve', '--json', '--listen', listen], there(here));
  const { uri, token } = JSON.parse(await child.line('"state":"ready"'));
  return { child, uri: String(uri), token: String(token) };
}

async function provider(here: Place, status: number, ...words: string[]) {
  const { exitCode, stdout, stderr } = await run(ferryPath, [...words, '--json'], there(here));
  assert.equal(exitCode, status, stderr + stdout);
  return linesOf(status === 0 ? stdout : stderr).at(-1)!;
}

async function write(uri: string, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  await using device = await connect(env, uri);
  await device.write(bytes, offsetBytes, 0);
  await device.flush();
}

test('a lost machine: promoted by force, written there, fenced, and brought back', async () => {
  await using here = await place();
  await here.ok('init');
  const image = here.path('disk.img');
  await writeImage(image, SIZE, { 0: noise(MIB, 1), [2 * MIB]: noise(70_000, 2) });
  const serving = await startProvider(here);
  await using _serving = serving.child;
  const { uri } = serving;
  await here.ok('pair', uri, serving.token);
  const words = ['export', 'disk.img', '--name', 'web', '--to', uri, '--json'];
  const exporting = here.start(...words);
  const ready = JSON.parse(await exporting.line('"state":"ready"'));
  await exporting.line('"epoch":1');
  await write(ready.uri, noise(8192, 3), 40_960);
  await exporting.line('"epoch":2');
  exporting.kill('SIGKILL');
  await once(exporting.child, 'close');

  assert.equal((await provider(here, 1, 'promote', 'web')).code, 'REPLICATE_NO_CONTACT');
  const promoted = await provider(here, 0, 'promote', 'web', '--force');
  assert.deepEqual([promoted.authority, promoted.epoch, promoted.isForced], [2, 2, true]);
  const promotedExport = start(ferryPath, ['export', 'replica:web', '--json'], there(here));
  await using _promoted = promotedExport;
  const other = JSON.parse(await promotedExport.line('"state":"ready"'));
  await write(other.uri, noise(4096, 4), 2 * MIB);

  // The old machine is back, and somebody writes to its disk before it knows.
  const file = Buffer.from(await readFile(image));
  const later = here.start('export', 'disk.img', '--name', 'web', '--json');
  await write(JSON.parse(await later.line('"state":"ready"')).uri, noise(4096, 5), 8192);
  later.kill('SIGTERM');
  await later.finished();
  const fenced = await here.failure(13, ...words);
  assert.equal(fenced.code, 'REPLICATE_FENCED');
  assert.match(fenced.message, /under authority 2.*kept there as web\.branch-/);
  assert.equal((await here.failure(13, 'export', 'disk.img', '--name', 'web')).code, fenced.code);

  const back = ['replicate', 'disk.img', '--name', 'web', '--to', uri, '--reverse'];
  assert.match((await here.failure(1, ...back)).message, /REPLICATE_BUSY/);
  promotedExport.kill('SIGTERM');
  await promotedExport.finished();
  const [returned] = (await here.json(0, ...back)).slice(-1);
  assert.deepEqual([returned!.authority, returned!.theirBytes], [3, 4096]);
  assert.ok(Number(returned!.fetchedBytes) <= 2 * 65_536 + 8192, `${returned!.fetchedBytes}`);
  const expected = Buffer.from(file);
  expected.set(noise(4096, 4), 2 * MIB);
  assert.ok(expected.equals(await readFile(image)), 'the disk is what the provider had');

  const branches = (await here.json(0, 'ls')).filter(({ volume }) => /branch/.test(`${volume}`));
  await here.ok('restore', `${branches[0]!.volume}@latest`, here.path('branch.img'));
  const branch = Buffer.from(file);
  branch.set(noise(4096, 5), 8192);
  assert.ok(branch.equals(await readFile(here.path('branch.img'))), 'the branch is not lost');

  // Planned: with its agent there, nothing is lost.
  const again = here.start(...words);
  const live = JSON.parse(await again.line('"state":"ready"'));
  await write(live.uri, noise(4096, 6), MIB);
  const moved = await provider(here, 0, 'promote', 'web');
  assert.deepEqual([moved.authority, moved.isForced], [4, false]);
  await again.line('"state":"fenced"');
  await assert.rejects(write(live.uri, noise(4096, 7), MIB), { code: 'DEVICE_READ_ONLY' });
  again.kill('SIGTERM');
  assert.equal((await again.finished()).exitCode, 13);
  const [last] = (await here.json(0, ...back)).slice(-1);
  assert.deepEqual([last!.authority, last!.theirBytes, last!.branch], [5, 0, null]);
  expected.set(noise(4096, 6), MIB);
  assert.ok(expected.equals(await readFile(image)));
});

test('a fence that replicate meets holds for the export of that name', async () => {
  await using here = await place();
  await here.ok('init');
  await writeImage(here.path('disk.img'), SIZE, { 0: noise(MIB, 1) });
  const { child, uri, token } = await startProvider(here);
  await using _serving = child;
  await here.ok('pair', uri, token);
  const words = ['replicate', 'disk.img', '--name', 'vm', '--to', uri, '--once'];
  await here.json(0, ...words);
  await provider(here, 0, 'promote', 'vm', '--force');
  assert.equal((await here.failure(13, ...words)).code, 'REPLICATE_FENCED');
  const exported = await here.failure(13, 'export', 'disk.img', '--name', 'vm');
  assert.equal(exported.code, 'REPLICATE_FENCED');
});

test('a group: two disks at one epoch there, moved together by plan, and refused here together', async () => {
  await using here = await place();
  await here.ok('init');
  for (const [at, name] of ['data.img', 'log.img'].entries()) {
    await writeImage(here.path(name), SIZE, { 0: noise(MIB, at) });
  }
  const { child, uri, token } = await startProvider(here);
  await using _serving = child;
  await here.ok('pair', uri, token);
  const sources = ['db-data=data.img', 'db-log=log.img'];
  for (const words of [sources, [...sources, '--group', 'db'], ['data.img', 'log.img']]) {
    assert.equal((await here.failure(2, 'export', ...words)).code, 'CLI_USAGE');
  }
  // What is written after the first epoch comes with the move alone.
  const late = ['--interval', '1h'];
  const words = [...sources, '--group', 'db', '--to', uri, ...late, '--json'];
  const exporting = here.start('export', ...words);
  const { volumes } = JSON.parse(await exporting.line('"state":"ready"')) as {
    volumes: { name: string; uri: string }[];
  };
  await exporting.line('"state":"epoch","volume":"db-log"');
  for (const [at, volume] of volumes.entries()) await write(volume.uri, noise(8192, 5 + at), 8192);
  const moved = await provider(here, 0, 'promote', 'db-log');
  assert.deepEqual([moved.volume, moved.isForced, moved.missing], ['db-log', false, []]);
  const [other] = moved.others as { volume: string; epoch: number }[];
  assert.deepEqual([other!.volume, other!.epoch], ['db-data', moved.epoch]);
  for (const { uri: fenced } of volumes) {
    await assert.rejects(write(fenced, noise(4096, 9), 0), { code: 'DEVICE_READ_ONLY' });
  }
  exporting.kill('SIGTERM');
  assert.equal((await exporting.finished()).exitCode, 13);
  for (const [at, name] of ['data', 'log'].entries()) {
    const snapshots = await here.json(0, 'ls', `db-${name}`);
    assert.deepEqual(snapshots.filter(({ tags }) => tags !== undefined).slice(-1)[0]!.tags, [
      `db@${moved.epoch}`,
    ]);
    await here.ok('restore', `db-${name}@latest`, here.path(`${name}.back`));
    const expected = await readFile(here.path(`${name}.img`));
    assert.ok(expected.equals(await readFile(here.path(`${name}.back`))), name);
    assert.ok(expected.subarray(8192, 16_384).equals(noise(8192, 5 + at)), name);
  }
});
