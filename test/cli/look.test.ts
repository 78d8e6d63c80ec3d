/** Goal: ls, show, diff and stats tell what is there, to people and to programs. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import {
  ferryPath,
  type Line,
  linesOf,
  MIB,
  noise,
  overwrite,
  type Place,
  place,
  writeImage,
} from './ferry.ts';

const SIZE = 16 * MIB;

/** Three days of one disk, and another volume. */
async function threeDays(): Promise<Place> {
  const here = await place();
  await here.ok('init');
  const disk = here.path('disk.img');
  await writeImage(disk, SIZE, { [MIB]: noise(MIB, 1) });
  await here.ok('backup', 'disk.img');
  await overwrite(disk, 4 * MIB, noise(65_536, 2));
  await overwrite(disk, MIB, Buffer.alloc(131_072));
  await here.ok('backup', 'disk.img');
  await overwrite(disk, 5 * MIB, noise(65_536, 3));
  await here.ok('backup', 'disk.img');
  await writeImage(here.path('other.img'), MIB, {});
  await here.ok('backup', 'other.img');
  return here;
}

test('snapshots are listed, named, compared and counted', async () => {
  await using here = await threeDays();
  const listed = await here.json(0, 'ls', 'disk');
  const days = listed.slice(0, -1);
  assert.deepEqual(
    days.map((line) => [line.message_type, line.volume, line.sizeBytes, line.source]),
    [
      ['snapshot', 'disk', SIZE, 'full'],
      ['snapshot', 'disk', SIZE, 'checksum'],
      ['snapshot', 'disk', SIZE, 'checksum'],
    ],
  );
  for (const line of days) {
    assert.deepEqual(Object.keys(line), [
      'message_type',
      'id',
      'volume',
      'time',
      'sizeBytes',
      'changedBytes',
      'storedBytes',
      'source',
      'tags',
      'held',
    ]);
  }
  assert.deepEqual(
    [...days.map((line) => line.time)].sort(),
    days.map((line) => line.time),
  );
  assert.equal((await here.ok('ls')).trim().split('\n').length, 5);
  await namesAreUnderstood(here, days);
  await differencesAreListed(here, days);
  await countsAreRight(here);
});

async function namesAreUnderstood(here: Place, days: readonly Line[]): Promise<void> {
  const ids = days.map((line) => String(line.id));
  const shown = async (name: string) => (await here.json(0, 'show', name))[0]!.id;
  assert.equal(await shown('disk'), ids[2]);
  assert.equal(await shown('disk@latest~1'), ids[1]);
  assert.equal(await shown(`disk@${ids[0]!.slice(0, 12)}`), ids[0]);
  const refused = async (name: string) => (await here.failure(1, 'show', name)).code;
  assert.equal(await refused('disk@latest~3'), 'STORE_SNAPSHOT_NOT_FOUND');
  assert.equal(await refused('desk@latest'), 'STORE_VOLUME_NOT_FOUND');
  assert.equal(await refused('@latest'), 'STORE_NAME');
  const [details] = (await here.json(0, 'show', 'disk@latest~1')) as [Line];
  assert.deepEqual([details.parent, details.chunkBytes, details.unreadable], [ids[0], 65_536, []]);
  assert.match(String(details.digest), /^[0-9a-f]{64}$/);
}

async function differencesAreListed(here: Place, days: readonly Line[]): Promise<void> {
  const lines = await here.json(0, 'diff', 'disk@latest~2', 'disk@latest');
  assert.deepEqual(
    lines
      .slice(0, -1)
      .map(({ offsetBytes, lengthBytes, kind }) => [offsetBytes, lengthBytes, kind]),
    [
      [MIB, 131_072, 'zero'],
      [4 * MIB, 65_536, 'data'],
      [5 * MIB, 65_536, 'data'],
    ],
  );
  assert.deepEqual(lines.at(-1), {
    message_type: 'summary',
    older: days[0]!.id,
    newer: days[2]!.id,
    extents: 3,
    changedBytes: 262_144,
    dataBytes: 131_072,
    zeroBytes: 131_072,
    sizeBytes: SIZE,
    grownBytes: 0,
  });
  const text = await here.ok('diff', 'disk@latest~1', 'disk');
  assert.match(text, /^ +OFFSET +LENGTH +NOW\n +5242880 +64\.0 KiB +data\n1 extent, 64\.0 KiB of/);
  const [same] = await here.json(0, 'diff', 'disk', 'disk');
  assert.equal(same!.extents, 0);
  await blocksArePaged(here);
  const shrunk = await here.ok('diff', 'disk', 'other');
  assert.match(shrunk, /the volume shrank by 15\.0 MiB/);
}

