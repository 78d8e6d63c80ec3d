/** Goal: slips that are easily made are answered with what is wrong and what to do. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { truncate, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { linesOf, MIB, noise, place, writeImage } from './ferry.ts';

test('a repository is not made in a folder that is missing, nor onto a file', async () => {
  await using here = await place();
  const missing = await here.failure(1, 'init', '--repo', 'no/such');
  assert.equal(missing.code, 'TRANSFER_REPOSITORY');
  assert.equal(missing.message, `${here.path('no')} does not exist`);
  assert.equal(existsSync(here.path('no')), false);
  await writeFile(here.path('file'), 'mine');
  for (const command of ['init', 'ls']) {
    const onto = await here.failure(1, command, '--repo', 'file');
    assert.equal(onto.message, 'file is not a directory');
  }
  const inFile = await here.failure(1, 'init', '--repo', 'file/repo');
  assert.equal(inFile.message, `${here.path('file')} is not a directory`);
});

test('an empty --repo is a mistake, not the directory at hand', async () => {
  await using here = await place();
  for (const command of ['init', 'ls']) {
    const { code, message } = await here.failure(2, command, '--repo=');
    assert.deepEqual([code, message], ['CLI_USAGE', '--repo is empty: name a directory']);
  }
});

test('a socket in a folder that is missing is told as such', async () => {
  await using here = await place();
  const words = ['export', 'memory:1M', '--listen'];
  const missing = await here.failure(1, ...words, 'unix:no/x.sock');
  assert.equal(missing.code, 'ENV_NOT_FOUND');
  assert.ok(missing.message.includes(here.path('no')), missing.message);
  assert.match(missing.message, /no such file or directory/);
});

test('an export has a name that clients can ask for', async () => {
  await using here = await place();
  for (const name of ['', 'n'.repeat(4097)]) {
    const { message } = await here.failure(2, 'export', 'memory:1M', `--name=${name}`);
    assert.equal(message, `--name: an export's name has 1 to 4096 bytes, not ${name.length}`);
  }
});

test('a source that is half as large as before, or twice, is doubted aloud', async () => {
  await using here = await place();
  await here.ok('init');
  const disk = here.path('disk.img');
  await writeImage(disk, 8 * MIB, { 0: noise(MIB, 1) });
  await here.ok('backup', 'disk.img');
  const steps: [number, RegExp, RegExp][] = [
    [9 * MIB, /grew from 8.00 MiB to 9.00 MiB/, /^$/],
    [4 * MIB, /shrank from 9.00 MiB to 4.00 MiB/, /is disk.img still the disk that disk is/],
    [4 * MIB, /^(?!.*(grew|shrank))/s, /^$/],
    [8 * MIB, /grew from 4.00 MiB to 8.00 MiB/, /the size was 4.00 MiB at the last backup/],
  ];
  for (const [sizeBytes, said, warned] of steps) {
    await truncate(disk, sizeBytes);
    const { exitCode, stdout, stderr } = await here.ferry('backup', 'disk.img', '--no-progress');
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout, said);
    assert.match(stderr, warned);
  }
  const { stdout } = await here.ferry('backup', 'disk.img', '--json', '--no-progress');
  assert.equal(linesOf(stdout).at(-1)!.parentSizeBytes, 8 * MIB);
});
