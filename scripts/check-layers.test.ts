/** Goal: every kind of breach of the layer rule is found, and nothing allowed is reported. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { layerProblems } from './check-layers.ts';

const upwards = '(layers run downwards; see docs/architecture.md)';

test('an import of a higher layer is named with its line', () => {
  const text = `/** Track. */\n\nimport { backup } from '../transfer/index.ts';\n`;
  assert.deepEqual(layerProblems('src/track/holes.ts', text), [
    `src/track/holes.ts:3: track may not import transfer ${upwards}`,
  ]);
});

test('imports of the own folder and of lower faces are allowed', () => {
  const text = [
    `import { a } from './a.ts';`,
    `import { b } from './inner/b.ts';`,
    `import type { Env } from '../core/index.ts';`,
    `import { crc32 } from 'node:zlib';`,
    `import koffi from 'koffi';`,
  ].join('\n');
  assert.deepEqual(layerProblems('src/device/file.ts', text), []);
});

test('the inside of a lower folder is closed, also to a type and to a lazy import', () => {
  for (const statement of [
    `import type { Env } from '../core/env.ts';`,
    `const env = await import('../core/env.ts');`,
    `export * from '../core/env.ts';`,
    `import '../core/env.ts';`,
    `const worker = new URL('../core/env.ts', import.meta.url);`,
  ]) {
    assert.deepEqual(layerProblems('src/device/file.ts', statement), [
      `src/device/file.ts:1: device may import core only through its index.ts ${upwards}`,
    ]);
  }
});

test('each journey inside transfer has a face of its own', () => {
  const use = (path: string) => layerProblems('src/cli/commands/a.ts', `import('../../${path}')`);
  assert.deepEqual(use('transfer/backup/index.ts'), []);
  assert.equal(use('transfer/backup/inner.ts').length, 1);
  assert.equal(use('device/inner/index.ts').length, 1);
});

test('journeys inside transfer share only what lies in transfer itself', () => {
  const found = layerProblems('src/transfer/mount/a.ts', `import { b } from '../backup/index.ts';`);
  assert.equal(found.length, 1);
  assert.match(found[0]!, /transfer\/mount may not import transfer\/backup/);
  assert.deepEqual(
    layerProblems('src/transfer/mount/a.ts', `import { b } from '../progress.ts';`),
    [],
  );
});

test('the simulated world is for tests', () => {
  const text = `import { simulated } from '../../sim/index.ts';`;
  assert.equal(layerProblems('src/store/pack.ts', text).length, 1);
  assert.deepEqual(layerProblems('src/store/pack.test.ts', text), []);
  assert.equal(layerProblems('bench/main.ts', `import { s } from '../sim/index.ts';`).length, 1);
});

test('the host is reached through Env, but for core/node and the command line', () => {
  const text = `import { open } from 'node:fs/promises';`;
  assert.match(
    layerProblems('src/store/pack.ts', text)[0]!,
    /only src\/core\/node may import node:fs/,
  );
  assert.deepEqual(layerProblems('src/core/node/files.ts', text), []);
  assert.deepEqual(layerProblems('src/cli/main.ts', text), []);
  assert.deepEqual(layerProblems('src/store/pack.test.ts', text), []);
});

test('clock, timers and randomness of the host are found, but not in comments or strings', () => {
  for (const call of ['Date.now()', 'Math.random()', 'setTimeout(run, 1)', 'new Date()']) {
    assert.equal(
      layerProblems('src/store/log.ts', `/** Log. */\nconst x = ${call};`).length,
      1,
      call,
    );
  }
  const innocent = [
    '/** Never calls Date.now. */',
    '// nor Math.random()',
    `const hint = 'no Date.now here';`,
  ].join('\n');
  assert.deepEqual(layerProblems('src/store/log.ts', innocent), []);
  assert.deepEqual(layerProblems('src/core/node/clock.ts', 'Date.now()'), []);
});
