/** Goal: what ends by the preload has told all it had to, and has the exit code it should have. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

const preload = pathToFileURL(`${import.meta.dirname}/end-at-once.mjs`).href;

test('listeners of `exit` run, what was printed arrives, and the exit code is kept', () => {
  const code = `process.on('exit', () => console.log('last'));
    process.exitCode = 7;
    process.exit();`;
  const done = spawnSync(process.execPath, ['--import', preload, '-e', code], { encoding: 'utf8' });
  assert.deepEqual([done.status, done.stdout, done.stderr], [7, 'last\n', '']);
});