async function blocksArePaged(here: Place): Promise<void> {
  const both = ['disk@latest~2', 'disk@latest'];
  const first = await here.json(0, 'diff', ...both, '--max-results', '2');
  assert.equal(first.length, 3);
  const nextToken = String(first.at(-1)!.nextToken);
  const rest = ['--max-results', '2', '--next-token', nextToken];
  const second = await here.json(0, 'diff', ...both, ...rest);
  assert.deepEqual([second[0]!.offsetBytes, second.at(-1)!.nextToken], [5 * MIB, null]);
  const stolen = await here.failure(1, 'diff', 'disk', 'other', ...rest);
  assert.equal(stolen.code, 'STORE_PAGE_TOKEN');
  const blocks = ['--block-size', '1M', '--starting-offset', '4718592'];
  const whole = await here.json(0, 'diff', ...both, ...blocks);
  assert.deepEqual(
    whole.slice(0, -1).map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
    [
      [4 * MIB, MIB],
      [5 * MIB, MIB],
    ],
  );
  const held = await here.json(0, 'diff', '--allocated', 'disk@latest~2');
  assert.deepEqual([held[0]!.offsetBytes, held.at(-1)!.changedBytes], [MIB, MIB]);
  assert.equal((await here.failure(2, 'diff', 'disk')).code, 'CLI_USAGE');
  assert.equal((await here.failure(2, 'diff', ...both, '--allocated')).code, 'CLI_USAGE');
}

async function countsAreRight(here: Place): Promise<void> {
  const [stats] = (await here.json(0, 'stats')) as [Line];
  assert.deepEqual(
    [stats.snapshots, stats.volumes, stats.logicalBytes, stats.logEntries],
    [4, 2, 3 * SIZE + MIB, 4],
  );
  const days = [MIB, MIB - 131_072 + 65_536, MIB - 131_072 + 2 * 65_536];
  assert.equal(stats.dataBytes, days[0]! + days[1]! + days[2]!);
  assert.equal(stats.uniqueBytes, MIB + 2 * 65_536);
  const objects = stats.objects as Record<string, { count: number; bytes: number }>;
  assert.deepEqual(
    [objects.log!.count, objects.superblock!.count, objects.sessions],
    [4, 2, undefined],
  );
  const stored = Object.values(objects).reduce((sum, { bytes }) => sum + bytes, 0);
  assert.equal(stats.storedBytes, stored);
  assert.match(await here.ok('stats'), /^dedup +2\.\d\dx$/m);
}

test('an empty repository is no failure', async () => {
  await using here = await place();
  await here.ok('init');
  assert.match(await here.ok('ls'), /no snapshots yet/);
  assert.equal((await here.json(0, 'stats'))[0]!.dedupRatio, null);
  assert.equal((await here.failure(1, 'ls', 'disk')).code, 'STORE_VOLUME_NOT_FOUND');
});

test('a reader of the output that leaves ends the command quietly, with status 141', async () => {
  await using here = await threeDays();
  const child = spawn(ferryPath, ['ls'], {
    cwd: here.folder,
    env: here.variables,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.destroy();
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  const [status] = await once(child, 'close');
  assert.deepEqual([status, stderr], [141, '']);
});

test('flags beat the environment, and the repository may be anywhere', async () => {
  await using here = await place();
  const elsewhere = ['--repo', here.path('elsewhere')];
  const [made] = (await here.json(0, 'init', '--chunk-size', '16K', ...elsewhere)) as [Line];
  assert.deepEqual([made.chunkBytes, String(made.repositoryId).length], [16_384, 32]);
  await writeImage(here.path('a.img'), MIB, { 0: noise(16_384, 1) });
  const [backup] = (await here.json(0, 'backup', 'a.img', ...elsewhere)) as [Line];
  assert.equal(backup.volume, 'a');
  await here.failure(10, 'ls');
  const out = await here.ferry('restore', 'a', 'b.img', '--json', ...elsewhere);
  assert.equal(linesOf(out.stdout).at(-1)!.message_type, 'summary');
  const [a, b] = await Promise.all([readFile(here.path('a.img')), readFile(here.path('b.img'))]);
  assert.ok(a.equals(b));
});
