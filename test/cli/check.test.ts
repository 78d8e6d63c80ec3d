/** Goal: damage is found, named and never taken for something else: status 20. */
import assert from 'node:assert/strict';
import { cp, readdir, readFile, rm, truncate } from 'node:fs/promises';
import { test } from 'node:test';
import { type Line, MIB, noise, overwrite, type Place, place, writeImage } from './ferry.ts';

async function backedUp(): Promise<Place> {
  const here = await place();
  await here.ok('init');
  await writeImage(here.path('disk.img'), 8 * MIB, { [MIB]: noise(2 * MIB, 1) });
  await here.ok('backup', 'disk.img');
  await overwrite(here.path('disk.img'), 5 * MIB, noise(MIB, 2));
  await here.ok('backup', 'disk.img');
  return here;
}

/** Keys of objects below a folder of the repository, largest first. */
async function objectsIn(here: Place, folder: string): Promise<string[]> {
  const names = await readdir(here.path(`repo/${folder}`), {
    recursive: true,
    withFileTypes: true,
  });
  const files = names.filter((entry) => entry.isFile());
  const keys = files.map(({ parentPath, name }) =>
    `${parentPath}/${name}`.slice(here.path('repo/').length),
  );
  const sizes = new Map<string, number>();
  for (const key of keys) sizes.set(key, (await readFile(here.path(`repo/${key}`))).byteLength);
  return keys.sort((a, b) => sizes.get(b)! - sizes.get(a)!);
}

async function flip(path: string, share: number): Promise<void> {
  const bytes = await readFile(path);
  const at = Math.floor(bytes.byteLength * share);
  await overwrite(path, at, Uint8Array.of(bytes[at]! ^ 0x10));
}

/** The objects that check names. */
async function problems(here: Place, ...words: string[]): Promise<string[]> {
  const lines = await here.json(20, 'check', ...words);
  const found = lines.slice(0, -1);
  for (const line of found) {
    assert.deepEqual(Object.keys(line), ['message_type', 'object', 'code', 'message']);
    assert.equal(line.message_type, 'problem');
  }
  assert.equal(lines.at(-1)!.problems, found.length);
  return found.map((line) => String(line.object));
}

test('a whole repository has no problems', async () => {
  await using here = await backedUp();
  const [quick] = (await here.json(0, 'check')) as [Line];
  assert.deepEqual([quick.problems, quick.snapshots, quick.orphanPacks], [0, 2, 0]);
  const [whole] = (await here.json(0, 'check', '--read-data')) as [Line];
  assert.ok(Number(whole.readBytes) > 3 * MIB);
  assert.match(await here.ok('check', '--read-data'), /^no damage in 2 snapshots/);
});

test('a flipped bit in data is found by --read-data, and restore gives no wrong bytes', async () => {
  await using here = await backedUp();
  const [pack] = await objectsIn(here, 'packs');
  await flip(here.path(`repo/${pack}`), 0.3);
  const [first, ...affected] = await problems(here, '--read-data');
  assert.equal(first, pack);
  assert.ok(affected.every((name) => name.startsWith('disk@')));
  assert.match(
    (await here.ferry('check', '--read-data')).stdout,
    new RegExp(`^${pack} is damaged: frame`),
  );
  const { code } = await here.failure(20, 'restore', 'disk@latest', 'out.img');
  assert.match(code, /_DAMAGED$/);
});

test('a truncated or missing pack is found without reading data', async () => {
  await using here = await backedUp();
  const [pack, small] = await objectsIn(here, 'packs');
  await truncate(here.path(`repo/${pack}`), 1 * MIB);
  assert.ok((await problems(here)).includes(pack!));
  await here.failure(20, 'restore', 'disk@latest~1', 'out.img');
  await rm(here.path(`repo/${small}`));
  assert.ok((await problems(here)).includes(small!));
  await here.failure(20, 'diff', 'disk@latest~1', 'disk');
});

test('one damaged superblock is told, two are the end, with its name', async () => {
  await using here = await backedUp();
  await flip(here.path('repo/superblock/0'), 0.5);
  assert.deepEqual(await problems(here), ['superblock/0']);
  await here.ok('ls');
  await flip(here.path('repo/superblock/1'), 0.5);
  for (const command of ['ls', 'check', 'stats']) {
    const { code, message } = await here.failure(20, command);
    assert.equal(code, 'STORE_DAMAGED');
    assert.match(message, /superblock/);
  }
});

test('a damaged log entry and a missing one are named', async () => {
  await using here = await backedUp();
  const [first, second] = (await objectsIn(here, 'log')).sort();
  await flip(here.path(`repo/${second}`), 0.5);
  assert.match((await here.failure(20, 'ls')).message, new RegExp(second!));
  assert.match((await here.failure(20, 'check')).message, new RegExp(second!));
  await rm(here.path(`repo/${first}`));
  const { code, message } = await here.failure(20, 'check');
  assert.equal(code, 'STORE_MISSING');
  assert.match(message, new RegExp(first!));
});

test('a pack that no snapshot needs is no damage', async () => {
  await using here = await backedUp();
  await here.ok('init', '--repo', here.path('other'));
  const [pack] = await objectsIn(here, 'packs');
  await cp(here.path(`repo/${pack}`), here.path(`other/${pack}`), { recursive: true });
  const [summary] = (await here.json(0, 'check', '--repo', here.path('other'))) as [Line];
  assert.deepEqual([summary.problems, summary.orphanPacks], [0, 1]);
  assert.match(await here.ok('check', '--repo', here.path('other')), /harmless/);
});

