/** Goal: long lines, long files and files without an opening sentence are found. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { styleProblems } from './check-style.ts';

const opening = '/** A file. */\n';

test('a line of 100 columns passes, one of 101 is named', () => {
  assert.deepEqual(styleProblems('a.ts', `${opening}${'x'.repeat(100)}\n`), []);
  assert.match(
    styleProblems('a.ts', `${opening}${'x'.repeat(101)}\n`)[0]!,
    /^a\.ts:2: 101 columns/,
  );
});

test('the title of a test may be longer', () => {
  assert.deepEqual(
    styleProblems('a.test.ts', `${opening}test('${'x'.repeat(100)}', () => {\n`),
    [],
  );
});

test('a file of 400 lines passes, one more is named', () => {
  assert.deepEqual(styleProblems('a.ts', `${opening}${'x\n'.repeat(399)}`), []);
  assert.equal(styleProblems('a.ts', `${opening}${'x\n'.repeat(400)}`).length, 1);
});

test('a file without an opening sentence is named', () => {
  assert.match(styleProblems('a.ts', 'const a = 1;\n')[0]!, /^a\.ts:1: /);
  assert.deepEqual(styleProblems('a.ts', `#!/usr/bin/env node\n${opening}`), []);
});
