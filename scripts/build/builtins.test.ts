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
  import v8 from 'node:v8';
  const loaded = () => process.moduleLoadList.includes('NativeModule v8');
  const before = loaded();
  const young = v8.getHeapStatistics().total_heap_size > 0;
  const facts = [checksum('a'), path.join === join, before, young, loaded(), typeof fail];
  assert(facts.length === 6);
  console.log(JSON.stringify(facts));
`;

test('names and defaults are those of Node; what is lazy is loaded at its first use', async () => {
  const { outputFiles } = await build({
    stdin: { contents: program, resolveDir: import.meta.dirname },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    plugins: [builtins],
  });
  const code = outputFiles[0]!.text;
  assert(!/^import/m.test(code), code);
  assert(!code.includes('zstdCompressSync'), 'names that nothing imports are dropped');
  const words = ['--input-type=module', '--eval', code];
  const told: unknown = JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' }));
  assert.deepEqual(told, [0xe8b7be43, true, false, true, true, 'function']);
});
