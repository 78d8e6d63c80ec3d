/** Goal: bin/ferry, as a process, ends and prints as the command lines that tests run in theirs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from '../interop/processes.ts';
import { ferryPath, MIB, noise, place, runFerry, writeImage } from './ferry.ts';

test('status, stdout and stderr are the same in a process of its own', async () => {
  await using here = await place();
  const options = { cwd: here.folder, env: here.variables };
  await writeImage(here.path('disk.img'), MIB, { 0: noise(MIB, 1) });
  // As a process first: what it leaves must be enough for the next command, and the other way.
  assert.equal((await run(ferryPath, ['init'], options)).exitCode, 0);
  assert.equal((await run(ferryPath, ['backup', 'disk.img'], options)).exitCode, 0);
  await here.ok('tag', '--add', 'kept', 'disk');
  const lines: [number, ...string[]][] = [
    [0, 'ls', '--json'],
    [0, 'show', 'disk@latest', '--json'],
    [0, '--help'],
    [2, 'ls', '--frobnicate'],
    [10, 'ls', '--repo', 'nowhere'],
    [10, 'ls', '--repo', 'nowhere', '--json'],
    [1, 'show', 'disk@nothing'],
  ];
  for (const [status, ...words] of lines) {
    const { exitCode, stdout, stderr } = await run(ferryPath, words, options);
    const here = await runFerry(words, options);
    assert.equal(exitCode, status, `${words.join(' ')}: ${stderr}`);
    assert.deepEqual(here, { exitCode, signal: null, stdout, stderr }, words.join(' '));
  }
});
