/** Goal: bundled code gets of Node's modules what it imports, and loads no more than that. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { build } from 'esbuild';
import { builtins } from './builtins.ts';

const program = `
  import assert, { fail } from 'node:assert/strict';
  import { crc32 as checksum } from 'node:zlib';
  import path, { join } from 'node:path';
  import { writeSync } from 'node:fs';
  import { isIP, Socket } from 'node:net';
  import v8 from 'node:v8';
  const { isIPv6 } = require('node:net');
  const loaded = (name) => process.moduleLoadList.includes('NativeModule ' + name);
  const before = [loaded('v8'), loaded('net')];
  const young = v8.getHeapStatistics().total_heap_size > 0;
  const used = [isIP('::1'), isIPv6('::1'), typeof new Socket().connect];
  const after = [loaded('v8'), loaded('net')];
  const facts = [checksum('a'), path.join === join, before, young, used, after, typeof fail];
  assert(facts.length === 7);
  writeSync(1, JSON.stringify(facts));
`;

test('names and defaults are those of Node; what is lazy is loaded at its first use', async () => {
  const { outputFiles } = await build({
    stdin: { contents: program, resolveDir: import.meta.dirname },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    banner: { js: 'const require = process.getBuiltinModule;' },
    plugins: [builtins],
  });
  const code = outputFiles[0]!.text;
  assert(!/^import/m.test(code), code);
  assert(!code.includes('zstdCompressSync'), 'names that nothing imports are dropped');
  const words = ['--input-type=module', '--eval', code];
  const told: unknown = JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' }));
  const used = [6, true, 'function'];
  const [before, after] = [
    [false, false],
    [true, true],
  ];
  assert.deepEqual(told, [0xe8b7be43, true, before, true, used, after, 'function']);
});
