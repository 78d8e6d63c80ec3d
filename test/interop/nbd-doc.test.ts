/** Goal: the program in the manual runs as it stands. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { programOf } from './manual.ts';
import { scratch } from './nbd-scratch.ts';
import { runOk } from './processes.ts';

test('the device of docs/using/nbd.md is served and read', async () => {
  await using here = await scratch();
  const path = here.path('pattern.mjs');
  await writeFile(path, await programOf('docs/using/nbd.md'));
  const { stdout } = await runOk(process.execPath, [path]);
  assert.match(stdout, /^nbd:\/\/127\.0\.0\.1:\d+\/pattern\n0,1,2,3\n$/);
});
