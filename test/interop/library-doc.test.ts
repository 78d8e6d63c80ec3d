/** Goal: the program in docs/using/library.md runs as it stands, and what it makes is right. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { programOf } from './manual.ts';
import { scratch } from './nbd-scratch.ts';
import { runOk } from './processes.ts';

test('a device is backed up, read as it was, restored and copied', async () => {
  await using here = await scratch();
  const path = here.path('library.mjs');
  await writeFile(path, await programOf('docs/using/library.md'));
  const { stdout } = await runOk(process.execPath, [path, here.path('repository')]);
  const lines = stdout.trimEnd().split('\n');
  assert.match(lines[0]!, /^[0-9a-f]{8} 67108864 stored \d+$/);
  assert.match(lines[1]!, /^[0-9a-f]{8} 67108864 stored \d+$/);
  assert.deepEqual(lines.slice(2), ['hello', 'world', 'restored: world', 'copied 2', 'taken']);
});