test('a repository that was put back to an older state is refused until a person accepts it', async () => {
  await using here = await backedUp();
  const entries = (await objectsIn(here, 'log')).sort();
  await rm(here.path(`repo/${entries[1]}`));
  for (const words of [['ls'], ['backup', 'disk.img'], ['restore', 'disk', 'out.img'], ['stats']]) {
    const { code, message } = await here.failure(20, ...words);
    assert.equal(code, 'STORE_ROLLED_BACK');
    assert.match(message, /seen entry 2 .* ends at entry 1/);
  }
  assert.deepEqual(await problems(here), ['log']);
  assert.match(await here.ok('check', '--accept-rollback'), /^no damage in 1 snapshots/);
  await here.ok('backup', 'disk.img');
  await here.ok('check', '--read-data');
});

test('a share of the packs is read at a time, each in its turn; an age leaves out the rest', async () => {
  await using here = await backedUp();
  const packs = (await objectsIn(here, 'packs')).length;
  assert.ok(packs >= 2);
  const readPacks = async (...words: string[]) =>
    Number((await here.json(0, 'check', ...words)).at(-1)!.readPacks);
  assert.equal(await readPacks(), 0);
  for (let turn = 0; turn < packs; turn++) {
    assert.equal(await readPacks('--read-data=1%', '--max-age', '9w'), 1);
  }
  assert.equal(await readPacks('--read-data', '--max-age', '9w'), 0, 'all were read lately');
  assert.equal(await readPacks('--read-data', '--max-age', '0s'), packs);
  // A damaged pack is never counted as read.
  const [largest] = await objectsIn(here, 'packs');
  await flip(here.path(`repo/${largest}`), 0.3);
  await problems(here, '--read-data');
  assert.ok((await problems(here, '--read-data', '--max-age', '9w')).includes(largest!));
  for (const words of [
    ['--max-age', '9w'],
    ['--read-data=0%'],
    ['--read-data=10%', '--max-age=x'],
  ]) {
    await here.failure(2, 'check', ...words);
  }
});

test('repair: dry run, then without help, then from a mirror; the next backup heals the rest', async () => {
  await using here = await backedUp();
  await cp(here.path('repo'), here.path('mirror'), { recursive: true });
  const [pack] = await objectsIn(here, 'packs');
  await flip(here.path(`repo/${pack}`), 0.3);
  const damaged = await readFile(here.path(`repo/${pack}`));
  const planned = await here.json(20, 'check', '--repair', '--dry-run');
  assert.ok(planned.some((line) => line.action === 'rewritten' && line.object === pack));
  assert.deepEqual(await readFile(here.path(`repo/${pack}`)), damaged);
  await cp(here.path('repo'), here.path('second'), { recursive: true });

  const healed = await here.json(0, 'check', '--repair', '--from', here.path('mirror'));
  assert.ok(healed.some((line) => line.action === 'replaced' && line.object === pack));
  await here.ok('restore', 'disk', 'out.img', '--verify');

  const repo = ['--repo', here.path('second')];
  const alone = await here.json(20, 'check', '--repair', ...repo);
  assert.ok(alone.some((line) => /^disk@.* has lost/.test(String(line.message))));
  await here.ok('backup', 'disk.img', ...repo);
  await here.ok('restore', 'disk', 'out.img', '--verify', ...repo);
  assert.deepEqual(await readFile(here.path('out.img')), await readFile(here.path('disk.img')));
});

test('an index that is gone is made anew', async () => {
  await using here = await backedUp();
  const [line] = await here.json(0, 'check', '--rebuild-index');
  assert.equal(line!.message_type, 'rebuilt');
  assert.equal((await objectsIn(here, 'index')).length, 1);
  await rm(here.path('repo/index'), { recursive: true });
  assert.equal(
    (await problems(here)).some((object) => object.startsWith('index/')),
    true,
  );
  await here.json(0, 'check', '--rebuild-index', '--read-data');
  await here.ok('restore', 'disk', 'out.img', '--verify');
});

test('parity: asked for at init or later, it makes check --repair put bit rot right', async () => {
  await using here = await place();
  await here.ok('init', '--parity', '10%');
  await writeImage(here.path('disk.img'), 4 * MIB, { [MIB]: noise(2 * MIB, 1) });
  await here.ok('backup', 'disk.img');
  const [told] = await here.json(0, 'parity');
  assert.equal(told?.percent, 10);
  assert.equal(told?.made, 0, 'the backup has made it');
  const [pack = ''] = await objectsIn(here, 'packs');
  const whole = await readFile(here.path(`repo/${pack}`));
  await flip(here.path(`repo/${pack}`), 0.3);
  assert.match(await here.ok('restore', 'disk', 'copy.img'), /./);
  assert.deepEqual(await readFile(here.path('copy.img')), await readFile(here.path('disk.img')));
  assert.equal((await problems(here, '--read-data'))[0], pack);
  assert.match(await here.ok('check', '--repair'), /mended: .*4096 bytes/);
  assert.deepEqual(await readFile(here.path(`repo/${pack}`)), whole);
  const [anew] = await here.json(0, 'parity', '20%');
  assert.equal(anew?.made, 1);
  await here.ok('parity', 'off');
  assert.deepEqual(await objectsIn(here, 'parity'), []);
  await here.failure(2, 'parity', '51%');
});
