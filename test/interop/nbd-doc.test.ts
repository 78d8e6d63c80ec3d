/** Goal: the program in the manual runs as it stands. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { scratch } from './nbd-scratch.ts';
import { runOk } from './processes.ts';

/** What the package's names stand for in the source tree. */
const places: Record<string, string> = {
  blockferry: '../../src/core/index.ts',
  'blockferry/device': '../../src/device/index.ts',
  'blockferry/nbd': '../../src/nbd/index.ts',
};

test('the device of docs/using/nbd.md is served and read', async () => {
  const manual = await readFile(new URL('../../docs/using/nbd.md', import.meta.url), 'utf8');
  const program = /```js\n(.*?)```/s.exec(manual)?.[1];
  assert.ok(program);
  const runnable = program.replace(/from '(blockferry[^']*)'/g, (_, name: string) => {
    const place = places[name];
    assert.ok(place, name);
    return `from '${new URL(place, import.meta.url)}'`;
  });
  await using here = await scratch();
  const path = here.path('pattern.mjs');
  await writeFile(path, runnable);
  const { stdout } = await runOk(process.execPath, [path]);
  assert.match(stdout, /^nbd:\/\/127\.0\.0\.1:\d+\/pattern\n0,1,2,3\n$/);
});
