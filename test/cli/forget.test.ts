/** Goal: forgetting, holding, tagging and collecting do what their help says, and tell it. */
import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { test } from 'node:test';
import { MIB, noise, overwrite, type Place, place, writeImage } from './ferry.ts';

async function backedUp(count: number): Promise<Place> {
  const here = await place();
  await here.ok('init');
  await writeImage(here.path('disk.img'), 4 * MIB, { 0: noise(2 * MIB, 1) });
  for (let version = 0; version < count; version++) {
    await overwrite(here.path('disk.img'), version * 300_000, noise(MIB, version + 2));
    await here.ok('backup', 'disk.img', '--tag', `v${version}`);
  }
  return here;
}

async function storedBytes(here: Place): Promise<number> {
  return Number((await here.json(0, 'stats')).at(-1)!.storedBytes);
}

async function tagsLeft(here: Place): Promise<string[]> {
  const lines = (await here.json(0, 'ls', 'disk')).slice(0, -1);
  return lines.map(({ tags }) => (tags as string[]).join(' '));
}

test('a policy forgets, tells why it keeps, and a dry run changes nothing', async () => {
  await using here = await backedUp(4);
  const dry = await here.ok('forget', 'disk', '--keep-last', '1', '--keep-tag', 'v1', '--dry-run');
  assert.match(dry, /^SNAPSHOT +TIME +KEEP +REASONS +TAGS\n/);
  assert.match(dry, / keep +tag v1 +v1\n/);
  assert.match(dry, / keep +last +v3\n2 snapshots would be forgotten, 2 kept\n$/);
  assert.deepEqual(await tagsLeft(here), ['v0', 'v1', 'v2', 'v3']);
  const lines = await here.json(0, 'forget', 'disk', '--keep-last', '1', '--keep-tag', 'v1');
  assert.deepEqual(lines.at(-1), {
    message_type: 'summary',
    forgotten: 2,
    kept: 2,
    dryRun: false,
  });
  assert.deepEqual(
    lines.slice(0, -1).map(({ keep, reasons }) => [keep, reasons]),
    [
      [false, []],
      [true, ['tag v1']],
      [false, []],
      [true, ['last']],
    ],
  );
  assert.deepEqual(await tagsLeft(here), ['v1', 'v3']);
});

test('what is held stays, and a volume is not emptied by accident', async () => {
  await using here = await backedUp(2);
  await here.ok('hold', 'disk@latest~1');
  assert.match(await here.ok('ls'), /\(held\) v0/);
  const held = await here.failure(1, 'forget', 'disk@latest~1');
  assert.equal(held.code, 'STORE_HELD');
  await here.ok('forget', 'disk@latest');
  await here.ok('hold', 'disk@latest', '--release');
  assert.equal((await here.failure(1, 'forget', 'disk@latest')).code, 'STORE_LAST_SNAPSHOT');
  const none = await here.failure(1, 'forget', 'disk', '--keep-tag', 'nothing');
  assert.equal(none.code, 'STORE_LAST_SNAPSHOT');
  assert.equal((await here.failure(2, 'forget', 'disk')).code, 'CLI_USAGE');
  assert.equal(
    (await here.failure(2, 'forget', 'disk@latest', '--keep-last', '1')).code,
    'CLI_USAGE',
  );
  assert.deepEqual(await tagsLeft(here), ['v0']);
  await here.ok('tag', 'disk@latest', '--add', 'x', '--add', 'y', '--remove', 'v0');
  assert.deepEqual(await tagsLeft(here), ['x y']);
  await here.ok('forget', 'disk', '--all');
  assert.deepEqual(await tagsLeft(here).catch(() => []), []);
});

test('gc gives back room, what is left restores, and a dry run tells before', async () => {
  await using here = await backedUp(4);
  const before = await storedBytes(here);
  await here.ok('forget', 'disk', '--keep-last', '1');
  const planned = (await here.json(0, 'gc', '--dry-run')).at(-1)!;
  assert.equal(await storedBytes(here), before + (await entryBytes(here, 5)));
  const done = (await here.json(0, 'gc')).at(-1)!;
  assert(Number(planned.wouldFreeBytes) > 0 && Number(done.freedBytes) > 0);
  assert((await storedBytes(here)) < before);
  await here.ok('restore', 'disk@latest', 'back.img', '--verify');
  await here.ok('check', '--read-data');
  const nothing = await here.ok('gc');
  assert.match(nothing, /^0 B removed/);
});

test('gc --similar stores what two volumes have at different places once', async () => {
  await using here = await backedUp(1);
  const twin = { 0: noise(20_000, 9), 20000: noise(2 * MIB, 1) };
  await writeImage(here.path('twin.img'), 4 * MIB, twin);
  await here.ok('backup', 'twin.img');
  const before = await storedBytes(here);
  const planned = await here.ok('gc', '--similar', '--dry-run');
  assert.match(planned, /would be given back: .*\n {2}similar {2}\d+ chunks as patches/);
  const done = (await here.json(0, 'gc', '--similar')).at(-1)!;
  assert(Number(done.similarChunks) > 10 && Number(done.freedBytes) > 0);
  assert((await storedBytes(here)) < before * 0.8);
  assert.match(await here.ok('gc', '--similar'), /\n {2}similar {2}nothing of which enough/);
  await here.ok('restore', 'twin@latest', 'back.img', '--verify');
  await here.ok('check', '--read-data');
});

async function entryBytes(here: Place, sequence: number): Promise<number> {
  return (await stat(here.path(`repo/log/${String(sequence).padStart(16, '0')}`))).size;
}
