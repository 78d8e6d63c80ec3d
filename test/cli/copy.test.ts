/** Goal: `ferry copy` from the command line: passwords, plans, damage, statuses. */
import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { linesOf, MIB, noise, overwrite, place, runFerry, writeImage } from './ferry.ts';

test('a plan, a copy, a second one of nothing, and a restore of what came', async () => {
  await using here = await place();
  await here.ok('init');
  await here.ok('init', '--repo', 'other');
  await writeImage(here.path('disk.img'), 8 * MIB, { 0: noise(2 * MIB, 1) });
  await here.ok('backup', 'disk.img', '--tag', 'first');
  await overwrite(here.path('disk.img'), MIB, noise(100_000, 2));
  await here.ok('backup', 'disk.img');
  const plan = await here.ok('copy', 'repo', 'other', '--dry-run');
  assert.match(plan, /^SNAPSHOT +TIME +SIZE +MISSING +TAGS\n/);
  assert.match(plan, / 2\.00 MiB +first\n.* 128 KiB\n2 snapshots would be copied, 2\.13 MiB read/);
  const lines = await here.json(0, 'copy', 'repo', 'other');
  const copied = lines.filter(({ state }) => state === 'copied');
  assert.deepEqual(
    copied.map(({ readBytes, tags }) => [readBytes, tags]),
    [
      [2 * MIB, ['first']],
      [2 * 65536, []],
    ],
  );
  const { durationMs, storedBytes, ...counts } = lines.at(-1)!;
  assert(Number(durationMs) >= 0 && Number(storedBytes) > 2 * MIB);
  assert.deepEqual(counts, {
    message_type: 'summary',
    ...{ copied: 2, refused: 0, present: 0, older: 0, dryRun: false },
    ...{ readBytes: 2 * MIB + 131_072, newBytes: 2 * MIB + 131_072 },
  });
  const own = await here.json(0, 'ls', 'disk');
  const theirs = await here.json(0, 'ls', 'disk', '--repo', 'other');
  assert.deepEqual(
    theirs.slice(0, -1).map(({ copyOf, time }) => [copyOf, time]),
    own.slice(0, -1).map(({ id, time }) => [id, time]),
  );
  assert.match(
    await here.ok('copy', 'repo', 'other'),
    /^0 snapshots copied .*\n {2}2 .* already\n$/,
  );
  await here.ok('restore', 'disk', 'out.img', '--repo', 'other', '--verify');
  assert((await readFile(here.path('out.img'))).equals(await readFile(here.path('disk.img'))));
  assert.equal((await here.failure(1, 'copy', 'repo', 'repo')).code, 'TRANSFER_SAME_REPOSITORY');
  assert.equal((await here.failure(10, 'copy', 'repo', 'none')).code, 'STORE_NOT_A_REPOSITORY');
});

test('each repository has its own password, and nothing gets out of one by accident', async () => {
  await using here = await place();
  const ferry = async (variables: Record<string, string>, ...words: string[]) => {
    const options = { cwd: here.folder, env: { ...here.variables, ...variables } };
    const { exitCode, stderr } = await runFerry([...words, '--json'], options);
    return [exitCode, ...linesOf(stderr).map(({ code }) => code)];
  };
  const [mine, theirs] = [{ FERRY_PASSWORD: 'mine' }, { FERRY_TO_PASSWORD: 'theirs' }];
  assert.deepEqual(await ferry(mine, 'init', '--encrypt'), [0]);
  assert.deepEqual(
    await ferry({ FERRY_PASSWORD: 'theirs' }, 'init', '--encrypt', '--repo', 'b'),
    [0],
  );
  await here.ok('init', '--repo', 'plain');
  await writeImage(here.path('disk.img'), MIB, { 0: noise(MIB, 1) });
  assert.deepEqual(await ferry(mine, 'backup', 'disk.img'), [0]);
  assert.deepEqual(await ferry(mine, 'copy', 'repo', 'b'), [12, 'STORE_WRONG_PASSWORD']);
  assert.deepEqual(await ferry({}, 'copy', 'repo', 'b'), [12, 'STORE_NO_PASSWORD']);
  assert.deepEqual(await ferry({ ...mine, ...theirs }, 'copy', 'repo', 'b'), [0]);
  assert.deepEqual(await ferry(mine, 'copy', 'repo', 'plain'), [1, 'TRANSFER_PLAIN_TARGET']);
  const both = { ...mine, ...theirs };
  assert.deepEqual(await ferry(both, 'copy', 'repo', 'plain'), [1, 'STORE_NOT_ENCRYPTED']);
  assert.deepEqual(await ferry(mine, 'copy', 'repo', 'plain', '--decrypt'), [0]);
  await here.ok('check', '--read-data', '--repo', 'plain');
  await here.ok('restore', 'disk', 'out.img', '--repo', 'plain', '--verify');
});

test('a damaged snapshot is named and refused, the others come, and the status says so', async () => {
  await using here = await place();
  await here.ok('init');
  await here.ok('init', '--repo', 'other');
  for (const seed of [1, 2]) {
    await writeImage(here.path(`disk${seed}.img`), MIB, { 0: noise(MIB, seed) });
    await here.ok('backup', `disk${seed}.img`);
    if (seed > 1) continue;
    const [pack] = globSync(here.path('repo/packs/*/*'));
    await overwrite(pack!, 200_000, Buffer.from('damage'));
  }
  const { exitCode, stdout } = await here.ferry('copy', 'repo', 'other');
  assert.equal(exitCode, 20);
  assert.match(stdout, /disk1@\w+ was not copied: packs\/.* is damaged/);
  assert.match(stdout, /disk2@\w+ copied as disk2@/);
  assert.match(stdout, /1 snapshot copied .*\n {2}1 snapshot refused\n$/);
  const lines = await here.json(0, 'ls', '--repo', 'other');
  assert.deepEqual(
    lines.slice(0, -1).map(({ volume }) => volume),
    ['disk2'],
  );
  await here.ok('check', '--read-data', '--repo', 'other');
});
